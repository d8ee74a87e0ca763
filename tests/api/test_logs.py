"""Search and tail over HTTP: what parameters mean, what answers look like, what a tail hears."""

import base64
import contextlib
import json
import random
import socket
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlencode

import httpx
import pyarrow as pa
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from kobs.api.logs import parse_query
from kobs.config import ServerSettings
from kobs.errors import QueryError
from kobs.storage.clickhouse import Store
from kobs.storage.log_writes import LEDGER_ROWS, SEGMENT_ROWS
from tests.api.server import Server, serve
from tests.query.rows import DAY_NS, SHOP, T0_NS, Entry, insert
from tests.query.test_logs import matches, random_entries, random_filter

WINDOW = {"start": str(T0_NS - DAY_NS), "end": str(T0_NS + DAY_NS)}


def wait_for(condition: Callable[[], bool], *, seconds: float = 20) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition does not come true"
        time.sleep(0.02)


class TestParameters:
    @pytest.mark.parametrize(
        ("items", "message"),
        [
            ([("tokn", "x")], "tokn: unknown parameter"),
            ([("token", "x"), ("token", "y")], "token: comes twice"),
            ([("token", "a-b")], "token='a-b': '-' ends a token"),
            ([("token", "")], "token: expected some text"),
            ([("text", "x" * 5000)], "text: 5000 characters; the limit is 4096"),
            ([("regex", "a(")], r"regex='a\(': expected a regular expression in RE2's syntax"),
            ([("regex", "(?=a)")], "in RE2's syntax"),
            ([("limit", "0")], "limit=0: expected a whole number from 1 to 50"),
            ([("limit", "-1")], "limit='-1': expected a whole number"),
            ([("limit", "51")], r"limit=51: the limit is 50 \(server.search_max_rows\)"),
            ([("direction", "up")], "direction='up': expected forward or backward"),
            ([("start", "yesterday")], "start='yesterday': expected nanoseconds since 1970"),
            ([("start", "2026-01-02T03:04:05")], "start=.*expected nanoseconds since 1970"),
            ([("start", "2026-02-30T03:04:05Z")], "start=.*no such time"),
            ([("start", "1969-12-31T23:59:59Z")], "start=.*expected a time from 1970"),
            ([("start", "2026-01-02T03:04:05 01:00")], "%2B"),
            ([("end", str(2**63))], "end="),
            ([("start", "2"), ("end", "1")], "end=1: it is before start=2"),
        ],
        ids=lambda value: value[:30] if isinstance(value, str) else "",
    )
    def test_what_is_wrong_is_named(self, items: list[tuple[str, str]], message: str) -> None:
        with pytest.raises(QueryError, match=message):
            parse_query(items, most_rows=50)

    @pytest.mark.parametrize(
        ("text", "time_ns"),
        [
            ("0", 0),
            (str(T0_NS), T0_NS),
            ("2026-01-02T03:04:05Z", T0_NS),
            ("2026-01-02t03:04:05.000000001z", T0_NS + 1),
            ("2026-01-02T05:04:05.5+02:00", T0_NS + 500_000_000),
            ("2262-04-11T23:47:16.854775807Z", 2**63 - 1),
        ],
    )
    def test_times_are_ns_or_rfc_3339(self, text: str, time_ns: int) -> None:
        assert parse_query([("start", text)], most_rows=50).start_ns == time_ns

    def test_the_default_limit_is_within_the_most(self) -> None:
        assert parse_query([], most_rows=50).limit == 50
        assert parse_query([], most_rows=5000).limit == 100


