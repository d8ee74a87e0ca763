"""What is scraped, as agents report it: active targets with their last scrape, dropped ones, and counts of these."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kobs.errors import LimitError
from kobs.model.scope import Scope
from kobs.storage import target_reads
from kobs.storage.clickhouse import Store
from kobs.wire.targets import SILENT_MS

MOST_TARGETS = 100_000


@dataclass(frozen=True, slots=True)
class ActiveTarget:
    """A target that is scraped. `started_ns` is 0 before its first scrape."""

    pool: str
    url: str
    global_url: str
    discovered: Mapping[str, str]
    labels: Mapping[str, str]
    health: str
    error: str
    started_ns: int
    seconds: float
    interval: str
    timeout: str


@dataclass(frozen=True, slots=True)
class DroppedTarget:
    """A target that its job's rules drop."""

    pool: str
    discovered: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Targets:
    """The view, by pool and URL."""

    active: tuple[ActiveTarget, ...]
    dropped: tuple[DroppedTarget, ...]
    dropped_counts: Mapping[str, int]


class TargetView:
    """Reads the view of targets."""

    def __init__(self, store: Store, *, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._store = store
        self._now_ms = now_ms

    async def read(self, scope: Scope) -> Targets:
        """Return what is scraped now, as far as a reader may see it.

        Raises: LimitError with very many targets; RetryableError or StorageError where the store does not answer.
        """
        return await self._store.run(self._read, scope)

    def _read(self, scope: Scope) -> Targets:
        since_ms = self._now_ms() - SILENT_MS
        rows = target_reads.find_targets(self._store, scope, since_ms=since_ms, limit=MOST_TARGETS + 1).to_pylist()
        if len(rows) > MOST_TARGETS:
            raise LimitError(f"more than {MOST_TARGETS} targets, which is as many as one answer can hold")
        active = tuple(
            ActiveTarget(
                row["pool"],
                row["url"],
                row["global_url"],
                dict(row["discovered"]),
                dict(row["labels"]),
                row["health"],
                row["error"],
                row["started_ns"],
                row["seconds"],
                row["scrape_interval"],
                row["scrape_timeout"],
            )
            for row in rows
            if row["state"] == "active"
        )
        dropped = tuple(
            DroppedTarget(row["pool"], dict(row["discovered"])) for row in rows if row["state"] == "dropped"
        )
        return Targets(active, dropped, target_reads.find_dropped_counts(self._store, scope, since_ms=since_ms))
