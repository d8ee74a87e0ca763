"""What the tests of scraping share: an HTTP server whose paths answer as told, and a shipping that keeps all."""

import contextlib
import socket
import ssl
import struct
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from kobs.model.samples import STALE_NAN_BITS, Family

TEXT_TYPE = "text/plain; version=0.0.4"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

Headers = Mapping[str, str]
Respond = Callable[["Request"], None]


class Request(BaseHTTPRequestHandler):
    """One request; a path's function answers it by `answer`, or writes as it likes."""

    protocol_version = "HTTP/1.1"
    place: "Place"
    body = b""

    def do_GET(self) -> None:
        self.place.requests.append((self.path, dict(self.headers)))
        respond = self.place.paths.get(self.path.partition("?")[0])
        if respond is None:
            self.answer(b"nothing here", status=404)
        else:
            with contextlib.suppress(OSError):  # the client may go before the answer's end
                respond(self)

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def answer(self, body: bytes, *, status: int = 200, content_type: str | None = TEXT_TYPE, **headers: str) -> None:
        self.send_response(status)
        if content_type is not None:
            self.send_header("Content-Type", content_type)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Place:
    """A running server. `requests` are paths with headers, in their order."""

    def __init__(self, paths: Mapping[str, bytes | Respond], context: ssl.SSLContext | None = None) -> None:
        self.paths = {path: answer if callable(answer) else answering(answer) for path, answer in paths.items()}
        self.requests: list[tuple[str, Headers]] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundRequest", (Request,), {"place": self}))
        self._http.daemon_threads = True
        self._http.handle_error = lambda *_: None  # type: ignore[method-assign] # a refused handshake says enough
        if context is not None:
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.port = int(self._http.server_address[1])
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"{'http' if context is None else 'https'}://{self.address}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@contextlib.contextmanager
def serving(paths: Mapping[str, bytes | Respond], context: ssl.SSLContext | None = None) -> Iterator[Place]:
    place = Place(paths, context)
    try:
        yield place
    finally:
        place.close()


def answering(body: bytes, *, status: int = 200, content_type: str | None = TEXT_TYPE, **headers: str) -> Respond:
    return lambda request: request.answer(body, status=status, content_type=content_type, **headers)


class Recorder:
    """A shipping that keeps all samples: what is shipped is looked at without a server that stores it."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[tuple[str, str], ...], int] = {}
        self.labels: dict[int, dict[str, str]] = {}
        self.held: dict[int, int] = {}
        self.samples: list[tuple[dict[str, str], int, float]] = []
        self.families: dict[tuple[str, str], Family] = {}

    def register(self, labels: Mapping[str, str]) -> int:
        key = tuple(sorted(labels.items()))
        number = self.numbers.setdefault(key, len(self.numbers))
        self.labels[number] = dict(labels)
        self.held[number] = self.held.get(number, 0) + 1
        return number

    def release(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            assert self.held[number] > 0
            self.held[number] -= 1

    def put_columns(self, times_ms: "array[int]", values: "array[float]", numbers: "array[int]") -> None:
        assert (times_ms.typecode, values.typecode, numbers.typecode) == ("q", "d", "I")
        assert all(self.held[number] for number in numbers)
        for time_ms, value, number in zip(times_ms, values, numbers, strict=True):
            self.samples.append((self.labels[number], time_ms, value))

    def describe(self, job: str, families: Iterable[Family]) -> None:
        for family in families:
            self.families[job, family.name] = family

    def of(self, name: str, **labels: str) -> list[tuple[int, float]]:
        """Return time and value of all samples of a name whose labels include some."""
        return [
            (time_ms, value)
            for its, time_ms, value in self.samples
            if its["__name__"] == name and labels.items() <= its.items()
        ]

    def by_series(self, name: str) -> dict[tuple[tuple[str, str], ...], list[tuple[int, float]]]:
        """Return time and value of all samples of a name by series."""
        found: dict[tuple[tuple[str, str], ...], list[tuple[int, float]]] = {}
        for labels, time_ms, value in self.samples:
            if labels["__name__"] == name:
                found.setdefault(tuple(sorted(labels.items())), []).append((time_ms, value))
        return found

    def newest(self) -> dict[tuple[tuple[str, str], ...], float]:
        """Return the newest value of every series, but of those that have ended."""
        newest: dict[tuple[tuple[str, str], ...], tuple[int, float]] = {}
        for labels, time_ms, value in self.samples:
            key = tuple(sorted(labels.items()))
            if key not in newest or newest[key][0] <= time_ms:
                newest[key] = time_ms, value
        return {key: value for key, (_, value) in newest.items() if not is_stale(value)}


def is_stale(value: float) -> bool:
    return bool(struct.unpack("<Q", struct.pack("<d", value))[0] == STALE_NAN_BITS)


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"
