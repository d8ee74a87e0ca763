"""One insert for the samples of many requests.

Samples wait up to `server.sample_delay_ms` for others; when `insert` returns, they are in the store and so are their
series, what was said of their names and what their sender lost. Series go first: a sample whose series is missing
cannot be found. A series is written once for each day on which it has samples, as far as this process remembers. What
fails, fails for every request of that insert; it may be there in part, and is sent again.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kobs import telemetry
from kobs.errors import KobsError, RetryableError
from kobs.ingest.series_table import DAY_MS, SeriesTable, SlotDay, Slots
from kobs.model.labels import METRIC_NAME
from kobs.storage import metric_writes
from kobs.storage.clickhouse import Store
from kobs.storage.metric_writes import LOSS_ROWS, METADATA_ROWS, SAMPLE_ROWS, SERIES_ROWS
from kobs.wire.samples import JobFamily, SampleLoss

MOST_WAITING = 5_000_000
"""Samples that wait for their insert, some 100 MB; beyond it their senders are told to come again."""

_MOST_PARTITIONS = 40
"""Days of one insert: the engine refuses more than 50."""

_rows = telemetry.counter("kobs_ingest_samples_total", "Samples inserted.")
_inserts = telemetry.counter("kobs_ingest_sample_inserts_total", "Inserts of samples.")
_series = telemetry.counter("kobs_ingest_series_total", "Series written, each once for a day.")
_seconds = telemetry.histogram("kobs_ingest_sample_insert_seconds", "Time of an insert of samples with their series.")
_queued = telemetry.gauge("kobs_ingest_queued_samples", "Samples that wait for their insert.")


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples in columns of one length: slots of the series table, times in ms UTC, values."""

    slots: Slots
    times_ms: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.slots)

    def where(self, condition: npt.NDArray[np.bool_]) -> "Samples":
        """Return those for which the condition holds."""
        return Samples(self.slots[condition], self.times_ms[condition], self.values[condition])


