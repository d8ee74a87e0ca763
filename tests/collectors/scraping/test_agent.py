"""All scraping of an agent: its file changes, targets flap, and the report of targets tells how they are."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from kobs.collectors.metrics_listener import MetricsListener
from kobs.collectors.scraping import agent, discovery, reporting
from kobs.collectors.scraping.agent import Scraping
from kobs.collectors.scraping.reporting import TargetReporting, global_url, report_of
from kobs.config import AgentSettings, Settings
from kobs.errors import ConfigError
from kobs.wire.targets import TargetReport, decode
from tests.collectors.scraping.places import Recorder, is_stale, serving

CONFIGURATION = """\
global: {{scrape_interval: 200ms, external_labels: {{dc: {dc}}}}}
scrape_configs:
- job_name: a
  file_sd_configs: [{{files: ["*.targets.yml"]}}]
  metric_relabel_configs: [{{target_label: rule, replacement: "{rule}"}}]
- job_name: b
  static_configs: [{{targets: ["{address}", "drop:1"]}}]
  relabel_configs: [{{source_labels: [__address__], regex: drop.*, action: drop}}]
"""


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    # The time between two looks at files is no part of what is tested.
    monkeypatch.setattr(agent, "WATCH_SECONDS", 0.02)
    monkeypatch.setattr(discovery, "FILES_SECONDS", 0.02)
    monkeypatch.setattr(reporting, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(reporting, "_FIRST_SECONDS", 0.02)
    monkeypatch.setattr(reporting, "_FAILED_SECONDS", 0.02)


def settings(path: Path | None, **agent_settings: Any) -> Settings:
    of_agent = {"scrape_config": path, "own_metrics_seconds": 0, **agent_settings}
    return Settings(node="n1", cluster="c1", agent=AgentSettings(**of_agent))


def put(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    temporary.rename(path)


@contextlib.asynccontextmanager
async def scraping(configured: Settings) -> AsyncIterator[tuple[Scraping, Recorder]]:
    recorder = Recorder()
    scraper = Scraping(configured, recorder)
    task = asyncio.ensure_future(scraper.run())
    try:
        yield scraper, recorder
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.wait({task})


async def until(is_true: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not is_true():  # noqa: ASYNC110 - what is waited for tells by no event
            await asyncio.sleep(0.01)


def test_a_changed_file_takes_effect_and_series_go_on(tmp_path: Path) -> None:
    path = tmp_path / "scrape.yaml"

    async def run(address: str) -> Recorder:
        put(tmp_path / "x.targets.yml", f"- targets: ['{address}']\n")
        put(path, CONFIGURATION.format(address=address, dc="one", rule=""))
        async with scraping(settings(path)) as (scraper, recorder):
            await until(lambda: recorder.of("m", job="a") and recorder.of("m", job="b"))
            untouched = scraper.pools["b"]
            put(path, CONFIGURATION.format(address=address, dc="one", rule="new"))
            await until(lambda: recorder.of("m", job="a", rule="new"))
            assert scraper.pools["b"] is untouched
            put(path, "scrape_configs: [")
            await until(lambda: "expected YAML" in str(list(scraper.problems())))
            count = len(recorder.of("m", job="a"))
            await until(lambda: len(recorder.of("m", job="a")) > count)
            put(path, CONFIGURATION.format(address=address, dc="two", rule="new"))
            await until(lambda: recorder.of("m", job="b", dc="two"))
            assert list(scraper.problems()) == []
            put(path, "")
            await until(lambda: scraper.pools == {})
            await until(lambda: all(is_stale(samples[-1][1]) for samples in recorder.by_series("m").values()))
            await until(lambda: sum(recorder.held.values()) == 0)
        return recorder

    with serving({"/metrics": b"m 1\n"}) as place:
        recorder = asyncio.run(run(place.address))
    # What had other labels under the former rules got its stale marker in the first scrape under the new ones.
    of_a = {key: samples for key, samples in recorder.by_series("m").items() if ("job", "a") in key}
    (old,) = [samples for key, samples in of_a.items() if ("rule", "new") not in key]
    assert [is_stale(value) for _, value in old].count(True) == 1
    assert {labels["cluster"] for labels, _, _ in recorder.samples} == {"c1"}


def test_a_target_that_flaps_keeps_its_series(tmp_path: Path) -> None:
    path = tmp_path / "scrape.yaml"
    targets = tmp_path / "x.targets.yml"

    async def run(address: str) -> Recorder:
        text = f"- targets: ['{address}']\n"
        put(targets, text)
        put(path, CONFIGURATION.format(address="drop:2", dc="one", rule=""))
        async with scraping(settings(path)) as (scraper, recorder):
            for _ in range(3):
                count = len(recorder.of("m", job="a"))
                await until(lambda before=count: len(recorder.of("m", job="a")) > before)  # type: ignore[misc]
                put(targets, "[]")
                await until(lambda: not scraper.pools["a"].loops)
                put(targets, text)
                await until(lambda: scraper.pools["a"].loops)
            count = len(recorder.of("m", job="a"))
            await until(lambda: len(recorder.of("m", job="a")) > count)
        return recorder

    with serving({"/metrics": b"m 1\n"}) as place:
        recorder = asyncio.run(run(place.address))
    assert len(recorder.by_series("m")) == 1


def test_a_wrong_file_at_the_start_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "scrape.yaml"
    put(path, "scrape_config: []")
    with pytest.raises(ConfigError, match="did you mean scrape_configs"):
        Scraping(settings(path), Recorder())


def test_own_metrics_are_a_target_like_any_other() -> None:
    async def run() -> tuple[Recorder, TargetReport]:
        configured = settings(None, own_metrics_seconds=0.2)
        async with scraping(configured) as (scraper, recorder):
            await until(lambda: len(recorder.of("kobs_build_info")) >= 2)
            return recorder, report_of(configured, scraper.pools.values())

    recorder, report = asyncio.run(run())
    (labels,) = {tuple(sorted(its.items())) for its, _, _ in recorder.samples if its["__name__"] == "up"}
    assert dict(labels) == {"__name__": "up", "cluster": "c1", "instance": "n1", "job": "kobs", "role": "agent"}
    (target,) = report.active
    assert (target.pool, target.health) == ("kobs-agent", "up")


def test_the_report_tells_of_all_targets(tmp_path: Path) -> None:
    path = tmp_path / "scrape.yaml"

    async def run(address: str) -> TargetReport:
        put(tmp_path / "x.targets.yml", "- targets: ['127.0.0.1:1']\n")
        put(path, CONFIGURATION.format(address=address, dc="one", rule=""))
        configured = settings(path)
        async with scraping(configured) as (scraper, _):
            await until(
                lambda: (
                    "unknown" not in {each.health for each in report_of(configured, scraper.pools.values()).active}
                    and len(report_of(configured, scraper.pools.values()).active) == 2
                )
            )
            return report_of(configured, scraper.pools.values())

    with serving({"/metrics": b"m 1\n"}) as place:
        report = asyncio.run(run(place.address))
    down, up = sorted(report.active, key=lambda each: each.pool)
    assert (report.node, report.cluster) == ("n1", "c1")
    assert (down.health, down.error, down.url) == ("down", "Connection refused", "http://127.0.0.1:1/metrics")
    assert (up.health, up.error) == ("up", "")
    assert up.global_url == f"http://n1:{place.port}/metrics"
    assert up.labels == {"instance": place.address, "job": "b"}
    assert up.discovered["__scrape_interval__"] == "200ms"
    assert up.started_ns > 0
    assert report.dropped_counts == {"a": 0, "b": 1}
    assert [dropped.discovered["__address__"] for dropped in report.dropped] == ["drop:1"]


def test_a_server_is_told_at_once_of_a_change_and_the_next_one_where_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "scrape.yaml"

    async def run(address: str) -> None:
        put(path, CONFIGURATION.format(address=address, dc="one", rule=""))
        received: list[bytes] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                    assert head.startswith("post /kobs/v1/ship/targets ")
                    size = int(head.partition("content-length: ")[2].split("\r\n")[0])
                    received.append(await reader.readexactly(size))
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        configured = settings(path, servers=("http://127.0.0.1:1", f"http://127.0.0.1:{port}"))
        async with scraping(configured) as (scraper, _):
            telling = asyncio.ensure_future(TargetReporting(configured, scraper).run())
            await until(lambda: any(each.health == "up" for body in received for each in decode(body).active))
            put(path, CONFIGURATION.format(address="127.0.0.1:1", dc="one", rule=""))
            await until(lambda: any(each.health == "down" for body in received for each in decode(body).active))
            telling.cancel()
            await asyncio.wait({telling})
        server.close()

    with serving({"/metrics": b"m 1\n"}) as place:
        asyncio.run(run(place.address))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:9100/metrics?a=b", "http://n1:9100/metrics?a=b"),
        ("http://[::1]:9100/metrics", "http://n1:9100/metrics"),
        ("https://127.0.0.1/metrics", "https://n1/metrics"),
        ("http://10.0.0.1:9100/metrics", "http://10.0.0.1:9100/metrics"),
        ("http://[::1/metrics", "http://[::1/metrics"),
    ],
)
def test_a_name_of_this_machine_becomes_the_nodes(url: str, expected: str) -> None:
    assert global_url(url, node="n1") == expected


# -- the listener ------------------------------------------------------------------------------------------------------


def asked(listener_settings: AgentSettings, *requests: tuple[str, dict[str, str]]) -> list[httpx.Response]:
    async def run() -> list[httpx.Response]:
        listener = MetricsListener(listener_settings)
        await listener.start()
        try:
            async with httpx.AsyncClient(base_url=f"http://{listener.address}", trust_env=False) as client:
                return [await client.request(*line.split(), headers=headers) for line, headers in requests]
        finally:
            await listener.close()

    return asyncio.run(run())


def test_the_agent_answers_for_its_own_metrics() -> None:
    metrics, healthy, missing, posted, foreign = asked(
        AgentSettings(listen="127.0.0.1:0"),
        ("GET /metrics", {}),
        ("GET /-/healthy?x=y", {}),
        ("GET /", {}),
        ("POST /metrics", {}),
        ("GET /metrics", {"Host": "evil.example"}),
    )
    assert "kobs_build_info" in metrics.text
    assert metrics.headers["content-type"].startswith("text/plain; version=")
    assert [each.status_code for each in (metrics, healthy, missing, posted, foreign)] == [200, 200, 404, 405, 403]


def test_with_a_token_only_who_has_it_is_answered() -> None:
    token: Any = "secret"
    right, wrong, none = asked(
        AgentSettings(listen="127.0.0.1:0", listen_token=token),
        ("GET /metrics", {"Authorization": "Bearer secret"}),
        ("GET /metrics", {"Authorization": "Bearer guess"}),
        ("GET /metrics", {}),
    )
    assert [each.status_code for each in (right, wrong, none)] == [200, 401, 401]
    assert "secret" not in wrong.text


def test_a_port_in_use_is_a_problem_and_nothing_more() -> None:
    async def run() -> str:
        first = MetricsListener(AgentSettings(listen="127.0.0.1:0"))
        await first.start()
        second = MetricsListener(AgentSettings(listen=first.address))
        await second.start()
        await second.close()
        await first.close()
        return second.problem

    assert "agent.listen 127.0.0.1:" in asyncio.run(run())


def test_other_machines_need_a_token() -> None:
    with pytest.raises(ValueError, match=r"expected agent\.listen_token to be set"):
        AgentSettings(listen="0.0.0.0:9701")
    token: Any = "secret"
    assert AgentSettings(listen="0.0.0.0:9701", listen_token=token).address() == ("0.0.0.0", 9701)
    assert AgentSettings(listen="").address() is None
