"""A proxy between an agent and a server, or a server and its store, that can spoil requests in several ways."""

import contextlib
import enum
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import unquote_plus

_FORWARD_SECONDS = 100.0
_NOT_FORWARDED = frozenset({"connection", "content-length", "date", "host", "server", "transfer-encoding"})


class Fault(enum.Enum):
    """What becomes of a request."""

    NONE = "none"
    REFUSE = "refuse"
    """The connection is reset before anything is read."""
    BUSY = "busy"
    """Answered 503; the server does not see it."""
    DELAY = "delay"
    """The server sees it late, and its answer is late too."""
    BREAK = "break"
    """The server sees half of it, then both connections break."""
    CUT = "cut"
    """The server stores it and answers, and the connection breaks before the agent has the answer."""
    LATE = "late"
    """The connection to the agent breaks at once, and the server sees the request a while later."""


class Proxy:
    """Listens on a port of its own. `choose` tells the fault of the next request; `watch` sees each that goes on."""

    def __init__(self, target_port: int, *, delay_seconds: float = 0.5) -> None:
        self.choose: Callable[[], Fault] = lambda: Fault.NONE
        self.watch: Callable[[bytes], None] = lambda _request: None
        self.counts: dict[Fault, int] = dict.fromkeys(Fault, 0)
        self.delay_seconds = delay_seconds
        self._target_port = target_port
        self._lock = threading.Lock()
        self._server = self._listen(0)
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._connections: set[socket.socket] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()

    def refuse(self) -> None:
        """Listen no more, and break all connections: a new one is refused."""
        self._server.shutdown()
        self._server.server_close()
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def accept(self) -> None:
        """Listen again on the same port."""
        self._server = self._listen(self.port)

    def _listen(self, port: int) -> ThreadingHTTPServer:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                with proxy._lock:
                    proxy._connections.add(self.connection)

            def finish(self) -> None:
                with proxy._lock:
                    proxy._connections.discard(self.connection)
                with contextlib.suppress(OSError):
                    super().finish()

            def do_GET(self) -> None:
                proxy._handle(self)

            def do_POST(self) -> None:
                proxy._handle(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
                """Say nothing: the agent tells what it met."""

        class Server(ThreadingHTTPServer):
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: object, client_address: object) -> None:
                """A connection that breaks is what this proxy is for."""

        server = Server(("127.0.0.1", port), Handler)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server

    def _next_fault(self) -> Fault:
        with self._lock:
            fault = self.choose()
            self.counts[fault] += 1
            return fault

    def _handle(self, agent: BaseHTTPRequestHandler) -> None:
        fault = self._next_fault()
        if fault is Fault.REFUSE:
            _break(agent)
            return
        body = agent.rfile.read(int(agent.headers.get("Content-Length", "0")))
        headers = _forwarded(agent.headers.items())
        self.watch(unquote_plus(agent.path).encode() + b"\n" + body)
        if fault is Fault.BUSY:
            _answer(agent, 503, b'{"error": "busy"}', {"Retry-After": "0.1", "Content-Type": "application/json"})
            return
        if fault is Fault.BREAK:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._target_port)) as server:
                head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                head += f"Content-Length: {len(body)}\r\n"
                server.sendall(f"POST {agent.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}\r\n".encode())
                server.sendall(body[: len(body) // 2])
            _break(agent)
            return
        if fault is Fault.LATE:
            _break(agent)
        if fault in (Fault.LATE, Fault.DELAY):
            time.sleep(self.delay_seconds)
        try:
            status, content, answered = self._forward(agent, body, headers)
        except (OSError, http.client.HTTPException):
            _break(agent)
            return
        if fault is Fault.DELAY:
            time.sleep(self.delay_seconds)
        if fault is Fault.CUT:
            _break(agent)
        elif fault is not Fault.LATE:
            _answer(agent, status, content, answered)

    def _forward(
        self, agent: BaseHTTPRequestHandler, body: bytes, headers: dict[str, str]
    ) -> tuple[int, bytes, dict[str, str]]:
        server = http.client.HTTPConnection("127.0.0.1", self._target_port, timeout=_FORWARD_SECONDS)
        try:
            server.request(agent.command, agent.path, body, headers)
            answer = server.getresponse()
            return answer.status, answer.read(), _forwarded(answer.getheaders())
        finally:
            server.close()


def _forwarded(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name: value for name, value in headers if name.lower() not in _NOT_FORWARDED}


def _answer(agent: BaseHTTPRequestHandler, status: int, content: bytes, headers: dict[str, str]) -> None:
    agent.send_response(status)
    for name, value in headers.items():
        agent.send_header(name, value)
    agent.send_header("Content-Length", str(len(content)))
    agent.end_headers()
    agent.wfile.write(content)


def _break(agent: BaseHTTPRequestHandler) -> None:
    agent.close_connection = True
    with contextlib.suppress(OSError):
        agent.connection.shutdown(socket.SHUT_RDWR)
