"""Samples reach a server over real sockets, whatever it answers first; what does not fit the queue is counted."""

import asyncio
import contextlib
import errno
import os
import threading
from array import array
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from pydantic import SecretStr

from kobs.collectors import sample_shipping, sample_spool
from kobs.collectors.sample_shipping import SampleShipping
from kobs.config import AgentSettings
from kobs.model.labels import canonical, from_canonical
from kobs.model.samples import Family, MetricType, Sample
from kobs.telemetry import REGISTRY
from kobs.wire.samples import SampleAnswer, SampleColumns, SampleLossReason, SampleRequest, SampleStatus, decode
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
        self.stored: list[tuple[str, int, float]] = []
        self._sessions: dict[str, dict[int, bytes]] = {}
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
                if status == 200 and body == msgspec.json.encode(STORED):
                    server.store(request, columns)
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

    def store(self, request: SampleRequest, columns: SampleColumns) -> None:
        """Take samples as a server does: by the session's numbers."""
        session = self._sessions.setdefault(request.session, {})
        session.update(zip(request.numbers, request.series, strict=True))
        rows = zip(columns.numbers.cast("I"), columns.times_ms.cast("q"), columns.values.cast("d"), strict=True)
        for number, time_ms, value in rows:
            self.stored.append((from_canonical(session[number])["__name__"], time_ms, value))

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


def name(text: str) -> dict[str, str]:
    return {"__name__": text, "instance": "n"}


def put(shipper: SampleShipping, *samples: tuple[int, float, int]) -> None:
    times, values, numbers = zip(*samples, strict=True)
    shipper.put_columns(array("q", times), array("d", values), array("I", numbers))


class TestColumns:
    def test_a_series_has_one_number_while_it_is_registered(self) -> None:
        shipper = shipping("http://127.0.0.1:1")
        first, second = shipper.register(name("a")), shipper.register(name("b"))
        assert first != second
        assert shipper.register(dict(reversed(name("a").items()))) == first
        shipper.release([first])
        assert shipper.register(name("a")) == first

    def test_columns_reach_the_server_under_their_names(self) -> None:
        with serving() as server:
            shipper = shipping(server.url)
            a, b = shipper.register(name("a")), shipper.register(name("b"))
            put(shipper, (1, 1.0, a), (1, 2.0, b), (2, 3.0, a))
            ship(shipper)
        assert server.stored == [("a", 1, 1.0), ("b", 1, 2.0), ("a", 2, 3.0)]

    def test_a_number_is_given_again_when_no_sample_waits_that_means_the_former_series(self) -> None:
        with serving() as server:
            shipper = shipping(server.url)
            a = shipper.register(name("a"))
            put(shipper, (1, 1.0, a))
            shipper.release([a])
            b = shipper.register(name("b"))
            assert b != a
            put(shipper, (2, 2.0, b))
            ship(shipper)
            c = shipper.register(name("c"))
            assert c == a
            put(shipper, (3, 3.0, c), (3, 4.0, b))
            ship(shipper)
        assert server.stored == [("a", 1, 1.0), ("b", 2, 2.0), ("c", 3, 3.0), ("b", 3, 4.0)]

    def test_numbers_stay_few_while_series_come_and_go(self) -> None:
        with serving() as server:
            shipper = shipping(server.url)
            for turn in range(20):
                number = shipper.register(name(f"m{turn}"))
                put(shipper, (turn, float(turn), number))
                shipper.release([number])
                ship(shipper)
                assert number <= 1
        assert server.stored == [(f"m{turn}", turn, float(turn)) for turn in range(20)]

    def test_many_series_are_told_in_several_frames_before_their_samples(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sample_shipping, "TOLD_BYTES", 100)  # a small one shows what 4 MiB would
        with serving() as server:
            shipper = shipping(server.url)
            numbers = [shipper.register(name(f"m{index}")) for index in range(20)]
            put(shipper, *((1, float(index), number) for index, number in enumerate(numbers)))
            ship(shipper)
        assert [request.count for request in server.requests[:-1]] == [0] * (len(server.requests) - 1)
        assert len(server.requests) > 3
        assert server.stored == [(f"m{index}", 1, float(index)) for index in range(20)]

    def test_threads_may_register_and_put(self) -> None:
        with serving() as server:
            shipper = shipping(server.url)

            def collect(thread: int) -> None:
                for turn in range(50):
                    number = shipper.register(name(f"m{thread}_{turn % 7}"))
                    put(shipper, (turn, float(thread), number))
                    shipper.release([number])

            async def run() -> None:
                running = asyncio.ensure_future(shipper.run())
                await asyncio.gather(*(asyncio.to_thread(collect, thread) for thread in range(8)))
                async with asyncio.timeout(20):
                    while shipper.waiting:  # noqa: ASYNC110 - it tells by no event
                        await asyncio.sleep(0.005)
                running.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await running

            asyncio.run(run())
        expected = [(f"m{thread}_{turn % 7}", turn, float(thread)) for thread in range(8) for turn in range(50)]
        assert sorted(server.stored) == sorted(expected)

    @pytest.mark.parametrize(
        "columns",
        [
            (array("q", [1]), array("d"), array("I", [0])),
            (array("d", [1]), array("d", [1]), array("I", [0])),
            (array("q", [1]), array("d", [1]), array("q", [0])),
        ],
        ids=["lengths", "times", "numbers"],
    )
    def test_columns_of_another_form_are_a_defect(self, columns: "tuple[array[int], array[float], array[int]]") -> None:
        with pytest.raises(ValueError, match="expected"):
            shipping("http://127.0.0.1:1").put_columns(*columns)


