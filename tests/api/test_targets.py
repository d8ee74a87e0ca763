"""What agents report of their targets comes back as Prometheus would answer it."""

import asyncio
import re
import time

import httpx
import pytest
from click.testing import CliRunner

from kobs.cli import kobs
from kobs.ingest.targets import TargetIngest
from kobs.model.samples import MetricType
from kobs.model.scope import Scope, Signal
from kobs.query.targets import Targets, TargetView
from kobs.storage.clickhouse import Store
from kobs.wire import frames
from kobs.wire.samples import JobFamily
from kobs.wire.targets import SILENT_MS, ActiveTarget, DroppedTarget, TargetReport, encode
from tests.api.server import Server
from tests.metric_frames import Accepting, frame

pytestmark = pytest.mark.clickhouse

NOW_MS = time.time_ns() // 1_000_000
"""The present: rows of the past leave the store by themselves."""


def active(name: str, **changes: object) -> ActiveTarget:
    fields: dict[str, object] = {
        "pool": "shop",
        "url": f"http://{name}/metrics",
        "global_url": f"http://{name}/metrics",
        "discovered": {"__address__": name, "job": "shop"},
        "labels": {"instance": name, "job": "shop"},
        "health": "up",
        "started_ns": 1_700_000_000_123_456_000,
        "seconds": 0.25,
        "interval": "15s",
        "timeout": "10s",
    }
    return ActiveTarget(**(fields | changes))  # type: ignore[arg-type] # whatever a test changes


def dropped(name: str) -> DroppedTarget:
    return DroppedTarget(pool="shop", discovered={"__address__": name, "__meta_kubernetes_namespace": "bank"})


REPORT = TargetReport(
    node="n1",
    active=[
        active("b:1"),
        active("a:1", health="down", error="Connection refused"),
        active("c:1", pool="bank", health="unknown", started_ns=0, seconds=0.0),
    ],
    dropped=[dropped("x:1")],
    dropped_counts={"shop": 3, "bank": 0},
)


def post(client: httpx.Client, report: TargetReport) -> httpx.Response:
    headers = {"Content-Type": frames.CONTENT_TYPE}
    return client.post("/kobs/v1/ship/targets", content=encode(report), headers=headers)


def test_the_view_has_prometheus_form(client: httpx.Client) -> None:
    assert post(client, REPORT).json() == {"stored": 4}
    answer = client.get("/api/v1/targets").json()
    assert answer["status"] == "success"
    data = answer["data"]
    assert [target["scrapeUrl"] for target in data["activeTargets"]] == [
        "http://c:1/metrics",
        "http://a:1/metrics",
        "http://b:1/metrics",
    ]
    assert data["activeTargets"][1] == {
        "discoveredLabels": {"__address__": "a:1", "job": "shop"},
        "labels": {"instance": "a:1", "job": "shop"},
        "scrapePool": "shop",
        "scrapeUrl": "http://a:1/metrics",
        "globalUrl": "http://a:1/metrics",
        "lastError": "Connection refused",
        "lastScrape": "2023-11-14T22:13:20.123456Z",
        "lastScrapeDuration": 0.25,
        "health": "down",
        "scrapeInterval": "15s",
        "scrapeTimeout": "10s",
    }
    assert data["activeTargets"][0]["lastScrape"] == "0001-01-01T00:00:00Z"
    assert data["droppedTargets"] == [
        {"discoveredLabels": {"__address__": "x:1", "__meta_kubernetes_namespace": "bank"}, "scrapePool": "shop"}
    ]
    assert data["droppedTargetCounts"] == {"bank": 0, "shop": 3}


def test_the_view_is_narrowed_by_state_and_pool(client: httpx.Client) -> None:
    post(client, REPORT)

    def counts(**parameters: str) -> tuple[int, int, object]:
        data = client.get("/api/v1/targets", params=parameters).json()["data"]
        return len(data["activeTargets"]), len(data["droppedTargets"]), data["droppedTargetCounts"]

    assert counts(state="active") == (3, 0, None)
    assert counts(state="DROPPED") == (0, 1, {"bank": 0, "shop": 3})
    assert counts(state="any", scrapePool="bank") == (1, 0, {"bank": 0, "shop": 3})
    assert counts(state="nonsense") == (0, 0, None)


def test_pools_are_told_by_name(client: httpx.Client) -> None:
    post(client, REPORT)
    assert client.get("/api/v1/scrape_pools").json() == {
        "status": "success",
        "data": {"scrapePools": ["bank", "shop"]},
    }


def test_a_target_that_is_not_reported_any_more_is_gone(client: httpx.Client) -> None:
    post(client, REPORT)
    post(client, TargetReport(node="n1", active=[active("b:1")]))
    post(client, TargetReport(node="n2", active=[active("d:1")], dropped_counts={"shop": 1}))
    data = client.get("/api/v1/targets").json()["data"]
    assert [target["scrapeUrl"] for target in data["activeTargets"]] == ["http://b:1/metrics", "http://d:1/metrics"]
    assert (data["droppedTargets"], data["droppedTargetCounts"]) == ([], {"shop": 1})
    post(client, TargetReport(node="n1"))
    assert len(client.get("/api/v1/targets").json()["data"]["activeTargets"]) == 1


