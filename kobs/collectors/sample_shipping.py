"""Ships samples to a server: columns arrive from collectors, frames leave.

A series is registered once and named by a number from then on; a server is told each series once a session. Samples
wait in memory while a request is under way, at most one at a time. While no server takes any they go to disk, up to
`agent.spool_bytes`, and are sent when one does, also by the agent's next run; beyond that the oldest are dropped. Every
loss is counted and told to the server, which puts it on record. Order does not matter, and a frame may be stored twice
(its answer was lost), which the store takes as once.

Registering and putting may be done from any thread.
"""

import asyncio
import contextlib
import threading
import time
import uuid
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kobs import telemetry
from kobs.collectors.sample_delivery import SampleDelivery
from kobs.collectors.sample_losses import SampleLosses
from kobs.collectors.sample_spool import Columns, SampleSpool
from kobs.collectors.series_numbers import SeriesNumbers, Told
from kobs.collectors.servers import REFUSED_PAUSE_SECONDS
from kobs.config import AgentSettings
from kobs.errors import RejectedError, RetryableError
from kobs.model.labels import canonical
from kobs.model.samples import Family, Sample
from kobs.wire.samples import JobFamily, SampleAnswer, SampleLossReason, SampleRequest, SampleStatus, encode

QUEUE_SAMPLES = 1_000_000
"""Samples that wait in memory, of 20 bytes each, while a request is under way or the disk takes none."""
FRAME_SAMPLES = 50_000
"""Samples of one frame: what a server inserts at once."""
TOLD_BYTES = 4 * 1024 * 1024
"""Series that one frame tells; those of a larger target are told in several."""

_LOOK_WHILE_SENDING_SECONDS = 1.0
_OWN_SERIES_SECONDS = 1800.0

_shipped = telemetry.counter("kobs_agent_samples_shipped_total", "Samples that a server has stored.")
_queued = telemetry.gauge("kobs_agent_queued_samples", "Samples that wait in memory to be shipped.")
_series = telemetry.gauge("kobs_agent_series", "Series that collectors have registered.")

log = telemetry.get_logger(__name__)


_NO_SAMPLES = Columns(array("q"), array("d"), array("I"))


@dataclass(frozen=True, slots=True, eq=False)
class _Put:
    """Samples in the queue. Puts are counted, so that it is known when none is left that names a series."""

    columns: Columns
    count: int


