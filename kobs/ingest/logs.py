"""Accepts what agents ship about logs: frames arrive, rows and ledger entries are in the store when it answers.

One request of a node at a time: a retry waits for its predecessor. A batch that may have been stored before
(`kobs.ingest.known`) is looked up by its rows, and only missing rows are inserted.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pyarrow as pa

from kobs import telemetry
from kobs.config import ServerSettings, StorageSettings
from kobs.errors import KobsError, RejectedError, RetryableError
from kobs.ingest import known, ledger_rows, nodes, positions
from kobs.ingest.batches import BatchRows, Placed
from kobs.ingest.label_sets import LabelSets
from kobs.ingest.limits import Reason
from kobs.ingest.moves import Moves
from kobs.ingest.open_claims import find_open_claims
from kobs.ingest.rows import RowBuilder, Rows
from kobs.ingest.writer import LogWriter, insert_comment
from kobs.model.logs import LossReason
from kobs.model.scope import Scope
from kobs.storage import log_writes
from kobs.storage.clickhouse import Store
from kobs.wire import frames
from kobs.wire.ship import (
    GROUPING_VERSION,
    AgentReport,
    BatchAnswer,
    BatchStatus,
    LogAnswer,
    LogRequest,
    OpenClaim,
    PositionsAnswer,
    PositionsRequest,
)

_DAY_NS = 86_400_000_000_000

log = telemetry.get_logger(__name__)
_batches = telemetry.counter("kobs_ingest_log_batches_total", "Batches of logs, by what became of them.", ("outcome",))
_malformed = telemetry.counter("kobs_ingest_log_malformed_lines_total", "Lines that were not in their file's format.")


@dataclass(slots=True)
class _Prepared:
    """A request's rows, ready to be looked up and inserted."""

    rows: Rows
    answers: list[BatchAnswer | None]
    asked: dict[tuple[int, int], int] = field(default_factory=dict)
    """What the ledger says of segments, by (source, segment), that this server had not seen."""


