"""Agents that move between servers which share a store.

The server that an agent left may have been stopped in the middle of a request and go on later. So the one that takes
over raises a fence in the store, stops the agent's inserts that run there, and waits until no request of before can be
in time any more; the other finds the fence right before its insert. What slips through between that look and the
insert is swept: doubled positions are counted again after a while, and one row of each is left.

An agent that lost its state has lost its name too, and does not know whom it left behind. It is taken over as a node:
its attempts go on where those of the node's former agents ended.
"""

import asyncio
import time
from collections.abc import Callable

import pyarrow as pa

from kobs import telemetry
from kobs.errors import KobsError, RetryableError
from kobs.ingest.writer import insert_comment
from kobs.model.logs import Finding
from kobs.model.scope import Scope
from kobs.storage import log_fences
from kobs.storage.clickhouse import Store
from kobs.storage.log_fences import Doubles, Fence
from kobs.storage.log_writes import LEDGER_ROWS, Reach, write_ledger
from kobs.storage.open_claims import find_node_sources
from kobs.wire.ship import PositionsRequest

_SWEEPS = 2
_SWEEP_PAUSE_SECONDS = 5.0
_LATER_SWEEP_SECONDS = 600.0
_LOOK_BACK_MS = 24 * 3_600_000

log = telemetry.get_logger(__name__)
_taken_over = telemetry.counter("kobs_ingest_log_moves_total", "Agents that came from another server.")
_removed = telemetry.counter("kobs_ingest_log_doubles_removed_total", "Doubled rows removed behind a move.")


class Moves:
    """Takes agents over, guards inserts against having been taken over, sweeps behind."""

    def __init__(self, store: Store, *, scope: Scope, server_id: str, timeout_seconds: float) -> None:
        self._store = store
        self._scope = scope
        self._server_id = server_id
        self._timeout_seconds = timeout_seconds

    async def stop_inserts(self, cluster: str, node: str, *, moved_ms: int) -> None:
        """Stop a node's inserts of another server and wait until none can come any more.

        With an embedded store there is nothing to do: its inserts died with the process.
        """
        if self._store.embedded:
            return
        _taken_over.inc()
        prefix = insert_comment(cluster, node)
        await self._store.run(self._store.kill, prefix)
        await asyncio.sleep(max(self._timeout_seconds - moved_ms / 1000, 0.0))
        await self._store.run(self._store.kill, prefix)

    async def raise_fence(self, cluster: str, node: str, attempt: int, reach: Reach) -> None:
        """Record that batches of this reach moved here."""
        if not self._store.embedded:
            name = log_fences.fence_name(cluster, node)
            fence = Fence(name, attempt, self._server_id, reach, 0, time.time_ns() // 1_000_000)
            await self._store.run(log_fences.raise_fence, self._store, fence)

    async def take_node_over(self, request: PositionsRequest) -> int:
        """Fence off whatever was sent from a node before its agent lost its state; return the new agent's attempt."""
        if self._store.embedded:
            return request.attempt
        name = log_fences.fence_name(request.cluster, request.node)
        highest = await self._store.run(log_fences.find_highest_attempt, self._store, self._scope, name)
        known = await self._store.run(
            find_node_sources, self._store, self._scope, cluster=request.cluster, node=request.node
        )
        asked = {stream.source.id(): stream.source.namespace for stream in request.streams}
        sources = {**known, **asked}
        attempt = max(highest, request.attempt) + 1
        reach = Reach(tuple(sorted(sources)), tuple(sorted(set(sources.values()))), 0, log_fences.LATEST_NS)
        await self.raise_fence(request.cluster, request.node, attempt, reach)
        if known:
            await self.stop_inserts(request.cluster, request.node, moved_ms=0)
        return attempt

    def guard(self, cluster: str, node: str, attempt: int) -> Callable[[], None] | None:
        """Return what to call right before an insert: it raises where the node's agent has moved on."""
        if self._store.embedded:
            return None

        def look() -> None:
            name = log_fences.fence_name(cluster, node)
            highest = log_fences.find_highest_attempt(self._store, self._scope, name)
            if highest > attempt:
                raise RetryableError(
                    f"a later attempt of node {node} has come ({highest}, this one is {attempt}): the agent has moved "
                    "to another server, or another agent of this node began with an empty state; of two agents, stop "
                    "one",
                    retry_after_seconds=5.0,
                )

        return look

    async def run(self) -> None:
        """Sweep behind moves, until cancelled."""
        if self._store.embedded:
            return
        while True:
            await asyncio.sleep(_SWEEP_PAUSE_SECONDS)
            try:
                await self._store.run(self._sweep_due)
            except KobsError as error:
                log.warning("Sweeping behind a move failed and is tried again.", error=error)

    def _sweep_due(self) -> None:
        now_ms = time.time_ns() // 1_000_000
        fences = log_fences.find_unswept(
            self._store, self._scope, server=None, since_ms=now_ms - _LOOK_BACK_MS, times=_SWEEPS
        )
        for fence in fences:
            due_seconds = self._timeout_seconds + _SWEEP_PAUSE_SECONDS if fence.swept == 0 else _LATER_SWEEP_SECONDS
            if now_ms - fence.at_ms < due_seconds * 1000:
                continue
            doubles = log_fences.sweep(self._store, self._scope, fence)
            if doubles:
                self._record(doubles, now_ms)
            log_fences.raise_fence(
                self._store,
                Fence(fence.node, fence.attempt, fence.server, fence.reach, fence.swept + 1, fence.at_ms),
            )

    def _record(self, doubles: list[Doubles], now_ms: int) -> None:
        _removed.inc(sum(each.rows for each in doubles))
        log.warning("Doubled rows behind a move were removed.", rows=sum(each.rows for each in doubles))
        rows = [
            {
                "source": each.source,
                "segment": each.segment,
                "start": each.first_offset,
                "reason": Finding.DOUBLES_REMOVED.value,
                "end": each.last_offset,
                "bytes": 0,
                "in_row": 1,
                "rows": each.rows,
                "first_ts": now_ms * 1_000_000,
                "last_ts": now_ms * 1_000_000,
                "detail": "",
                "recorded": now_ms,
            }
            for each in doubles
        ]
        empty = dict.fromkeys(("cluster", "node", "namespace", "pod", "container", "path"), "")
        write_ledger(self._store, pa.Table.from_pylist([{**row, **empty} for row in rows], schema=LEDGER_ROWS))
