"""One insert for the samples of many frames.

Samples wait up to `server.insert_delay_ms` for others; when `insert` returns, they are in the store and so are their
series and what was said of their names. Series go first: a sample whose series is missing cannot be found. A series is
written once for each day on which it has samples, as far as this process remembers. What fails, fails for every frame
of that insert; it may be there in part, and is sent again.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from kobs import telemetry
from kobs.errors import KobsError, RetryableError
from kobs.storage import metric_writes
from kobs.storage.clickhouse import Store
from kobs.storage.metric_writes import DAY_MS, METADATA_ROWS, SERIES_ROWS
from kobs.wire.samples import JobFamily

_rows = telemetry.counter("kobs_ingest_samples_total", "Samples inserted.")
_inserts = telemetry.counter("kobs_ingest_sample_inserts_total", "Inserts of samples.")
_seconds = telemetry.histogram("kobs_ingest_sample_insert_seconds", "Time of an insert of samples with their series.")
_queued = telemetry.gauge("kobs_ingest_queued_samples", "Samples that wait for their insert.")


class SeriesDay(NamedTuple):
    """A series that has samples on a day (days since 1970 UTC); `labels` are without `__name__`."""

    metric: str
    fp: int
    labels: dict[str, str]
    day: int


@dataclass(frozen=True, slots=True)
class Work:
    """What of one frame goes into the store: SAMPLE_ROWS, their series, what is said of names."""

    rows: pa.Table
    series: list[SeriesDay]
    families: list[JobFamily]


class SampleWriter:
    """Collects samples and inserts them, one insert at a time."""

    def __init__(self, store: Store, *, delay_ms: int, most_rows: int, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._delay_seconds = delay_ms / 1000
        self._most_rows = most_rows
        self._now_ms = now_ms
        self._series: dict[int, set[int]] = {}
        self._families: dict[tuple[str, str], tuple[JobFamily, int]] = {}
        self._waiting: list[tuple[Work, asyncio.Future[None]]] = []
        self._waiting_rows = 0
        self._some = asyncio.Event()
        self._full = asyncio.Event()

    def has_series(self, fp: int, day: int) -> bool:
        """Tell whether a series is written for a day."""
        return fp in self._series.get(day, ())

    def has_family(self, family: JobFamily) -> bool:
        """Tell whether today the store was told this of a name."""
        return self._families.get((family.job, family.name)) == (family, self._now_ms() // DAY_MS)

    async def insert(self, work: Work) -> None:
        """Insert what a frame holds; when it returns, all is in the store.

        Raises: RetryableError and other KobsErrors where the insert did not happen, or may have happened in part.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, done))
        self._waiting_rows += work.rows.num_rows
        _queued.set(self._waiting_rows)
        self._some.set()
        if self._waiting_rows >= self._most_rows:
            self._full.set()
        await done

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
        today = self._now_ms() // DAY_MS
        series = {(each.fp, each.day): each for work in works for each in work.series}
        if series:
            metric_writes.write_series(self._store, _series_rows(series.values()))
        families = {(each.job, each.name): each for work in works for each in work.families}
        if families:
            metric_writes.write_metadata(self._store, _family_rows(families.values(), self._now_ms() // 1000))
        rows = pa.concat_tables([work.rows for work in works])
        if rows.num_rows:
            metric_writes.write_samples(self._store, rows)
            _inserts.inc()
            _rows.inc(rows.num_rows)
        for fp, day in series:
            self._series.setdefault(day, set()).add(fp)
        for day in [day for day in self._series if day < today - metric_writes.KEEP_DAYS]:
            del self._series[day]
        self._families |= {key: (family, today) for key, family in families.items()}


def _series_rows(series: Iterable[SeriesDay]) -> pa.Table:
    rows = [
        {
            "metric": each.metric,
            "fp": each.fp,
            "labels": list(each.labels.items()),
            "day": each.day,
            "min_ts": each.day * DAY_MS,
            "max_ts": (each.day + 1) * DAY_MS - 1,
        }
        for each in series
    ]
    return pa.Table.from_pylist(rows, schema=SERIES_ROWS)


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


def _settle(taken: "list[tuple[Work, asyncio.Future[None]]]", error: KobsError | None) -> None:
    for _, done in taken:
        if done.done():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
