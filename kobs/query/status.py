"""How this server and what it holds are: sources, agents, queues, drops, size. Counters start with the process."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import kobs
from kobs import telemetry
from kobs.model.scope import Scope
from kobs.storage import status_reads
from kobs.storage.clickhouse import Store
from kobs.storage.status_reads import AgentRow, SourceSummary

_MOST_ROWS = 1000
_AGENT_DAYS = 7
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Discards:
    """Items that this process dropped for one reason."""

    signal: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Status:
    """The answer, at one time."""

    version: str
    uptime_seconds: float
    store_kind: str
    """`embedded` or `http`."""
    store_bytes: int
    sources: tuple[SourceSummary, ...]
    """By kind, cluster, node and namespace, those with the newest entries first; at most 1000."""
    agents: tuple[AgentRow, ...]
    """Those that reported within a week, at most 1000."""
    queues: dict[str, float]
    """What waits in this process, by the metric's name."""
    discarded: tuple[Discards, ...]


class StatusReader:
    """Reads the status of one server."""

    def __init__(
        self, store: Store, *, now_ns: Callable[[], int] = time.time_ns, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._now_ns = now_ns
        self._monotonic = monotonic
        self._started = monotonic()

    async def read(self, scope: Scope) -> Status:
        """Return how all is now."""
        return await self._store.run(self._read, scope)

    async def check(self, scope: Scope) -> None:
        """Ask the store for something small.

        Raises: RetryableError, LimitError or StorageError where it does not answer.
        """
        await self._store.run(status_reads.answers, self._store, scope)

    def _read(self, scope: Scope) -> Status:
        since_ms = self._now_ns() // 1_000_000 - _AGENT_DAYS * _DAY_MS
        return Status(
            version=kobs.__version__,
            uptime_seconds=round(self._monotonic() - self._started, 3),
            store_kind="embedded" if self._store.embedded else "http",
            store_bytes=self._store.tables_bytes(),
            sources=tuple(status_reads.find_sources(self._store, scope, limit=_MOST_ROWS)),
            agents=tuple(status_reads.find_agents(self._store, scope, since_ms=since_ms, limit=_MOST_ROWS)),
            queues=_queues(),
            discarded=_discards(),
        )


def _queues() -> dict[str, float]:
    return {
        sample.name: sample.value
        for family in telemetry.REGISTRY.collect()
        if family.type == "gauge" and "_queued_" in family.name
        for sample in family.samples
    }


def _discards() -> tuple[Discards, ...]:
    return tuple(
        Discards(sample.labels["signal"], sample.labels["reason"], int(sample.value))
        for family in telemetry.REGISTRY.collect()
        if family.name == "kobs_discarded"
        for sample in family.samples
        if sample.name == "kobs_discarded_total"
    )