class TestOutage:
    def shipper(self, url: str, folder: Path, **options: int) -> SampleShipping:
        settings = AgentSettings(servers=(url,), spool_bytes=options.pop("spool_bytes", 2**20))
        return SampleShipping(settings, cluster="", node="n", folder=folder, **options)

    def test_what_no_server_takes_waits_on_disk_for_the_next_run(self, tmp_path: Path) -> None:
        first = self.shipper(f"http://127.0.0.1:{free_port()}", tmp_path)
        ship(first, [sample(1)], [sample(2), sample(2, name="down")], is_done=lambda: first.problem != "")
        with serving() as server:
            second = self.shipper(server.url, tmp_path)
            assert second.spooled == 3
            ship(second, [sample(3)], is_done=lambda: second.waiting == second.spooled == 0)
        assert sorted(server.stored) == [("down", 30_000, 2.0), *(("up", 15_000 * turn, turn) for turn in (1, 2, 3))]
        assert list(tmp_path.glob("*.spool")) == []

    def test_what_waited_on_disk_follows_when_the_server_is_back(self, tmp_path: Path) -> None:
        """It answers 503 several times, while the oldest on disk is tried again and more comes."""
        with serving(*[(503, b"")] * 4) as server:
            shipper = self.shipper(server.url, tmp_path)
            for number in range(1, 30):
                shipper.put([sample(number, name=f"m{number % 3}")])
            ship(shipper, [sample(30)], is_done=lambda: shipper.waiting == shipper.spooled == 0)
        assert sorted(time_ms for _, time_ms, _ in server.stored) == [15_000 * number for number in range(1, 31)]
        assert {(text, int(value) % 3) for text, _, value in server.stored} == {
            ("m0", 0),
            ("m1", 1),
            ("m2", 2),
            ("up", 0),
        }

    def test_what_is_lost_is_told_to_the_server_once(self, tmp_path: Path) -> None:
        with serving() as server:
            shipper = self.shipper(server.url, tmp_path, queue_samples=3)
            for number in range(1, 6):
                shipper.put([sample(number)])
            ship(shipper)
            ship(shipper, [sample(7)])
        told = [loss for request in server.requests for loss in request.losses]
        assert [(loss.reason, loss.samples, loss.first_ms, loss.last_ms) for loss in told] == [
            (SampleLossReason.QUEUE_FULL, 2, 15_000, 30_000)
        ]

    def test_on_a_full_disk_samples_wait_in_memory_and_then_the_oldest_go(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fill(_: object, __: bytes) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        before = discarded("spool_failed")
        # A disk of a test cannot be filled without the rights of root.
        monkeypatch.setattr(sample_spool, "_write_all", fill)
        with serving((503, b""), (503, b"")) as server:
            shipper = self.shipper(server.url, tmp_path, queue_samples=3)
            ship(shipper, [sample(1)], is_done=lambda: "No space" in shipper.problem)
            for number in range(2, 6):
                shipper.put([sample(number)])
            ship(shipper, is_done=lambda: shipper.waiting == 0)
        assert discarded("spool_failed") == before + 2
        assert [time_ms // 15_000 for _, time_ms, _ in server.stored] == [3, 4, 5]
        assert [loss.reason for request in server.requests for loss in request.losses][-1] == "spool_failed"


def test_samples_of_several_targets_share_a_request() -> None:
    async def run(shipper: SampleShipping) -> None:
        running = asyncio.ensure_future(shipper.run())
        for number in range(5):
            shipper.put([sample(number)])
            await asyncio.sleep(0)
        async with asyncio.timeout(20):
            while shipper.waiting:  # noqa: ASYNC110 - it tells by no event
                await asyncio.sleep(0.005)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    with serving() as server:
        settings = AgentSettings(servers=(server.url,))
        asyncio.run(run(SampleShipping(settings, cluster="", node="n", gather_seconds=0.5)))
    assert server.times == [[15_000 * number for number in range(5)]]


def test_a_frame_that_is_full_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_shipping, "FRAME_SAMPLES", 2)  # a small one shows what 50,000 would
    with serving() as server:
        settings = AgentSettings(servers=(server.url,))
        shipper = SampleShipping(settings, cluster="", node="n", gather_seconds=3600)
        ship(shipper, [sample(1), sample(2)])
    assert server.times == [[15_000, 30_000]]
