"""Shipping over HTTP: a frame that was answered is stored, and every refusal says what to do next."""

import datetime as dt
import gzip
import socket
import time

import httpx
import pytest

from kobs import telemetry
from kobs.config import ServerSettings
from kobs.model.logs import LogSource, SourceKind
from kobs.storage.clickhouse import Store
from kobs.wire import frames
from kobs.wire.frames import FrameKind
from kobs.wire.ship import Batch, LineFormat, LogRequest, PositionsRequest, Stream
from tests.api.server import serve

pytestmark = pytest.mark.clickhouse

STREAM = Stream(
    source=LogSource(kind=SourceKind.CONTAINER, node="n1", namespace="shop", pod="web-1", uid="u", container="app"),
    format=LineFormat.CRI,
)
NOW_NS = time.time_ns() // 1_000_000_000 * 1_000_000_000
"""What is older than its retention is not stored."""
SECOND = dt.datetime.fromtimestamp(NOW_NS // 1_000_000_000, tz=dt.UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()
LINES = SECOND + b".000000001Z stdout F one\n" + SECOND + b".000000002Z stderr F two\n"


def log_frame() -> bytes:
    batch = Batch(stream=0, segment=1, start=0, end=len(LINES), length=len(LINES), read_ns=NOW_NS + 1_000_000_000)
    request = LogRequest(agent="a1", node="n1", sequence=1, sent_ns=NOW_NS, streams=[STREAM], batches=[batch])
    return frames.encode(FrameKind.LOGS, request, [LINES])


def discarded(reason: str) -> float:
    return telemetry.REGISTRY.get_sample_value("kobs_discarded_total", {"signal": "logs", "reason": reason}) or 0.0


def test_what_is_answered_as_stored_is_found_by_search(client: httpx.Client) -> None:
    answer = client.post("/kobs/v1/ship/logs", content=log_frame(), headers={"Content-Type": frames.CONTENT_TYPE})
    assert answer.status_code == 200, answer.text
    assert [batch["status"] for batch in answer.json()["batches"]] == ["stored"]
    found = client.get(
        "/kobs/v1/logs",
        params={"start": str(NOW_NS), "end": str(NOW_NS + 9), "pod": "web-1", "direction": "forward"},
    ).json()
    assert [(entry["line"], entry["labels"]["stream"]) for entry in found["entries"]] == [
        ("one", "stdout"),
        ("two", "stderr"),
    ]
    positions = client.post(
        "/kobs/v1/ship/positions",
        content=frames.encode(FrameKind.POSITIONS, PositionsRequest(agent="a1", streams=[STREAM]), []),
    )
    assert positions.json()["positions"] == [{"stream": 0, "segment": 1, "delivered": len(LINES)}]


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", "malformed_frame"),
        (b"x" * 100, "malformed_frame"),
        (log_frame()[:-5], "malformed_frame"),
        (gzip.compress(log_frame()), "malformed_frame"),
        (log_frame()[:-1] + bytes([log_frame()[-1] ^ 1]), "malformed_frame"),
    ],
    ids=["empty", "noise", "cut", "compressed again", "wrong checksum"],
)
def test_a_malformed_frame_is_400_and_counted(client: httpx.Client, frame: bytes, reason: str) -> None:
    before = discarded(reason)
    for path in ("logs", "positions"):
        answer = client.post(f"/kobs/v1/ship/{path}", content=frame)
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, reason)
    assert discarded(reason) == before + 2


class TestLargeBodies:
    @pytest.fixture
    def small(self) -> ServerSettings:
        return ServerSettings(max_body_bytes=1000)

    def test_a_body_beyond_the_limit_is_413_and_counted(self, store: Store, small: ServerSettings) -> None:
        before = discarded("body_too_large")
        with serve(store, small) as server, httpx.Client(base_url=server.url, trust_env=False) as client:
            answer = client.post("/kobs/v1/ship/logs", content=b"x" * 1001)
        assert (answer.status_code, answer.json()["error"]["type"]) == (413, "body_too_large")
        assert "1000 bytes (server.max_body_bytes)" in answer.json()["error"]["message"]
        assert discarded("body_too_large") == before + 1

    def test_a_body_without_an_end_is_refused_while_it_comes(self, store: Store, small: ServerSettings) -> None:
        """The client never finishes its body, and is answered all the same."""
        with serve(store, small) as server, socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.settimeout(20)
            raw.sendall(
                b"POST /kobs/v1/ship/logs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"3e9\r\n" + b"x" * 1001 + b"\r\n"
            )
            assert raw.recv(100).startswith(b"HTTP/1.1 413 ")

    def test_a_body_that_does_not_come_is_408(self, store: Store) -> None:
        with (
            serve(store, ServerSettings(request_timeout_seconds=0.05)) as server,
            socket.create_connection(("127.0.0.1", server.port)) as raw,
        ):
            raw.settimeout(20)
            raw.sendall(b"POST /kobs/v1/ship/logs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nx")
            assert raw.recv(100).startswith(b"HTTP/1.1 408 ")


def test_a_store_that_does_not_answer_is_503_with_a_time_to_try_again(store: Store) -> None:
    with serve(store) as server, httpx.Client(base_url=server.url, trust_env=False) as client:
        store.command("RENAME TABLE logs TO logs_away")
        store.command("RENAME TABLE log_segments TO log_segments_away")
        frame = frames.encode(FrameKind.POSITIONS, PositionsRequest(agent="a1", streams=[STREAM]), [])
        answer = client.post("/kobs/v1/ship/positions", content=frame)
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "try_again")
    assert int(answer.headers["Retry-After"]) >= 1
