"""Accepts what agents report of their targets: a frame arrives, its rows are in the store when it answers."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from kobs.model.labels import fingerprint
from kobs.storage import target_writes
from kobs.storage.clickhouse import Store
from kobs.storage.target_writes import REPORT_ROWS, TARGET_ROWS
from kobs.wire.targets import TargetAnswer, TargetReport, decode


class TargetIngest:
    """The ingest of targets of one server instance."""

    def __init__(self, store: Store, *, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._store = store
        self._now_ms = now_ms

    async def accept(self, frame: bytes) -> TargetAnswer:
        """Store a report.

        Raises: RejectedError where the frame is refused (its receiver counts it), RetryableError and other KobsErrors
        where the report may be sent again.
        """
        report = decode(frame)
        seen_ms = self._now_ms()
        targets = pa.Table.from_pylist(list(_rows(report, seen_ms)), schema=TARGET_ROWS)
        row = {
            "cluster": report.cluster,
            "node": report.node,
            "dropped_counts": list(report.dropped_counts.items()),
            "seen": seen_ms,
        }
        whole = pa.Table.from_pylist([row], schema=REPORT_ROWS)
        await self._store.run(target_writes.write_report, self._store, targets, whole)
        return TargetAnswer(stored=targets.num_rows)


def _rows(report: TargetReport, seen_ms: int) -> Iterator[Mapping[str, Any]]:
    of_report = {"cluster": report.cluster, "node": report.node, "seen": seen_ms}
    for target in report.active:
        yield {
            **of_report,
            "state": "active",
            "pool": target.pool,
            "url": target.url,
            "identity": fingerprint(target.labels),
            "global_url": target.global_url,
            "discovered": list(target.discovered.items()),
            "labels": list(target.labels.items()),
            "health": target.health,
            "error": target.error,
            "started_ns": target.started_ns,
            "seconds": target.seconds,
            "scrape_interval": target.interval,
            "scrape_timeout": target.timeout,
        }
    for dropped in report.dropped:
        yield {
            **of_report,
            "state": "dropped",
            "pool": dropped.pool,
            "url": "",
            "identity": fingerprint(dropped.discovered),
            "global_url": "",
            "discovered": list(dropped.discovered.items()),
            "labels": [],
            "health": "",
            "error": "",
            "started_ns": 0,
            "seconds": 0.0,
            "scrape_interval": "",
            "scrape_timeout": "",
        }
