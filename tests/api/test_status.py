"""Status, ledger, verify, probes, metrics, and what is no endpoint."""

import httpx
import pyarrow as pa
import pytest

import kobs
from kobs import telemetry
from kobs.storage.clickhouse import Store
from kobs.storage.log_writes import AGENT_ROWS
from tests.api.test_logs import claim, now_ms, record
from tests.query.rows import T0_NS, Entry, insert

pytestmark = pytest.mark.clickhouse


class TestStatus:
    def test_it_tells_sources_agents_drops_and_size(self, store: Store, client: httpx.Client) -> None:
        insert(store, [Entry(T0_NS)])
        claim(store)
        claim(store, source=10, claimed=400, last_ts=T0_NS + 9)
        claim(store, source=11, kind="journal", namespace="", last_ts=T0_NS + 1)
        seen_ms = now_ms()
        agent = {
            "agent": "a1", "cluster": "east", "node": "n1", "version": "0.1.0", "clock_skew_ms": -1500, "held_bytes": 1,
            "streams": 2, "backlog_bytes": 3, "problems": ["/var/log/x: permission denied"], "seen": seen_ms,
        }  # fmt: skip
        old = {**agent, "agent": "a0", "seen": seen_ms - 8 * 86_400_000}
        store.insert(
            "agents",
            pa.Table.from_pylist([agent, {**agent, "problems": [], "seen": seen_ms - 1}, old], schema=AGENT_ROWS),
        )
        telemetry.discarded("logs", "malformed_entry", 3)

        status = client.get("/kobs/v1/status").json()

        assert status["version"] == kobs.__version__
        assert status["uptime_seconds"] > 0
        assert status["store"]["kind"] == "embedded"
        assert status["store"]["bytes"] > 100
        common = {"cluster": "east", "node": "n1", "segments": 1, "updated": str(T0_NS + 60_000_000_000)}
        assert status["sources"] == [
            {**common, "kind": "container", "namespace": "shop", "sources": 2, "segments": 2, "newest": str(T0_NS + 9),
             "pending_bytes": 600},
            {**common, "kind": "journal", "namespace": "", "sources": 1, "newest": str(T0_NS + 1),
             "pending_records": 600},
        ]  # fmt: skip
        assert status["agents"] == [{**agent, "seen": str(seen_ms * 1_000_000)}]
        (dropped,) = [each for each in status["discarded"] if each["reason"] == "malformed_entry"]
        assert dropped["signal"] == "logs"
        assert dropped["count"] >= 3
        assert status["queues"]["kobs_ingest_log_queued_rows"] == 0

    def test_an_unknown_parameter_is_refused(self, client: httpx.Client) -> None:
        assert client.get("/kobs/v1/status?x=1").status_code == 400


class TestLedger:
    def test_losses_come_newest_first_and_page_by_page(self, store: Store, client: httpx.Client) -> None:
        for number in range(25):
            record(store, start=number, last_ts=T0_NS + number // 3)
        record(store, start=99, last_ts=0)
        parameters = {"limit": "4", "pod": "web-1"}
        found: list[tuple[str, int]] = []
        while True:
            page = client.get("/kobs/v1/ledger", params=parameters).json()
            assert page["sums"] == [{"reason": "rotated_away", "count": 26, "bytes": 5200}]
            found += [(loss["last"], loss["start"]) for loss in page["losses"]]
            if page["cursor"] is None:
                break
            parameters["cursor"] = page["cursor"]
        assert found == [(str(T0_NS + number // 3), number) for number in reversed(range(25))] + [(None, 99)]

    def test_filters_narrow_it(self, store: Store, client: httpx.Client) -> None:
        record(store)
        record(store, start=7, reason="line_too_long", in_row=1, namespace="bank")
        record(store, start=8, reason="doubles_removed")

        def starts(**parameters: str) -> list[int]:
            answer = client.get("/kobs/v1/ledger", params=parameters)
            assert answer.status_code == 200, answer.text
            return sorted(loss["start"] for loss in answer.json()["losses"])

        assert starts() == [7, 100]
        assert starts(reason="doubles_removed") == [8]
        assert starts(reason="line_too_long") == starts(namespace="bank") == [7]
        assert starts(end=str(T0_NS)) == starts(start=str(T0_NS + 11)) == []
        assert starts(start=str(T0_NS + 10), end=str(T0_NS + 11)) == [7, 100]

    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ("reason=lost", "reason='lost': expected one of rotated_away"),
            ("limit=1001", "limit=1001: expected a whole number from 1 to 1000"),
            ("cursor=AAAA", "cursor: not a cursor"),
            ("token=x", "token: unknown parameter"),
        ],
    )
    def test_what_is_wrong_is_named(self, client: httpx.Client, query: str, message: str) -> None:
        answer = client.get(f"/kobs/v1/ledger?{query}")
        assert answer.status_code == 400
        assert message in answer.json()["error"]["message"]

    def test_a_cursor_belongs_to_its_query(self, store: Store, client: httpx.Client) -> None:
        record(store)
        record(store, start=1)
        cursor = client.get("/kobs/v1/ledger?limit=1").json()["cursor"]
        answer = client.get(f"/kobs/v1/ledger?pod=web-1&cursor={cursor}")
        assert answer.status_code == 400
        assert "belongs to another query" in answer.json()["error"]["message"]


class TestVerify:
    def test_it_answers_what_verify_finds(self, store: Store, client: httpx.Client) -> None:
        claim(store)
        answer = client.get("/kobs/v1/verify").json()
        assert answer["ok"] is False
        assert answer["totals"]["missing_bytes"] == 400

    def test_a_segments_entries_are_answered_with_their_bytes(self, store: Store, client: httpx.Client) -> None:
        insert(
            store, [Entry(T0_NS, body=b"\xff", source=2**64 - 1, segment=-5, offset=number) for number in (0, 5, 5, 9)]
        )
        answer = client.get(f"/kobs/v1/verify/entries?source={2**64 - 1}&segment=-5&offset=1&limit=10")
        assert answer.status_code == 200, answer.text
        assert [(each["offset"], each["copies"], each["body_base64"]) for each in answer.json()["entries"]] == [
            (5, 2, "/w=="),
            (9, 1, "/w=="),
        ]
        assert client.get("/kobs/v1/verify/entries?source=1").status_code == 400


class TestProbes:
    def test_a_server_whose_store_answers_is_ready(self, client: httpx.Client) -> None:
        assert client.get("/-/healthy").status_code == 200
        assert client.get("/-/ready").status_code == 200

    def test_a_server_whose_store_does_not_answer_is_healthy_and_not_ready(
        self, store: Store, client: httpx.Client
    ) -> None:
        store.command("RENAME TABLE log_segments TO log_segments_away")
        assert client.get("/-/healthy").status_code == 200
        answer = client.get("/-/ready")
        assert (answer.status_code, answer.json()["error"]["type"]) == (503, "not_ready")


def test_metrics_are_answered_in_the_format_asked_for(client: httpx.Client) -> None:
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "kobs_build_info{" in answer.text
    answer = client.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")


def test_a_path_that_is_none_is_404_in_json(client: httpx.Client) -> None:
    for path in ("/", "/docs", "/openapi.json", "/kobs/v1/nothing"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found")
    answer = client.post("/kobs/v1/logs")
    assert (answer.status_code, answer.json()["error"]["type"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET"


def test_a_defect_in_the_store_is_500_without_its_text(store: Store, client: httpx.Client) -> None:
    store.command("RENAME TABLE ledger TO ledger_away")
    answer = client.get("/kobs/v1/ledger")
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "internal")
    assert "ledger_away" not in answer.text
