"""Accepts what agents ship about metrics: frames arrive, their samples are in the store when it answers.

Bad samples are counted by reason and left out, the rest of their frame is stored. Order does not matter, and a frame
that comes twice counts once, because samples are idempotent in the store.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np

from kobs import telemetry
from kobs.config import ServerSettings, StorageSettings
from kobs.errors import RejectedError
from kobs.ingest.limits import Reason
from kobs.ingest.sample_sessions import Sessions
from kobs.ingest.sample_writer import Samples, SampleWriter, Work
from kobs.ingest.series_table import DAY_MS, UNKNOWN, Slots, fault_of
from kobs.storage.clickhouse import Store
from kobs.wire.samples import JobFamily, SampleAnswer, SampleColumns, SampleStatus, decode

MOST_SAMPLES = 500_000
"""Samples of one frame."""
MOST_AHEAD_MS = DAY_MS
"""A time further ahead is a wrong clock, not a skewed one."""
LONGEST_TEXT_BYTES = 4096
"""What is said of a metric name, in each of its fields."""

_SIGNAL = "metrics"


class SampleIngest:
    """The ingest of samples of one server instance; `run` must run for `accept` and `insert` to return."""

    def __init__(
        self,
        store: Store,
        settings: ServerSettings,
        storage: StorageSettings,
        *,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        sessions: Sessions | None = None,
    ) -> None:
        self._store = store
        self._now_ms = now_ms
        self._keep_days = storage.metrics_keep_days
        self.sessions = sessions if sessions is not None else Sessions()
        self._writer = SampleWriter(
            store, delay_ms=settings.sample_delay_ms, most_rows=settings.insert_rows, now_ms=now_ms
        )

    async def run(self) -> None:
        """Insert what is accepted, until cancelled."""
        await self._writer.run()

    async def accept(self, frame: bytes) -> SampleAnswer:
        """Store what a frame holds, and answer what became of it.

        Raises: RejectedError where the frame is refused as a whole (its receiver counts it), RetryableError and other
            KobsErrors where nothing of it was stored, or only a part.
        """
        prepared = await self._store.run(self._prepare, frame)
        if prepared is None:
            return SampleAnswer(status=SampleStatus.UNKNOWN_SERIES)
        work, rejected = prepared
        await self.insert(work, rejected)
        return SampleAnswer(
            status=SampleStatus.STORED, rejected={reason.value: rejected[reason] for reason in rejected}
        )

    async def insert(self, work: Work, rejected: "Counter[Reason]") -> None:
        """Store work and count what of its request was refused.

        Raises: as `accept`.
        """
        if not work.is_empty():
            await self._writer.insert(work)
        for reason, count in rejected.items():
            telemetry.discarded(_SIGNAL, reason, count)

    async def insert_at_once(self, work: Work) -> None:
        """Store work without waiting for other work, also when `run` has ended.

        Raises: as `accept`.
        """
        await self._writer.insert_at_once(work)

    def kept(self, samples: Samples) -> "tuple[Samples, Counter[Reason]]":
        """Return the samples that can be stored, and how many cannot, each once, by reason."""
        oldest_ms, newest_ms = self.allowed_ms()
        return kept(samples, oldest_ms=oldest_ms, newest_ms=newest_ms)

    def allowed_ms(self) -> tuple[int, int]:
        """Return the first and the last time that a sample may have now."""
        now_ms = self._now_ms()
        return now_ms - self._keep_days * DAY_MS if self._keep_days else 0, now_ms + MOST_AHEAD_MS

    def new_families(self, families: Iterable[JobFamily]) -> list[JobFamily]:
        """Return what is said of metric names that the store was not told today; what is too long is counted."""
        found = []
        for family in families:
            if self._writer.has_family(family):
                continue
            longest = max(len(text.encode()) for text in (family.job, family.name, family.unit, family.help))
            if longest > LONGEST_TEXT_BYTES:
                telemetry.discarded(_SIGNAL, Reason.LABEL_TOO_LONG)
            else:
                found.append(family)
        return found

    def _prepare(self, frame: bytes) -> "tuple[Work, Counter[Reason]] | None":
        """Return what to store of a frame and how many samples are refused by reason; None for unknown series."""
        request, columns = decode(frame)
        if request.count > MOST_SAMPLES:
            message = f"frame of {request.count} samples: the limit is {MOST_SAMPLES}; send smaller requests"
            raise RejectedError(Reason.TOO_MANY_SAMPLES, message)
        series = self.sessions.of(request)
        if series is None:
            return None
        samples, rejected = self.kept(_samples(columns, series.slots))
        losses = [(request.cluster, request.node, loss) for loss in request.losses]
        work = Work(
            table=series.table,
            samples=samples,
            series=series.table.unwritten(samples.slots, samples.times_ms),
            families=self.new_families(request.families),
            losses=losses,
        )
        return work, rejected


def _samples(columns: SampleColumns, slots: Slots) -> Samples:
    numbers = np.frombuffer(columns.numbers, np.dtype("<u4"))
    times = np.frombuffer(columns.times_ms, np.dtype("<i8"))
    values = np.frombuffer(columns.values, np.dtype("<f8"))
    if len(numbers) == 0:
        found = np.empty(0, np.int32)
    elif len(slots) > int(numbers.max()):
        found = slots[numbers]
    else:
        found = np.append(slots, np.int32(UNKNOWN))[np.minimum(numbers, len(slots))]
    return Samples(found, times, values)


def kept(samples: Samples, *, oldest_ms: int, newest_ms: int) -> "tuple[Samples, Counter[Reason]]":
    """Return the samples with a series and a time that is allowed, and how many are refused by reason."""
    rejected: Counter[Reason] = Counter()
    slots, times = samples.slots, samples.times_ms
    if len(slots) == 0:
        return samples, rejected
    if int(slots.min()) < 0:
        for slot, count in zip(*np.unique(slots[slots < 0], return_counts=True), strict=True):
            rejected[fault_of(int(slot))] += int(count)
        samples = samples.where(slots >= 0)
        times = samples.times_ms
    if len(times) and (int(times.min()) < oldest_ms or int(times.max()) > newest_ms):
        impossible = (times < 0) | (times > newest_ms)
        expired = ~impossible & (times < oldest_ms)
        for condition, reason in ((impossible, Reason.TIME_OUT_OF_RANGE), (expired, Reason.EXPIRED_ON_ARRIVAL)):
            if count := int(np.count_nonzero(condition)):
                rejected[reason] += count
        samples = samples.where(~(impossible | expired))
    return samples, rejected
