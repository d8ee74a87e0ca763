"""Puts a server's own metrics into its store, by the way that every sample takes.

Every `server.own_metrics_seconds` all that `/metrics` shows is stored as of that round moment, as a target of the job
`kobs`: with the labels `instance` (the node's name) and `role`, and `up`. When the server stops, each series gets a
stale marker. A moment at which the store does not take them is left out.
"""

import asyncio
import struct
import time
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np

from kobs import telemetry
from kobs.errors import KobsError
from kobs.ingest.sample_writer import Samples, Work
from kobs.ingest.samples import SampleIngest
from kobs.model.labels import METRIC_NAME, canonical
from kobs.model.samples import STALE_NAN_BITS
from kobs.telemetry import OwnFamily
from kobs.wire.samples import JobFamily

JOB = "kobs"

_STALE: float = struct.unpack("<d", struct.pack("<Q", STALE_NAN_BITS))[0]

log = telemetry.get_logger(__name__)


class OwnMetrics:
    """The metrics of this process as a target."""

    def __init__(
        self,
        ingest: SampleIngest,
        *,
        interval_seconds: float,
        labels: Mapping[str, str],
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._ingest = ingest
        self._interval_ms = max(round(interval_seconds * 1000), 1)
        self._labels = {"job": JOB} | dict(labels)
        self._now_ms = now_ms
        self._shown: dict[bytes, None] = {}

    async def run(self) -> None:
        """Store them again and again, until cancelled; then mark them as stale."""
        try:
            while True:
                due_ms = (self._now_ms() // self._interval_ms + 1) * self._interval_ms
                await asyncio.sleep((due_ms - self._now_ms()) / 1000)
                try:
                    await self._ingest.insert(self.work(due_ms), Counter())
                except KobsError as error:
                    log.warning("The server's own metrics could not be stored.", error=error)
        finally:
            if self._shown:
                await self._end()

    def work(self, time_ms: int) -> Work:
        """Return what all metrics show now, as of a time; series that are gone get a stale marker."""
        families = telemetry.read()
        values = {
            canonical({METRIC_NAME: name, **labels, **self._labels}): value
            for family in families
            for name, labels, value in family.samples
        }
        values[canonical({METRIC_NAME: "up", **self._labels})] = 1.0
        gone = [key for key in self._shown if key not in values]
        self._shown = dict.fromkeys(values)
        return self._work(values | dict.fromkeys(gone, _STALE), time_ms, [_said(family) for family in families])

    def _work(self, values: dict[bytes, float], time_ms: int, families: list[JobFamily]) -> Work:
        table = self._ingest.sessions.table()
        slots = np.array([table.register(key) for key in values], np.int32)
        columns = Samples(slots, np.full(len(slots), time_ms, np.int64), np.array(list(values.values()), np.float64))
        # A label set that is not allowed would be a defect of kobs, not of its data.
        samples = columns.where(slots >= 0)
        series = table.unwritten(samples.slots, samples.times_ms)
        return Work(table=table, samples=samples, series=series, families=self._ingest.new_families(families))

    async def _end(self) -> None:
        try:
            await self._ingest.insert_at_once(self._work(dict.fromkeys(self._shown, _STALE), self._now_ms(), []))
        except KobsError as error:
            log.warning("The server's own metrics could not be marked as stale.", error=error)


def _said(family: OwnFamily) -> JobFamily:
    return JobFamily(job=JOB, name=family.name, type=family.type, unit="", help=family.help)