def test_a_frame_that_is_none_is_refused(client: httpx.Client) -> None:
    answer = client.post("/kobs/v1/ship/targets", content=b"nonsense")
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "malformed_frame")


def read(store: Store, *, now_ms: int, scope: Scope | None = None) -> Targets:
    return asyncio.run(TargetView(store, now_ms=lambda: now_ms).read(scope or Scope.all()))


def test_the_targets_of_a_silent_agent_are_not_there(store: Store) -> None:
    asyncio.run(TargetIngest(store, now_ms=lambda: NOW_MS).accept(encode(REPORT)))
    assert len(read(store, now_ms=NOW_MS + SILENT_MS).active) == 3
    silent = read(store, now_ms=NOW_MS + 1 + SILENT_MS)
    assert (silent.active, silent.dropped, dict(silent.dropped_counts)) == ((), (), {})


def test_who_may_see_some_clusters_or_namespaces_sees_their_targets(store: Store) -> None:
    ingest = TargetIngest(store, now_ms=lambda: NOW_MS)
    of_bank = active("e:1", labels={"instance": "e:1", "namespace": "bank"})
    elsewhere = DroppedTarget(pool="shop", discovered={"a": "b"})
    east = TargetReport(
        cluster="east",
        node="n1",
        active=[active("a:1"), of_bank],
        dropped=[dropped("x:1"), elsewhere],
        dropped_counts={"shop": 2},
    )
    for report in (east, TargetReport(cluster="west", node="n1", active=[active("w:1")])):
        asyncio.run(ingest.accept(encode(report)))

    def seen(scope: Scope) -> tuple[list[str], int, dict[str, int]]:
        found = read(store, now_ms=NOW_MS, scope=scope)
        return [target.url for target in found.active], len(found.dropped), dict(found.dropped_counts)

    signals = frozenset(Signal)
    assert seen(Scope(frozenset({"west"}), None, signals)) == (["http://w:1/metrics"], 0, {})
    assert seen(Scope(None, frozenset({"bank"}), signals)) == (["http://e:1/metrics"], 1, {})
    assert seen(Scope(None, None, frozenset({Signal.LOGS}))) == ([], 0, {})


def test_the_command_prints_a_table(server: Server, client: httpx.Client) -> None:
    post(client, REPORT)
    done = CliRunner().invoke(kobs, ["targets", "--server", server.url, "--state", "any"])
    lines = [re.sub(r"\d+ s ago", "N s ago", re.sub(r" {2,}", "  ", line)) for line in done.output.splitlines()]
    assert lines == [
        "JOB  TARGET  HEALTH  LAST SCRAPE  TOOK  ERROR",
        "bank  http://c:1/metrics  unknown  not yet",
        "shop  http://a:1/metrics  down  N s ago  250 ms  Connection refused",
        "shop  http://b:1/metrics  up  N s ago  250 ms",
        "3 targets, 1 up",
        "JOB  DROPPED TARGET  LABELS",
        "shop  x:1",
        "3 dropped targets",
    ]
    assert done.exit_code == 1  # one is down
    narrowed = CliRunner().invoke(kobs, ["targets", "--server", server.url, "--pool", "bank", "--json"])
    assert '"scrapePool": "bank"' in narrowed.output
    assert '"scrapePool": "shop"' not in narrowed.output
    assert CliRunner().invoke(kobs, ["targets", "--server", server.url, "--pool", "bank"]).exit_code == 0


def test_metadata_is_told_by_target(store: Store, client: httpx.Client) -> None:
    """Each target says what its job says of its names; a selector and a name narrow the answer, a limit cuts it."""
    said = [JobFamily(job="a", name="up_total", type=MetricType.COUNTER, unit="seconds", help="How long.")]
    said += [JobFamily(job="b", name="other", type=MetricType.GAUGE)]
    with Accepting(store) as accept:
        accept(frame([], families=said))
    targets = [active("a:1", labels={"job": "a", "instance": "1"}), active("a:2", labels={"job": "a", "instance": "2"})]
    targets.append(active("b:1", labels={"job": "b", "instance": "3"}))
    post(client, TargetReport(cluster="", node="n1", active=targets))

    def data(**parameters: str) -> list[dict[str, object]]:
        found: list[dict[str, object]] = client.get("/api/v1/targets/metadata", params=parameters).json()["data"]
        return found

    first = {"target": {"instance": "1", "job": "a"}, "metric": "up_total"}
    first |= {"type": "counter", "help": "How long.", "unit": "seconds"}
    assert data()[0] == first
    assert len(data()) == 3
    assert [each["target"] for each in data(match_target='{instance=~"2|3"}', metric="other")] == [
        {"instance": "3", "job": "b"}
    ]
    assert "metric" not in data(metric="other")[0]
    assert len(data(limit="1")) == 1
    assert client.get("/api/v1/targets/metadata", params={"match_target": "{"}).status_code == 400
    assert client.get("/api/v1/targets/metadata", params={"limit": "x"}).json()["error"] == "limit must be a number"