class SampleShipping:
    """The way of samples to the servers, one in a process. `folder` is where they wait; None for memory only."""

    def __init__(
        self,
        settings: AgentSettings,
        *,
        cluster: str,
        node: str,
        folder: Path | None = None,
        queue_samples: int = QUEUE_SAMPLES,
        gather_seconds: float = 0.0,
    ) -> None:
        """`gather_seconds` is how long samples wait for others before a frame that is not full is sent."""
        self._settings = settings
        self._cluster = cluster
        self._node = node
        self._queue_samples = queue_samples
        self._gather_seconds = gather_seconds
        self._numbers = SeriesNumbers()
        self._own = _OwnSeries(self._numbers)
        self._losses = SampleLosses(None if folder is None else folder / "losses.json")
        self._spool = (
            None if folder is None else SampleSpool(folder, most_bytes=settings.spool_bytes, losses=self._losses)
        )
        self._lock = threading.Lock()
        self._queue: deque[_Put] = deque()
        self._waiting = 0
        self._puts = 0
        self._taken: list[_Put] = []
        self._spool_fails = ""
        self._some = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._delivery: SampleDelivery | None = None
        self._families: dict[tuple[str, str], JobFamily] = {}
        self._told_families: dict[tuple[str, str], JobFamily] = {}
        self._session = ""
        self._told = 0
        self._begin_session()

    @property
    def waiting(self) -> int:
        """Samples that wait in memory, those on their way included."""
        return self._waiting

    @property
    def spooled(self) -> int:
        """Samples that wait on disk."""
        return 0 if self._spool is None else len(self._spool)

    @property
    def problem(self) -> str:
        """Why samples cannot be shipped now; empty if they can."""
        told = "" if self._delivery is None else self._delivery.problem
        return "; ".join(filter(None, (told, self._spool_fails and f"samples' spool: {self._spool_fails}")))

    def register(self, labels: Mapping[str, str]) -> int:
        """Return the number of a series, the same for equal labels while they are registered.

        `labels` include `__name__`. Each call is matched by one of `release`.
        """
        number = self._numbers.register(labels)
        _series.set(len(self._numbers))
        return number

    def release(self, numbers: Iterable[int]) -> None:
        """Give numbers back that are not put any more. What was put before still goes to the server."""
        with self._lock:
            self._numbers.release(numbers, after_put=self._puts)
            self._free_numbers()
        _series.set(len(self._numbers))

    def describe(self, job: str, families: Iterable[Family]) -> None:
        """Note what a job says of its metric names; it goes with the next samples."""
        for family in families:
            self._families[job, family.name] = JobFamily.of(job, family)

    def put(self, samples: Sequence[Sample]) -> None:
        """Queue samples with their labels: for some hundreds at a time, others are registered and put as columns."""
        numbers = self._own.numbers_of(samples, release=self.release)
        self.put_columns(
            array("q", [sample.time_ms for sample in samples]),
            array("d", [sample.value for sample in samples]),
            array("I", numbers),
        )

    def put_columns(self, times_ms: "array[int]", values: "array[float]", numbers: "array[int]") -> None:
        """Queue samples; the arrays are the queue's from now on. Where it is full, the oldest in it are dropped.

        Shape: arrays of one length and of types q (ms UTC), d, I (registered numbers).
        Raises: ValueError for other arrays.
        """
        if not len(times_ms) == len(values) == len(numbers):
            raise ValueError(f"columns of {len(times_ms)}, {len(values)} and {len(numbers)} values: expected as many")
        if (times_ms.typecode, values.typecode, numbers.typecode) != ("q", "d", "I"):
            raise ValueError(f"columns of {times_ms.typecode}, {values.typecode}, {numbers.typecode}: expected q, d, I")
        if not times_ms:
            return
        with self._lock:
            self._puts += 1
            for at in range(0, len(times_ms), FRAME_SAMPLES):
                piece = slice(at, at + FRAME_SAMPLES)
                whole = len(times_ms) <= FRAME_SAMPLES
                columns = (times_ms, values, numbers) if whole else (times_ms[piece], values[piece], numbers[piece])
                self._queue.append(_Put(Columns(*columns), self._puts))
            self._waiting += len(times_ms)
            while self._waiting > self._queue_samples and self._queue:
                self._lose_oldest()
            _queued.set(self._waiting)
        self._wake()

    async def run(self) -> None:
        """Send what is put, until cancelled; what waits then goes to disk."""
        self._some = asyncio.Event()
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        self._delivery = delivery = SampleDelivery(self._settings)
        try:
            while True:
                if self._spool is None or self._spool.is_empty():
                    if not self._queue:
                        await self._some.wait()
                    await self._gather()
                self._some.clear()
                if delivery.problem:
                    await self._spill()
                pause = await self._send_next(delivery)
                await asyncio.to_thread(self._losses.save)
                if pause:
                    await asyncio.sleep(pause)
        finally:
            self._loop = None
            await delivery.close()
            self.close()

    def close(self) -> None:
        """Write to disk what waits. `run` does so when it ends; once more for what was put after that."""
        if self._spool is not None:
            self._write_to_spool(self._spool)
            self._spool.close()
        self._losses.save()

    async def _gather(self) -> None:
        """Wait for samples of other targets, which share a request then, unless there is a frame of them already."""
        end = time.monotonic() + self._gather_seconds
        while self._waiting < FRAME_SAMPLES and (left := end - time.monotonic()) > 0:
            self._some.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._some.wait()

    async def _send_next(self, delivery: SampleDelivery) -> float:
        """Send a frame of what came last, or else of the oldest on disk; return for how long to leave the server."""
        put = self._take()
        if put is not None:
            settled = False
            try:
                settled, pause = await self._deliver(delivery, put.columns)
            finally:
                if settled:
                    self._settle(put)
                else:
                    self._put_back(put)
            return pause
        if self._spool is None:
            return 0.0
        found = await asyncio.to_thread(self._spool.oldest)
        if found is None:
            return 0.0
        numbers = {number: self._numbers.register_canonical(key) for number, key in found.series.items()}
        columns = found.columns
        named = array("I", [numbers[each] for each in columns.numbers])
        try:
            settled, pause = await self._deliver(delivery, Columns(columns.times_ms, columns.values, named))
        finally:
            self.release(numbers.values())
        if settled:
            await asyncio.to_thread(self._spool.sent)
        return pause

    async def _deliver(self, delivery: SampleDelivery, columns: Columns) -> tuple[bool, float]:
        """Send samples once, after all series that their server lacks.

        Returns whether it is settled what becomes of them, and for how long to pause.
        """
        while True:
            told, is_all = self._numbers.untold(most_bytes=TOLD_BYTES)
            try:
                settled, pause = await self._post(delivery, told, columns if is_all else _NO_SAMPLES)
            except RetryableError as error:
                return False, error.retry_after_seconds
            if is_all or not settled:
                return settled, pause

    async def _post(self, delivery: SampleDelivery, told: list[Told], columns: Columns) -> tuple[bool, float]:
        """Send one frame.

        Raises: RetryableError.
        """
        families = {key: each for key, each in self._families.items() if self._told_families.get(key) != each}
        losses = self._losses.to_tell()
        request = SampleRequest(
            session=self._session,
            cluster=self._cluster,
            node=self._node,
            told=self._told,
            series=[key for _, key in told],
            numbers=[number for number, _ in told],
            families=list(families.values()),
            losses=losses,
            count=len(columns),
        )
        frame = await asyncio.to_thread(
            encode, request, times_ms=columns.times_ms, values=columns.values, numbers=columns.numbers
        )
        try:
            answer = await self._meanwhile_spilling(delivery, frame)
        except RejectedError as error:
            self._losses.add(
                SampleLossReason.REFUSED,
                first_ms=min(columns.times_ms, default=0),
                last_ms=max(columns.times_ms, default=0),
                samples=len(columns),
                detail=str(error),
                counted=error.reason,
            )
            self._begin_session()
            return True, 0.0
        if answer.status is SampleStatus.UNKNOWN_SERIES:
            # A server that was told all of them and still asks is not asked again at once.
            pause = REFUSED_PAUSE_SECONDS if self._told == 0 else 0.0
            self._begin_session()
            return False, pause
        self._told += self._numbers.told(told)
        self._told_families |= families
        self._losses.told(losses)
        refused = sum(answer.rejected.values())
        _shipped.inc(len(columns) - refused)
        if answer.rejected:
            log.warning("The server refuses some samples for good.", reasons=answer.rejected)
        return True, 0.0

    async def _meanwhile_spilling(self, delivery: SampleDelivery, frame: bytes) -> SampleAnswer:
        """Send a frame, and write to disk what comes meanwhile where it is too much or may wait long."""
        posting = asyncio.ensure_future(delivery.post(frame))
        try:
            while True:
                done, _ = await asyncio.wait({posting}, timeout=_LOOK_WHILE_SENDING_SECONDS)
                if done:
                    return posting.result()
                if delivery.problem or self._waiting > self._queue_samples // 2:
                    await self._spill()
        finally:
            posting.cancel()

    def _begin_session(self) -> None:
        self._session = uuid.uuid4().hex
        self._told = 0
        self._told_families = {}
        self._numbers.begin_session()

    # The queue

    def _take(self) -> _Put | None:
        """Take a frame's samples off the queue; they count as waiting until they are settled."""
        with self._lock:
            if not self._queue:
                return None
            first = self._queue.popleft()
            columns = first.columns
            while self._queue and len(columns) + len(self._queue[0].columns) <= FRAME_SAMPLES:
                more = self._queue.popleft().columns
                columns.times_ms.extend(more.times_ms)
                columns.values.extend(more.values)
                columns.numbers.extend(more.numbers)
            self._taken.append(first)
            return first

    def _settle(self, put: _Put) -> None:
        """Note that the samples of a put are in the store, on disk or on record as lost."""
        with self._lock:
            self._taken.remove(put)
            self._waiting -= len(put.columns)
            self._free_numbers()
            _queued.set(self._waiting)

    def _put_back(self, put: _Put) -> None:
        with self._lock:
            self._taken.remove(put)
            self._queue.appendleft(put)

    def _free_numbers(self) -> None:
        """Free the released numbers that no waiting sample names."""
        waiting = [put.count for put in self._taken]
        if self._queue:
            waiting.append(self._queue[0].count)
        self._numbers.freed_up_to(min(waiting, default=self._puts + 1) - 1)

    def _lose_oldest(self) -> None:
        columns = self._queue.popleft().columns
        self._waiting -= len(columns)
        self._losses.add(
            SampleLossReason.SPOOL_FAILED if self._spool_fails else SampleLossReason.QUEUE_FULL,
            first_ms=min(columns.times_ms),
            last_ms=max(columns.times_ms),
            samples=len(columns),
            detail=self._spool_fails or f"more than {self._queue_samples} samples waited in memory",
        )

    def _wake(self) -> None:
        loop = self._loop
        if loop is None or threading.get_ident() == self._thread:
            self._some.set()
        else:
            loop.call_soon_threadsafe(self._some.set)

    # The disk

    async def _spill(self) -> None:
        """Write to disk what waits in memory, as far as the disk takes it."""
        if self._spool is not None and self._queue:
            await asyncio.to_thread(self._write_to_spool, self._spool)

    def _write_to_spool(self, spool: SampleSpool) -> None:
        while (put := self._take()) is not None:
            try:
                spool.append(put.columns, self._numbers.series_of)
            except OSError as error:
                # It waits in memory, as long as that holds it.
                self._put_back(put)
                if not self._spool_fails:
                    log.warning("Samples cannot be kept on disk.", error=error)
                self._spool_fails = error.strerror or str(error)
                return
            self._spool_fails = ""
            self._settle(put)


class _OwnSeries:
    """The series that are put with their labels: registered at the first put, released some time after the last."""

    def __init__(self, numbers: SeriesNumbers) -> None:
        self._numbers = numbers
        self._recent: dict[bytes, int] = {}
        self._before: dict[bytes, int] = {}
        self._since = time.monotonic()

    def numbers_of(self, samples: Sequence[Sample], *, release: Callable[[Iterable[int]], None]) -> list[int]:
        """Return the number of each sample's series."""
        now = time.monotonic()
        if now - self._since > _OWN_SERIES_SECONDS:
            release(list(self._before.values()))
            self._before, self._recent, self._since = self._recent, {}, now
        return [self._number_of(canonical(sample.labels)) for sample in samples]

    def _number_of(self, key: bytes) -> int:
        number = self._recent.get(key)
        if number is None:
            number = self._before.pop(key, None)
            self._recent[key] = number = self._numbers.register_canonical(key) if number is None else number
        return number
