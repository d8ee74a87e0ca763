"""Accepts what agents ship about metrics: frames arrive, their samples are in the store when it answers.

Bad samples are counted by reason and left out, the rest of their frame is stored. Order does not matter, and a frame
that comes twice counts once, because samples are idempotent in the store.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable

import pyarrow as pa
import pyarrow.compute as pc

from kobs import telemetry
from kobs.config import ServerSettings
from kobs.errors import RejectedError
from kobs.ingest.limits import Reason
from kobs.ingest.sample_sessions import Series, Sessions
from kobs.ingest.sample_writer import SampleWriter, SeriesDay, Work
from kobs.storage.clickhouse import Store
from kobs.storage.metric_writes import DAY_MS, KEEP_DAYS, SAMPLE_ROWS
from kobs.wire.samples import JobFamily, SampleAnswer, SampleColumns, SampleStatus, decode

MOST_SAMPLES = 500_000
"""Samples of one frame."""
EARLIEST_MS = 365 * DAY_MS
"""1971: an earlier time is a clock that was never set."""
MOST_AHEAD_MS = DAY_MS
"""A time further ahead is a wrong clock, not a skewed one."""
LONGEST_TEXT_BYTES = 4096
"""What is said of a metric name, in each of its fields."""

_SIGNAL = "metrics"


class SampleIngest:
    """The ingest of samples of one server instance; `run` must run for `accept` to return."""

    def __init__(
        self,
        store: Store,
        settings: ServerSettings,
        *,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        sessions: Sessions | None = None,
    ) -> None:
        self._store = store
        self._now_ms = now_ms
        self._sessions = sessions if sessions is not None else Sessions()
        self._writer = SampleWriter(
            store, delay_ms=settings.insert_delay_ms, most_rows=settings.insert_rows, now_ms=now_ms
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
        if work.rows.num_rows or work.families:
            await self._writer.insert(work)
        for reason, count in rejected.items():
            telemetry.discarded(_SIGNAL, reason, count)
        return SampleAnswer(status=SampleStatus.STORED, rejected=dict(rejected))

    def _prepare(self, frame: bytes) -> "tuple[Work, Counter[str]] | None":
        """Return what to store of a frame and how many samples are refused by reason; None for unknown series."""
        request, columns = decode(frame)
        if request.count > MOST_SAMPLES:
            message = f"frame of {request.count} samples: the limit is {MOST_SAMPLES}; send smaller requests"
            raise RejectedError(Reason.TOO_MANY_SAMPLES, message)
        series = self._sessions.of(request)
        if series is None:
            return None
        families = self._new_families(request.families)
        rejected: Counter[str] = Counter()
        if request.count == 0:
            return Work(SAMPLE_ROWS.empty_table(), [], families), rejected
        samples = _kept(_table(columns), series, now_ms=self._now_ms(), rejected=rejected)
        numbers, times = samples["number"], samples["time"]
        rows = pa.table(
            [
                series.metrics.take(numbers).dictionary_encode(),
                series.fps.take(numbers),
                times.cast(pa.timestamp("ms", "UTC")),
                samples["value"],
            ],
            schema=SAMPLE_ROWS,
        )
        return Work(rows, self._new_series(numbers, times, series), families), rejected

    def _new_series(self, numbers: pa.ChunkedArray, times: pa.ChunkedArray, series: Series) -> list[SeriesDay]:
        """Return the series that are not written yet for the days of their samples."""
        days = pc.divide(times, DAY_MS)
        found = []
        for day in pc.unique(days).to_pylist():
            of_day = pc.unique(numbers.filter(pc.equal(days, day)))
            for number, fp in zip(of_day.to_pylist(), series.fps.take(of_day).to_pylist(), strict=True):
                if not self._writer.has_series(fp, day):
                    found.append(SeriesDay(series.metrics[number].as_py(), fp, series.labels[number], day))
        return found

    def _new_families(self, families: Iterable[JobFamily]) -> list[JobFamily]:
        found = []
        for family in families:
            longest = max(len(text.encode()) for text in (family.job, family.name, family.unit, family.help))
            if longest > LONGEST_TEXT_BYTES:
                telemetry.discarded(_SIGNAL, Reason.LABEL_TOO_LONG)
            elif not self._writer.has_family(family):
                found.append(family)
        return found


def _table(columns: SampleColumns) -> pa.Table:
    def column(content: memoryview, kind: pa.DataType) -> pa.Array:
        return pa.Array.from_buffers(kind, len(content) * 8 // kind.bit_width, [None, pa.py_buffer(content)])

    return pa.table(
        {
            "time": column(columns.times_ms, pa.int64()),
            "value": column(columns.values, pa.float64()),
            "number": column(columns.numbers, pa.uint32()),
        }
    )


def _kept(samples: pa.Table, series: Series, *, now_ms: int, rejected: "Counter[str]") -> pa.Table:
    """Return the samples that can be stored; the others are counted by reason, each once."""

    def keep(samples: pa.Table, condition: pa.ChunkedArray, reason: Reason) -> pa.Table:
        kept = samples.filter(condition)
        if kept.num_rows < samples.num_rows:
            rejected[reason.value] += samples.num_rows - kept.num_rows
        return kept

    samples = keep(samples, pc.less(samples["number"], len(series.labels)), Reason.UNKNOWN_SERIES)
    for reason in set(series.faults.values()):
        faulty = pa.array([number for number, fault in series.faults.items() if fault is reason], pa.uint32())
        samples = keep(samples, pc.invert(pc.is_in(samples["number"], value_set=faulty)), reason)
    times = samples["time"]
    possible = pc.and_(pc.greater_equal(times, EARLIEST_MS), pc.less_equal(times, now_ms + MOST_AHEAD_MS))
    samples = keep(samples, possible, Reason.TIME_OUT_OF_RANGE)
    # The table's TTL would drop them at some later time, unseen.
    alive = pc.greater_equal(samples["time"], now_ms - KEEP_DAYS * DAY_MS)
    return keep(samples, alive, Reason.EXPIRED_ON_ARRIVAL)