class LogIngest:
    """The ingest of logs of one server instance."""

    def __init__(
        self,
        store: Store,
        server: ServerSettings,
        storage: StorageSettings,
        *,
        scope: Scope,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.server_id = uuid.uuid4().hex
        self._store = store
        self._settings = server
        self._scope = scope
        self._now_ns = now_ns
        self._rows = RowBuilder(storage, max_body_bytes=server.max_line_bytes)
        self._writer = LogWriter(store, delay_ms=server.insert_delay_ms, most_rows=server.insert_rows)
        self._moves = Moves(
            store, scope=scope, server_id=self.server_id, timeout_seconds=server.request_timeout_seconds
        )
        self._nodes = nodes.Nodes()
        self._known = known.Known(store, scope=scope)
        self._label_sets = LabelSets(store)

    async def run(self) -> None:
        """Insert what is accepted, and sweep behind moves, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._writer.run())
            tasks.create_task(self._moves.run())

    async def accept(self, frame: bytes) -> LogAnswer:
        """Store what a frame holds and answer for each of its batches.

        Raises: RejectedError where the frame is refused as a whole, RetryableError where nothing of it was stored for
            a passing reason.
        """
        deadline = time.monotonic() + self._settings.request_timeout_seconds
        request, payload = await self._store.run(
            frames.decode, frame, frames.FrameKind.LOGS, LogRequest, max_raw_bytes=frames.MAX_RAW_BYTES
        )
        _check(request, len(payload))
        node = self._nodes.of(request.cluster, request.node)
        async with node.lock:
            prepared = await self._store.run(self._prepare, request, payload)
            move = (request.agent, request.attempt)
            if request.previous_server not in ("", self.server_id) and node.taken_over != move:
                await self._take_over(request, prepared.rows.batches)
                node.taken_over = move
                deadline = time.monotonic() + self._settings.request_timeout_seconds
            answers = await self._insert(request, prepared, deadline=deadline)
            await nodes.note(self._store, node, request, now_ns=self._now_ns())
        for answer in answers:
            _batches.labels(answer.status).inc()
        return LogAnswer(server=self.server_id, batches=answers)

    async def positions(self, frame: bytes) -> PositionsAnswer:
        """Say what the store has of the sources of an agent that lost its state."""
        request, _ = await self._store.run(frames.decode, frame, frames.FrameKind.POSITIONS, PositionsRequest)
        sources = [stream.source for stream in request.streams]
        node = self._nodes.of(request.cluster, request.node) if request.node else nodes.Node()
        async with node.lock:
            attempt = request.attempt
            if request.lost_state:
                attempt = await self._moves.take_node_over(request)
            elif request.previous_server not in ("", self.server_id) and sources:
                await self._moves.stop_inserts(sources[0].cluster, sources[0].node, moved_ms=request.moved_ms)
            found = await self._store.run(
                positions.find_positions, self._store, self._scope, request.streams, known=self._known
            )
            claims: list[OpenClaim] = []
            if request.open_claims:
                claims = await self._store.run(find_open_claims, self._store, self._scope, request)
        return PositionsAnswer(server=self.server_id, positions=found, attempt=attempt, open_claims=claims)

    def reports(self) -> dict[str, AgentReport]:
        """Return the last report of each node's agent that this server has seen, by the node's name."""
        return self._nodes.reports()

    def _prepare(self, request: LogRequest, payload: memoryview) -> _Prepared:
        answers: list[BatchAnswer | None] = [None] * len(request.batches)
        placed: list[Placed] = []
        at = 0
        for index, batch in enumerate(request.batches):
            if batch.grouping == GROUPING_VERSION:
                placed.append(Placed(index, batch, request.streams[batch.stream], at))
            else:
                log.warning("A batch follows rules that this server does not know yet.", version=batch.grouping)
                answers[index] = BatchAnswer(
                    status=BatchStatus.RETRY, reason="unknown_grouping", retry_after_seconds=10
                )
            at += batch.length
        today = self._now_ns() // _DAY_NS
        rows = self._rows.build(bytes(payload), placed, attempt=request.attempt, today=today)
        for refused, error in rows.refused:
            # The agent puts it on record.
            log.error("A batch was refused.", node=request.node, error=error)
            answers[refused.index] = BatchAnswer(status=BatchStatus.REJECTED, reason=str(error)[:300])
        _malformed.inc(sum(built.malformed for built in rows.batches))
        return _Prepared(rows, answers)

    def _build(self, request: LogRequest, prepared: _Prepared) -> tuple[pa.Table, pa.Table]:
        """Return the rows that are not in the store, and what the ledger is told when they are."""
        rows = prepared.rows
        now_ms = self._now_ns() // 1_000_000
        prepared.asked = self._known.ask_ledger(rows.batches)
        doubtful, present = self._known.look_up(rows.batches)
        missing = rows.without(present, doubtful)
        known.count_present(rows.table.num_rows - missing.num_rows)
        self._label_sets.register(rows.batches)
        losses = ledger_rows.loss_rows(request, rows.batches, recorded_ms=now_ms)
        if losses is not None:
            log_writes.write_ledger(self._store, losses)
        return missing, ledger_rows.segment_rows(request, rows.batches, updated_ms=now_ms)

    async def _insert(self, request: LogRequest, prepared: _Prepared, *, deadline: float) -> list[BatchAnswer]:
        batches = prepared.rows.batches
        try:
            rows, segments = await self._store.run(self._build, request, prepared)
            await self._writer.insert(
                rows,
                segments,
                comment=insert_comment(request.cluster, request.node, request.sequence),
                deadline=deadline,
                may_insert=self._moves.guard(request.cluster, request.node, request.attempt),
            )
        except RejectedError:
            raise
        except KobsError as error:
            wait = error.retry_after_seconds if isinstance(error, RetryableError) else 5.0
            log.warning("Logs could not be stored; their agent sends them again.", agent=request.agent, error=error)
            again = BatchAnswer(status=BatchStatus.RETRY, reason=str(error)[:300], retry_after_seconds=wait)
            if not request.batches:
                raise
            return [answer or again for answer in prepared.answers]
        for reason, count in _count_drops(batches):
            telemetry.discarded("logs", reason, count)
        self._known.remember(prepared.asked, batches)
        return [answer or BatchAnswer(status=BatchStatus.STORED) for answer in prepared.answers]

    async def _take_over(self, request: LogRequest, batches: list[BatchRows]) -> None:
        retried = [rows for rows in batches if rows.batch.retry]
        if retried:
            await self._moves.raise_fence(request.cluster, request.node, request.attempt, known.reach(retried))
        await self._moves.stop_inserts(request.cluster, request.node, moved_ms=request.moved_ms)


def _check(request: LogRequest, payload_size: int) -> None:
    """Refuse a request whose parts contradict each other.

    Raises: RejectedError.
    """
    problem = ""
    if sum(batch.length for batch in request.batches) != payload_size:
        problem = f"the batches' lengths do not add up to the payload of {payload_size} bytes"
    used = [item.stream for item in request.batches]
    used += [item.stream for item in request.losses] + [item.stream for item in request.claims]
    if used and not 0 <= min(used) <= max(used) < len(request.streams):
        problem = f"streams {min(used)} to {max(used)} of {len(request.streams)}"
    for batch in request.batches:
        journal = 0 <= batch.stream < len(request.streams) and request.streams[batch.stream].format == "journal"
        size = batch.end - batch.start + batch.tail_end
        least = min(batch.start, batch.end - batch.start, batch.tail_end, batch.length)
        if least < 0 or (batch.length != size and not journal):
            problem = f"batch {batch.start} to {batch.end} (and {batch.tail_end}) with {batch.length} bytes"
    if problem:
        raise RejectedError(Reason.MALFORMED_FRAME, f"frame contradicts itself: {problem}")


def _count_drops(batches: list[BatchRows]) -> Iterable[tuple[Reason, int]]:
    for rows in batches:
        for drop in rows.drops:
            if drop.reason is LossReason.EXPIRED_ON_ARRIVAL:
                yield Reason.EXPIRED_ON_ARRIVAL, drop.rows
            else:
                yield Reason.LINE_TOO_LONG, 1
