"""Samples reach a server over real sockets, whatever it answers first; what does not fit the queue is counted."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest
from pydantic import SecretStr

from kobs.collectors import sample_shipping
from kobs.collectors.sample_shipping import SampleShipping
from kobs.config import AgentSettings
from kobs.model.labels import canonical
from kobs.model.samples import Family, MetricType, Sample
from kobs.telemetry import REGISTRY
from kobs.wire.samples import SampleAnswer, SampleRequest, SampleStatus, decode
from tests.ports import free_port

STORED = SampleAnswer(status=SampleStatus.STORED)
UNKNOWN = SampleAnswer(status=SampleStatus.UNKNOWN_SERIES)


class Server:
    """A server that gives the answers of a script, and after them that it has stored all."""

    def __init__(self, *script: tuple[int, bytes]) -> None:
        self.requests: list[SampleRequest] = []
        self.times: list[list[int]] = []
        self.headers: list[dict[str, str]] = []
        self.script = list(script)
        server = self

        class Answering(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                assert self.path == "/kobs/v1/ship/samples"
                request, columns = decode(self.rfile.read(int(self.headers["Content-Length"])))
                status, body = server.script.pop(0) if server.script else (200, msgspec.json.encode(STORED))
                server.headers.append(dict(self.headers))
                server.requests.append(request)
                server.times.append(list(columns.times_ms.cast("q")))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Retry-After", "0.1")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@contextlib.contextmanager
def serving(*script: tuple[int, bytes]) -> Iterator[Server]:
    server = Server(*script)
    try:
        yield server
    finally:
        server.close()


def answer(content: SampleAnswer) -> tuple[int, bytes]:
    return 200, msgspec.json.encode(content)


def sample(number: int, *, name: str = "up") -> Sample:
    return Sample({"__name__": name, "instance": "n"}, 15_000 * number, float(number))


def shipping(*urls: str, **options: int) -> SampleShipping:
    return SampleShipping(AgentSettings(servers=urls), cluster="prod", node="worker-1", **options)


def ship(shipper: SampleShipping, *batches: list[Sample], is_done: Callable[[], bool] | None = None) -> None:
    """Put batches one after another, each when the one before it is on record; run until all are."""

    async def run() -> None:
        running = asyncio.ensure_future(shipper.run())
        async with asyncio.timeout(20):
            for batch in batches or ([],):
                shipper.put(batch)
                while not (is_done() if is_done is not None else shipper.waiting == 0):  # noqa: ASYNC110 - it tells by no event
                    await asyncio.sleep(0.005)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    asyncio.run(run())


def discarded(reason: str) -> float:
    return REGISTRY.get_sample_value("kobs_discarded_total", {"signal": "metrics", "reason": reason}) or 0.0


def test_a_series_and_its_family_are_told_once() -> None:
    with serving() as server:
        shipper = shipping(server.url)
        shipper.describe("node", [Family("up", MetricType.GAUGE, "", "Whether.")])
        ship(shipper, [sample(1)], [sample(2), sample(2, name="down")])
    first, second = server.requests
    assert first.series == [canonical({"__name__": "up", "instance": "n"})]
    assert [family.name for family in first.families] == ["up"]
    assert (first.cluster, first.node) == ("prod", "worker-1")
    assert (second.session, second.told) == (first.session, 1)
    assert second.series == [canonical({"__name__": "down", "instance": "n"})]
    assert second.families == []


def test_a_server_that_does_not_know_the_series_is_told_all_again() -> None:
    with serving(answer(STORED), answer(UNKNOWN)) as server:
        shipper = shipping(server.url)
        shipper.describe("node", [Family("up", MetricType.GAUGE, "", "Whether.")])
        ship(shipper, [sample(1)], [sample(2)])
    _, second, third = server.requests
    assert (second.told, second.series) == (1, [])
    assert third.session != second.session
    assert (third.told, len(third.series), len(third.families)) == (0, 1, 1)
    assert server.times[1:] == [[30_000], [30_000]]


@pytest.mark.parametrize(
    "failure",
    [(503, b""), (429, b""), (200, b"what?"), (200, b'{"status": "lost"}')],
    ids=["503", "429", "no-json", "wrong-json"],
)
def test_samples_are_sent_until_they_are_stored(failure: tuple[int, bytes]) -> None:
    with serving(failure) as server:
        shipper = shipping(server.url)
        ship(shipper, [sample(1)])
    assert server.times == [[15_000], [15_000]]
    assert server.requests[0] == server.requests[1]


def test_a_server_that_is_away_is_left_for_the_next() -> None:
    with serving() as server:
        shipper = shipping(f"http://127.0.0.1:{free_port()}", server.url)
        ship(shipper, [sample(1)])
        assert shipper.problem == ""
    assert server.times == [[15_000]]


def test_a_frame_that_is_refused_for_good_is_counted_and_left() -> None:
    before = discarded("too_many_samples")
    refusal = b'{"error": {"type": "too_many_samples", "message": "..."}}'
    with serving((400, refusal)) as server:
        shipper = shipping(server.url)
        ship(shipper, [sample(1)], [sample(2)])
    assert discarded("too_many_samples") == before + 1
    assert server.times == [[15_000], [30_000]]
    assert server.requests[1].told == 0


def test_a_reason_that_is_not_known_does_not_become_a_label() -> None:
    before = discarded("refused")
    with serving((400, b'{"error": {"type": "pod-0f3a", "message": "..."}}')) as server:
        shipper = shipping(server.url)
        ship(shipper, [sample(1)])
    assert discarded("refused") == before + 1


def test_beyond_the_queue_the_oldest_samples_are_dropped_and_counted() -> None:
    before = discarded("queue_full")
    with serving() as server:
        shipper = shipping(server.url, queue_samples=3)
        for number in range(1, 6):
            shipper.put([sample(number)])
        assert shipper.waiting == 3
        ship(shipper)
    assert discarded("queue_full") == before + 2
    assert server.times == [[45_000, 60_000, 75_000]]


def test_batches_are_cut_and_joined_to_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_shipping, "FRAME_SAMPLES", 4)  # a small one shows what 20,000 would
    with serving() as server:
        shipper = shipping(server.url)
        shipper.put([sample(number) for number in range(5)])
        shipper.put([sample(number) for number in range(5, 8)])
        shipper.put([sample(8)])
        ship(shipper)
    assert [[time // 15_000 for time in times] for times in server.times] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]


def test_the_token_is_sent() -> None:
    with serving() as server:
        settings = AgentSettings(servers=(server.url,), token=SecretStr("secret"))
        shipper = SampleShipping(settings, cluster="", node="n")
        ship(shipper, [sample(1)])
    assert server.headers[0]["Authorization"] == "Bearer secret"


def test_it_can_be_cancelled_while_no_server_answers() -> None:
    shipper = shipping(f"http://127.0.0.1:{free_port()}")
    ship(shipper, [sample(1)], is_done=lambda: shipper.problem != "")
    assert shipper.waiting == 1