NO_SAMPLES = Samples(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float64))


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What of one request goes into the store: samples, their series by day, what is said of names, losses."""

    table: SeriesTable
    """Whose slots these are."""
    samples: Samples = NO_SAMPLES
    series: list[SlotDay] = field(default_factory=list)
    families: list[JobFamily] = field(default_factory=list)
    losses: list[tuple[str, str, SampleLoss]] = field(default_factory=list)
    """Cluster and node of whoever lost samples, and the loss."""

    def is_empty(self) -> bool:
        """Tell whether there is nothing to store."""
        return not (len(self.samples) or self.families or self.losses)


class SampleWriter:
    """Collects samples and inserts them, one insert at a time."""

    def __init__(self, store: Store, *, delay_ms: int, most_rows: int, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._delay_seconds = delay_ms / 1000
        self._most_rows = most_rows
        self._now_ms = now_ms
        self._families: dict[tuple[str, str], tuple[JobFamily, int]] = {}
        self._waiting: list[tuple[Work, asyncio.Future[None]]] = []
        self._waiting_rows = 0
        self._some = asyncio.Event()
        self._full = asyncio.Event()

    def has_family(self, family: JobFamily) -> bool:
        """Tell whether today the store was told this of a name."""
        return self._families.get((family.job, family.name)) == (family, self._now_ms() // DAY_MS)

    async def insert(self, work: Work) -> None:
        """Insert what a request holds; when it returns, all is in the store.

        Raises: RetryableError and other KobsErrors where the insert did not happen, or may have happened in part.
        """
        if self._waiting_rows and self._waiting_rows + len(work.samples) > MOST_WAITING:
            raise RetryableError(f"{self._waiting_rows} samples wait for their insert", retry_after_seconds=2.0)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, done))
        self._waiting_rows += len(work.samples)
        _queued.set(self._waiting_rows)
        self._some.set()
        if self._waiting_rows >= self._most_rows:
            self._full.set()
        await done

    async def insert_at_once(self, work: Work) -> None:
        """Insert work on its own, also when `run` has ended.

        Raises: as `insert`.
        """
        await self._store.run(self._write, [work])

    async def run(self) -> None:
        """Insert what comes, until cancelled."""
        try:
            while True:
                await self._some.wait()
                await self._wait_for_more()
                taken, self._waiting, self._waiting_rows = self._waiting, [], 0
                self._some.clear()
                self._full.clear()
                _queued.set(0)
                await self._insert(taken)
        finally:
            _settle(self._waiting, RetryableError("the server stops"))

    async def _wait_for_more(self) -> None:
        try:
            async with asyncio.timeout(self._delay_seconds):
                await self._full.wait()
        except TimeoutError:
            return

    async def _insert(self, taken: "list[tuple[Work, asyncio.Future[None]]]") -> None:
        try:
            with _seconds.time():
                await self._store.run(self._write, [work for work, _ in taken])
        except BaseException as error:
            _settle(taken, error if isinstance(error, KobsError) else RetryableError("the insert was broken off"))
            if not isinstance(error, KobsError):
                raise
            return
        _settle(taken, None)

    def _write(self, works: list[Work]) -> None:
        """Write in the store's thread."""
        # A table that grew too large is replaced, so that there are seldom two.
        for table in {id(work.table): work.table for work in works}.values():
            of_table = [work for work in works if work.table is table]
            series = list({each for work in of_table for each in work.series})
            if series:
                metric_writes.write_series(self._store, _series_rows(table, series))
                table.written(series)
                _series.inc(len(series))
            for samples in _within_partitions([work.samples for work in of_table if len(work.samples)]):
                metric_writes.write_samples(self._store, _sample_rows(table, samples))
                _inserts.inc()
                _rows.inc(len(samples))
        now_ms = self._now_ms()
        families = {(each.job, each.name): each for work in works for each in work.families}
        if families:
            metric_writes.write_metadata(self._store, _family_rows(families.values(), now_ms // 1000))
            self._families |= {key: (family, now_ms // DAY_MS) for key, family in families.items()}
        losses = [loss for work in works for loss in work.losses]
        if losses:
            metric_writes.write_losses(self._store, _loss_rows(losses, now_ms))


def _within_partitions(parts: list[Samples]) -> Iterable[Samples]:
    """Yield all samples together, or by days where these are more than an insert may have."""
    if not parts:
        return
    samples = Samples(
        np.concatenate([part.slots for part in parts]),
        np.concatenate([part.times_ms for part in parts]),
        np.concatenate([part.values for part in parts]),
    )
    first, last = int(samples.times_ms.min()) // DAY_MS, int(samples.times_ms.max()) // DAY_MS
    if last - first < _MOST_PARTITIONS:
        yield samples
        return
    found = samples.times_ms // DAY_MS
    days = np.unique(found)
    for at in range(0, len(days), _MOST_PARTITIONS):
        some = days[at : at + _MOST_PARTITIONS]
        yield samples.where((found >= some[0]) & (found <= some[-1]))


def _sample_rows(table: SeriesTable, samples: Samples) -> pa.Table:
    return pa.table(
        [
            table.metrics(samples.slots),
            pa.array(table.fps(samples.slots)),
            pa.array(samples.times_ms).cast(pa.timestamp("ms", "UTC")),
            pa.array(samples.values, from_pandas=False),
        ],
        schema=SAMPLE_ROWS,
    )


def _series_rows(table: SeriesTable, series: Iterable[SlotDay]) -> pa.Table:
    metrics, labels, days, slots = [], [], [], []
    for slot, day in series:
        parts = table.series(slot).decode("utf-8", "surrogateescape").split("\udcff")
        pairs = list(zip(parts[:-1:2], parts[1::2], strict=True))
        metrics.append(next(value for name, value in pairs if name == METRIC_NAME))
        labels.append([pair for pair in pairs if pair[0] != METRIC_NAME])
        days.append(day)
        slots.append(slot)
    found = np.array(days, np.int64)
    return pa.table(
        [
            pa.array(metrics, pa.string()).dictionary_encode(),
            pa.array(table.fps(np.array(slots, np.int32))),
            pa.array(labels, pa.map_(pa.string(), pa.string())),
            pa.array(found.astype(np.int32)).cast(pa.date32()),
            pa.array(found * DAY_MS).cast(pa.timestamp("ms", "UTC")),
            pa.array(found * DAY_MS + (DAY_MS - 1)).cast(pa.timestamp("ms", "UTC")),
        ],
        schema=SERIES_ROWS,
    )


def _family_rows(families: Iterable[JobFamily], now_seconds: int) -> pa.Table:
    rows = [
        {
            "metric": each.name,
            "job": each.job,
            "type": each.type.value,
            "unit": each.unit,
            "help": each.help,
            "updated": now_seconds,
        }
        for each in families
    ]
    return pa.Table.from_pylist(rows, schema=METADATA_ROWS)


def _loss_rows(losses: Iterable[tuple[str, str, SampleLoss]], now_ms: int) -> pa.Table:
    rows = [
        {
            "id": loss.id,
            "cluster": cluster,
            "node": node,
            "reason": loss.reason.value,
            "first_ts": loss.first_ms,
            "last_ts": loss.last_ms,
            "samples": loss.samples,
            "detail": loss.detail[:1000],
            "recorded": now_ms,
        }
        for cluster, node, loss in losses
    ]
    return pa.Table.from_pylist(rows, schema=LOSS_ROWS)


def _settle(taken: "list[tuple[Work, asyncio.Future[None]]]", error: KobsError | None) -> None:
    for _, done in taken:
        if done.done():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