@pytest.mark.clickhouse
class TestSearch:
    def test_an_entry_is_answered_with_all_it_has(self, store: Store, client: httpx.Client) -> None:
        body = b"caf\xc3\xa9\x00 \xff\xfe"
        insert(store, [Entry(T0_NS + 7, body=body, trace_id="4bf9", severity="error", offset=3)])
        answer = client.get("/kobs/v1/logs", params=WINDOW)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == {
            "entries": [
                {
                    "time": str(T0_NS + 7),
                    "line": "café\x00 \ufffd\ufffd",
                    "line_base64": base64.b64encode(body).decode(),
                    "labels": SHOP,
                    "severity": "error",
                    "trace_id": "4bf9",
                    "position": f"{2**64 - 1}:-5:3",
                }
            ],
            "cursor": None,
            "completeness": {
                "complete": True,
                "losses": [],
                "loss_count": 0,
                "pending_bytes": 0,
                "pending_records": 0,
            },
        }

    def test_pages_by_cursor_add_up(self, store: Store, client: httpx.Client) -> None:
        entries = [Entry(T0_NS - number // 10, offset=number) for number in range(100)]
        insert(store, entries)
        found: list[str] = []
        parameters = {**WINDOW, "namespace": "shop", "limit": "30", "direction": "forward"}
        while True:
            page = client.get("/kobs/v1/logs", params=parameters).json()
            found += [entry["position"] for entry in page["entries"]]
            if page["cursor"] is None:
                break
            parameters["cursor"] = page["cursor"]
        assert found == [entry.position for entry in sorted(entries, key=lambda entry: entry.order)]

    def test_a_wrong_parameter_is_400_with_type_and_message(self, client: httpx.Client) -> None:
        answer = client.get("/kobs/v1/logs?limit=5001")
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request"
        assert "limit=5001: the limit is 5000 (server.search_max_rows)" in answer.json()["error"]["message"]
        answer = client.get("/kobs/v1/logs", params={"regex": "("})
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "syntax")

    def test_a_client_that_disconnects_stops_its_query(self, store: Store) -> None:
        """Without that the query would run for half a minute, longer than the test waits."""
        store.command(
            "INSERT INTO logs (ts, received, namespace, stream, body, keep_days) "
            "SELECT fromUnixTimestamp64Nano({t0:Int64}), now64(3), 'shop', 1, (SELECT randomPrintableASCII(20000)), 30 "
            "FROM numbers(7500) SETTINGS max_block_size = 1000, min_insert_block_size_bytes = 1000000",
            {"t0": T0_NS},
        )
        running = "SELECT count() AS queries FROM system.processes WHERE Settings['log_comment'] LIKE 'kobs question%'"

        def count() -> int:
            return int(store.select(running)["queries"][0].as_py())

        query = urlencode({**WINDOW, "regex": "[a-m][^x-z]{60}[b-n][^x-z]{60}[c-o][^x]{90}[^a-z]{50}Q"})
        with serve(store, ServerSettings(search_timeout_seconds=600)) as server:
            with socket.create_connection(("127.0.0.1", server.port)) as raw:
                raw.sendall(f"GET /kobs/v1/logs?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                wait_for(lambda: count() == 1)
            wait_for(lambda: count() == 0, seconds=8)

    def test_a_search_beyond_its_time_is_422(self, store: Store) -> None:
        insert(store, [Entry(T0_NS)])
        with serve(store, ServerSettings(search_timeout_seconds=1e-9)) as server:
            answer = httpx.get(f"{server.url}/kobs/v1/logs", params=WINDOW, trust_env=False)
        assert answer.status_code == 422
        assert answer.json()["error"]["type"] == "limit"
        assert "server.search_timeout_seconds" in answer.json()["error"]["message"]


def record(store: Store, **values: object) -> None:
    """Record a loss of web-1's."""
    row = {
        "source": 9, "segment": 1, "start": 100, "reason": "rotated_away", "end": 300, "bytes": 200, "in_row": 0,
        "rows": 0, "first_ts": T0_NS, "last_ts": T0_NS + 10, "cluster": "east", "node": "n1", "namespace": "shop",
        "pod": "web-1", "container": "app", "path": "/var/log/x", "detail": "", "recorded": T0_NS // 1_000_000,
    }  # fmt: skip
    store.insert("ledger", pa.Table.from_pylist([{**row, **values}], schema=LEDGER_ROWS))


def claim(store: Store, **values: object) -> None:
    """Write how far a segment of web-1 has grown."""
    row = {
        "source": 9, "segment": 1, "cluster": "east", "node": "n1", "kind": "container", "namespace": "shop",
        "pod": "web-1", "uid": "u", "container": "app", "restart": 0, "path": "", "head": 0, "claimed": 1000,
        "delivered": 400, "closed": 0, "first_ts": T0_NS, "last_ts": T0_NS + 5, "updated": T0_NS // 1_000_000 + 60_000,
    }  # fmt: skip
    store.insert("log_segments", pa.Table.from_pylist([{**row, **values}], schema=SEGMENT_ROWS))


@pytest.mark.clickhouse
class TestCompleteness:
    def completeness(self, client: httpx.Client, **parameters: str) -> dict[str, object]:
        answer = client.get("/kobs/v1/logs", params={**WINDOW, **parameters})
        assert answer.status_code == 200, answer.text
        found: dict[str, object] = answer.json()["completeness"]
        return found

    def test_a_loss_in_the_window_is_told(self, store: Store, client: httpx.Client) -> None:
        record(store, detail="gone")
        record(store, detail="gone", recorded=T0_NS // 1_000_000 + 1)
        found = self.completeness(client)
        assert (found["complete"], found["loss_count"]) == (False, 1)
        (loss,) = found["losses"]
        assert (loss["reason"], loss["bytes"], loss["detail"]) == ("rotated_away", 200, "gone")
        assert (loss["first"], loss["last"]) == (str(T0_NS), str(T0_NS + 10))
        assert loss["labels"] == {
            "cluster": "east", "node": "n1", "namespace": "shop", "pod": "web-1", "container": "app",
        }  # fmt: skip

    @pytest.mark.parametrize(
        "parameters",
        [
            {"namespace": "bank"},
            {"pod": "web-2"},
            {"node": "n2"},
            {"end": str(T0_NS)},
            {"start": str(T0_NS + 11)},
        ],
        ids=["namespace", "pod", "node", "before", "after"],
    )
    def test_a_loss_elsewhere_is_not_told(self, store: Store, client: httpx.Client, parameters: dict[str, str]) -> None:
        record(store)
        assert self.completeness(client, **parameters)["complete"] is True

    def test_a_loss_at_an_unknown_time_may_be_in_any_window_before_its_record(
        self, store: Store, client: httpx.Client
    ) -> None:
        record(store, first_ts=0, last_ts=0, bytes=None, end=0)
        assert self.completeness(client, start="0", end="1")["loss_count"] == 1
        assert self.completeness(client, start=str(T0_NS + 1_000_000_000))["loss_count"] == 0
        (loss,) = self.completeness(client)["losses"]
        assert (loss["first"], loss["last"], loss["bytes"], loss["end"]) == (None, None, None, None)

    def test_a_finding_is_no_loss(self, store: Store, client: httpx.Client) -> None:
        record(store, reason="doubles_removed")
        assert self.completeness(client)["complete"] is True

    def test_at_most_100_losses_are_listed_and_all_counted(self, store: Store, client: httpx.Client) -> None:
        for start in range(103):
            record(store, start=start)
        found = self.completeness(client)
        assert (len(found["losses"]), found["loss_count"]) == (100, 103)

    def test_what_is_claimed_and_not_delivered_is_pending(self, store: Store, client: httpx.Client) -> None:
        claim(store)
        found = self.completeness(client, pod="web-1")
        assert (found["complete"], found["pending_bytes"], found["pending_records"]) == (False, 600, 0)
        assert self.completeness(client, pod="web-2")["pending_bytes"] == 0

    def test_pending_bytes_are_told_where_they_may_belong(self, store: Store, client: httpx.Client) -> None:
        claim(store)
        assert self.completeness(client, end=str(T0_NS + 5))["pending_bytes"] == 0
        assert self.completeness(client, end=str(T0_NS + 6))["pending_bytes"] == 600
        assert self.completeness(client, start=str(T0_NS + 61_000_000_000))["pending_bytes"] == 0

    def test_a_journal_counts_in_records(self, store: Store, client: httpx.Client) -> None:
        claim(store, kind="journal")
        found = self.completeness(client)
        assert (found["complete"], found["pending_bytes"], found["pending_records"]) == (False, 0, 600)

    def test_delivered_and_given_up_bytes_are_not_pending(self, store: Store, client: httpx.Client) -> None:
        claim(store)
        claim(store, claimed=0, delivered=1000)
        claim(store, segment=2)
        record(store, segment=2, start=400, end=0, bytes=None)
        assert self.completeness(client)["pending_bytes"] == 0


def open_tail(server: Server, **parameters: str | list[str]) -> ClientConnection:
    query = urlencode(parameters, doseq=True)
    return connect(f"ws://127.0.0.1:{server.port}/kobs/v1/logs/tail?{query}", proxy=None)


@contextlib.contextmanager
def following(server: Server, **parameters: str | list[str]) -> Iterator[ClientConnection]:
    """A tail that hears everything from now on."""
    with open_tail(server, **parameters) as tail:
        first = hear(tail)
        assert first["heartbeat"] is True
        yield tail


def hear(tail: ClientConnection) -> dict[str, object]:
    message: dict[str, object] = json.loads(tail.recv(timeout=20))
    return message


def hear_entries(tail: ClientConnection, count: int) -> list[dict[str, object]]:
    """Return the next `count` entries."""
    found: list[dict[str, object]] = []
    while len(found) < count:
        message = hear(tail)
        assert "dropped" not in message
        found += message.get("entries", [])
    assert len(found) == count
    return found


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.mark.clickhouse
class TestTail:
    def test_what_arrives_is_pushed_once_and_what_was_there_is_not(self, store: Store, server: Server) -> None:
        insert(store, [Entry(T0_NS, body=b"before", received_ms=now_ms())])
        with following(server) as tail:
            for number in range(3):
                insert(store, [Entry(T0_NS, body=b"after", offset=number, received_ms=now_ms())])
            found = hear_entries(tail, 3)
            insert(store, [Entry(T0_NS, body=b"last \xff", offset=9, trace_id="t", received_ms=now_ms())])
            found += hear_entries(tail, 1)
        assert [entry["position"] for entry in found] == [f"{2**64 - 1}:-5:{number}" for number in (0, 1, 2, 9)]
        assert found[3] == {
            "time": str(T0_NS),
            "line": "last \ufffd",
            "line_base64": base64.b64encode(b"last \xff").decode(),
            "labels": SHOP,
            "severity": "info",
            "trace_id": "t",
            "position": f"{2**64 - 1}:-5:9",
        }

    def test_an_insert_that_becomes_visible_late_is_pushed(self, store: Store, server: Server) -> None:
        """It began 20 s ago, long before what was pushed already."""
        with following(server) as tail:
            insert(store, [Entry(T0_NS, offset=1, received_ms=now_ms())])
            hear_entries(tail, 1)
            insert(store, [Entry(T0_NS, offset=2, received_ms=now_ms() - 20_000)])
            (late,) = hear_entries(tail, 1)
        assert late["position"] == f"{2**64 - 1}:-5:2"

    @pytest.mark.parametrize("seed", range(3))
    def test_every_filter_is_that_of_search(self, store: Store, server: Server, seed: int) -> None:
        dice = random.Random(seed)
        entries = random_entries(dice, 400, spread_ns=1_000)
        last = Entry(T0_NS + 1, body=b"the end", offset=10_000)
        in_order = [*sorted(entries, key=lambda each: each.order), last]
        filters = [random_filter(dice) for _ in range(12)]
        with contextlib.ExitStack() as stack:
            tails = []
            for wanted in filters:
                parameters: dict[str, str | list[str]] = {
                    name: list(values) for name, values in wanted.sources.by_label().items()
                }
                parameters |= {"severity": list(wanted.severities)}
                given = {"token": wanted.token, "text": wanted.text, "regex": wanted.regex}
                parameters |= {name: value for name, value in given.items() if value}
                tails.append(stack.enter_context(following(server, **parameters)))
            all_of_it = stack.enter_context(following(server))
            received_ms = now_ms()
            insert(store, [Entry(**{**vars(entry), "received_ms": received_ms}) for entry in entries])
            insert(store, [Entry(**{**vars(last), "received_ms": received_ms + 1})])
            hear_entries(all_of_it, len(entries) + 1)
            for wanted, tail in zip(filters, tails, strict=True):
                expected = [entry.position for entry in in_order if matches(entry, wanted)]
                found = hear_entries(tail, len(expected)) if expected else []
                assert [entry["position"] for entry in found] == expected, wanted
        assert any(matches(entry, wanted) for entry in entries for wanted in filters)

    def test_a_slow_client_is_told_how_many_entries_it_missed(self, store: Store) -> None:
        with serve(store, most_waiting_entries=50) as server, following(server) as tail:
            insert(store, [Entry(T0_NS + number, offset=number, received_ms=now_ms()) for number in range(80)])
            assert hear(tail) == {"dropped": 30}
            assert [entry["position"] for entry in hear_entries(tail, 50)] == [
                f"{2**64 - 1}:-5:{number}" for number in range(30, 80)
            ]

    def test_a_tail_that_was_cut_off_resumes_without_a_gap(self, store: Store, server: Server) -> None:
        insert(store, [Entry(T0_NS, body=b"older", offset=0, received_ms=now_ms() - 1000)])
        with following(server, text="new") as tail:
            insert(store, [Entry(T0_NS, body=b"new", offset=1, received_ms=now_ms())])
            heard = hear(tail)
        insert(store, [Entry(T0_NS - 5, body=b"new, with an old time", offset=2, received_ms=now_ms())])
        insert(store, [Entry(T0_NS, body=b"other", offset=3, received_ms=now_ms())])
        with open_tail(server, text="new", resume=str(heard["resume"])) as tail:
            positions = set()
            while (message := hear(tail)).get("heartbeat") is None:
                positions |= {entry["position"] for entry in message["entries"]}
            insert(store, [Entry(T0_NS, body=b"new again", offset=4, received_ms=now_ms())])
            # An entry may come again after a break, so it is told by its position; what is missing never comes.
            while f"{2**64 - 1}:-5:4" not in positions:
                positions |= {entry["position"] for entry in hear_entries(tail, 1)}
        assert positions - {f"{2**64 - 1}:-5:1"} == {f"{2**64 - 1}:-5:2", f"{2**64 - 1}:-5:4"}

    def test_nobody_listens_nobody_polls(self, server: Server) -> None:
        with following(server):
            assert server.tail.is_polling
        wait_for(lambda: not server.tail.is_polling)

    def test_a_wrong_parameter_is_refused_before_the_handshake(self, server: Server) -> None:
        for parameters, message in (({"start": "1"}, "start: unknown"), ({"resume": "x"}, "resume='x'")):
            with pytest.raises(InvalidStatus) as refused:
                open_tail(server, **parameters)
            assert refused.value.response.status_code == 400
            assert message in json.loads(refused.value.response.body)["error"]["message"]
