"""What an agent tells a server about others that may still be busy with its batches."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest

from kobs.collectors.logs.delivery import Delivery
from kobs.collectors.logs.shipments import ReadBatch, Shipment
from kobs.collectors.logs.sources import Log, Segment
from kobs.collectors.logs.state import Boundaries, Changes, State
from kobs.config import load
from kobs.model.logs import LogSource, SourceKind
from kobs.wire import frames
from kobs.wire.ship import AgentReport, BatchAnswer, BatchStatus, LineFormat, LogAnswer, LogRequest, Stream

_PAYLOAD = b"2026-11-22T10:00:00.000000001Z stdout F one\n"
_STREAM = Stream(
    source=LogSource(kind=SourceKind.CONTAINER, node="n1", namespace="shop", pod="web-1", uid="1", container="app"),
    format=LineFormat.CRI,
)
_SOURCE = _STREAM.source.id()
_BOUNDARIES = Boundaries(_SOURCE, 1, 0, len(_PAYLOAD), 1, 0, 1, 0, 0)


class _Answering:
    """Stands for a server: only the agent's words are looked at. The first requests are cut off unanswered."""

    def __init__(self, name: str, *, cuts: int, answers_of_batches: int = 1) -> None:
        self.requests: list[LogRequest] = []
        answering = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                frame = self.rfile.read(int(self.headers["Content-Length"]))
                request, _ = frames.decode(frame, frames.FrameKind.LOGS, LogRequest)
                answering.requests.append(request)
                if len(answering.requests) <= cuts:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                count = answers_of_batches if len(answering.requests) == cuts + 1 else 1
                stored = [BatchAnswer(status=BatchStatus.STORED)] * count
                content = msgspec.json.encode(LogAnswer(server=name, batches=stored))
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
                """Say nothing."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def _servers(*servers: _Answering) -> Iterator[None]:
    try:
        yield
    finally:
        for server in servers:
            server.close()


async def _send(state: State, servers: list[_Answering], *, times: int) -> None:
    settings = load(None, overrides={"agent.servers": tuple(server.url for server in servers)}).agent
    delivery = Delivery(settings, state, cluster="", node="n1")
    segment = Segment(_SOURCE, _STREAM, 1, 1, Path("0.log"), 1)
    batch = ReadBatch(Log(_SOURCE, _STREAM), segment, _BOUNDARIES, _PAYLOAD, retry=False)
    try:
        for _ in range(times):
            await delivery.send(Shipment([batch], [], []), AgentReport())
    finally:
        await delivery.close()


def test_a_server_that_never_answered_may_be_busy_all_the_same(tmp_path: Path) -> None:
    """The agent goes from the first to a second server, which cuts it off too, and back to the first."""
    first, second = _Answering("first", cuts=0), _Answering("second", cuts=2)
    with _servers(first, second):
        state = State(tmp_path)
        asyncio.run(_send(state, [first], times=1))
        asyncio.run(_send(state, [second, first], times=1))
        state.close()
    assert [request.previous_server for request in second.requests] == ["", "unknown"]
    assert first.requests[-1].previous_server == "unknown"
    assert first.requests[-1].batches[0].retry
    assert first.requests[-1].attempt > max(request.attempt for request in second.requests)


def test_a_server_that_is_asked_again_knows_that_it_was_asked_before(tmp_path: Path) -> None:
    server = _Answering("only", cuts=0)
    with _servers(server):
        state = State(tmp_path)
        asyncio.run(_send(state, [server], times=2))
        state.close()
    assert [request.previous_server for request in server.requests] == ["", ""]


def test_an_agent_that_was_killed_counts_its_batches_under_way_as_moved(tmp_path: Path) -> None:
    """What its predecessor sent may still be inserted by a server that stands still."""
    server = _Answering("next", cuts=0)
    with _servers(server):
        before = State(tmp_path)
        before.answered_by("stalled")
        before.commit(Changes(opened=[_BOUNDARIES]))
        attempt = before.attempt()
        before.close()
        state = State(tmp_path)
        asyncio.run(_send(state, [server], times=1))
        state.close()
    assert server.requests[0].previous_server == "stalled"
    assert server.requests[0].attempt > attempt


def test_an_answer_to_other_batches_makes_the_next_try_a_retry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the pause after a refusal is long, because nothing but a person can mend its cause
    monkeypatch.setattr("kobs.collectors.logs.delivery.REFUSED_PAUSE_SECONDS", 0.01)
    server = _Answering("odd", cuts=0, answers_of_batches=2)
    with _servers(server):
        state = State(tmp_path)
        asyncio.run(_send(state, [server], times=1))
        state.close()
    assert [request.batches[0].retry for request in server.requests] == [False, True]
