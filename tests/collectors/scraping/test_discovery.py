"""Finding addresses: files as they change, services as they answer; what cannot be read keeps what was there."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kobs.collectors.scraping import discovery
from kobs.collectors.scraping.configuration import ScrapeConfig
from kobs.collectors.scraping.discovery import Group, JobDiscovery, read_groups
from kobs.errors import ConfigError
from tests.collectors.scraping.places import Request, answering, serving


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "FILES_SECONDS", 0.01)  # nothing else is about the time between two looks


class Found:
    """A discovery that runs, and the groups that it found, each time."""

    def __init__(self, job: ScrapeConfig) -> None:
        self.history: list[list[Group]] = []
        self.discovery = JobDiscovery(job, self.history.append)

    @property
    def addresses(self) -> list[str]:
        return [address for group in self.history[-1] for address in group.addresses] if self.history else []

    async def until(self, *addresses: str) -> None:
        async with asyncio.timeout(20):
            while self.addresses != list(addresses):  # noqa: ASYNC110 - it tells by no event
                await asyncio.sleep(0.005)

    async def until_problem(self, text: str) -> None:
        async with asyncio.timeout(20):
            while text not in str(self.discovery.problems):  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def running(**job: object):  # type: ignore[no-untyped-def]
    found = Found(ScrapeConfig(job_name="j", **job))  # type: ignore[arg-type] # pydantic makes them what they must be
    task = asyncio.ensure_future(found.discovery.run())
    try:
        yield found
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def put(path: Path, text: str) -> None:
    """Write a file as programs do that others read: whole, by its name."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    temporary.rename(path)


def test_static_groups_are_there_at_once() -> None:
    async def run() -> None:
        async with running(static_configs=[{"targets": ["a:1", "b:1"], "labels": {"x": "y"}}]) as found:
            await found.until("a:1", "b:1")
            assert found.history[0][0].labels == {"x": "y"}

    asyncio.run(run())


def test_files_are_read_again_when_they_change(tmp_path: Path) -> None:
    async def run() -> None:
        put(tmp_path / "a.json", json.dumps([{"targets": ["a:1"], "labels": {"x": "y"}}]))
        async with running(file_sd_configs=[{"files": [f"{tmp_path}/*.json", f"{tmp_path}/*.yml"]}]) as found:
            await found.until("a:1")
            labels = {"x": "y", "__meta_filepath": f"{tmp_path}/a.json"}
            assert found.history[-1] == [Group(("a:1",), labels)]
            put(tmp_path / "b.yml", "- targets: [b:1, b:2]\n- targets: ['c:1']\n")
            await found.until("a:1", "b:1", "b:2", "c:1")
            put(tmp_path / "a.json", "[]")
            await found.until("b:1", "b:2", "c:1")
            (tmp_path / "b.yml").unlink()
            await found.until()

    asyncio.run(run())


def test_a_file_that_becomes_wrong_keeps_its_groups_and_is_a_problem(tmp_path: Path) -> None:
    async def run() -> None:
        put(tmp_path / "a.yml", "- targets: [a:1]")
        put(tmp_path / "b.yml", "- targets: [b:1]")
        async with running(file_sd_configs=[{"files": [f"{tmp_path}/*.yml"]}]) as found:
            await found.until("a:1", "b:1")
            put(tmp_path / "a.yml", "- targets: [")
            await found.until_problem("a.yml, line 1: expected YAML")
            put(tmp_path / "b.yml", "- targets: [b:2]")
            await found.until("a:1", "b:2")
            put(tmp_path / "a.yml", "- targets: [a:2]")
            await found.until("a:2", "b:2")
            assert found.discovery.problems == {}

    asyncio.run(run())


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.json", "{", "expected JSON"),
        ("a.json", '{"targets": []}', "expected a list of groups with targets and labels"),
        ("a.json", '[{"targets": ["a"], "lables": {}}]', "0.lables: Extra inputs are not permitted"),
        ("a.json", "[null]", "0: Input should be"),
        ("a.yml", "- targets: a", "0.targets: Input should be a valid"),
        ("a.yml", "- targets: [a]\n  targets: [b]", "line 2: the key targets appears twice"),
        ("a.yml", "- \xff", "expected YAML"),
        ("a.yml", '- targets: ["\\ud800"]', "expected YAML in UTF-8"),
        ("a.json", '[{"targets": ["\\ud800"]}]', "it is not UTF-8"),
    ],
)
def test_why_a_file_is_wrong_is_told(tmp_path: Path, name: str, text: str, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as raised:
        read_groups(path)
    assert reason in str(raised.value)
    assert str(path) in str(raised.value)


def respond(groups: list[object], content_type: str = "application/json; charset=utf-8") -> Callable[[Request], None]:
    return answering(json.dumps(groups).encode(), content_type=content_type)


def test_a_service_is_asked_again_and_again() -> None:
    async def run() -> None:
        with serving({"/targets": respond([{"targets": ["a:1"], "labels": {"x": "y"}}])}) as place:
            url = f"{place.url}/targets"
            async with running(http_sd_configs=[{"url": url, "refresh_interval": "50ms"}]) as found:
                await found.until("a:1")
                assert found.history[-1] == [Group(("a:1",), {"x": "y", "__meta_url": url})]
                headers = place.requests[0][1]
                assert headers["Accept"] == "application/json"
                assert headers["X-Prometheus-Refresh-Interval-Seconds"] == "0.05"
                place.paths["/targets"] = respond([{"targets": ["b:1"]}, {"targets": ["c:1"]}])
                await found.until("b:1", "c:1")
                place.paths["/targets"] = answering(b"", status=500)
                await found.until_problem("server returned HTTP status 500")
                place.paths["/targets"] = respond([], content_type="text/html")
                await found.until_problem('unsupported content type "text/html"')
                place.paths["/targets"] = answering(b"{", content_type="application/json")
                await found.until_problem("expected JSON")
                assert found.addresses == ["b:1", "c:1"]
                place.paths["/targets"] = respond([])
                await found.until()
                assert found.discovery.problems == {}

    asyncio.run(run())


def test_a_service_that_is_slow_is_given_up_in_its_interval() -> None:
    def sleep(request: Request) -> None:
        time.sleep(0.3)
        request.answer(b"[]", content_type="application/json")

    async def run() -> None:
        with serving({"/targets": sleep}) as place:
            url = f"{place.url}/targets"
            async with running(http_sd_configs=[{"url": url, "refresh_interval": "50ms"}]) as found:
                await found.until_problem("no whole answer within 0.05 s (refresh_interval)")

    asyncio.run(run())
