"""Accepts what agents ship about logs: frames arrive, rows and ledger entries are in the store when it answers.

One request of an agent at a time: a retry waits for its predecessor. A batch that may have been stored before is
looked up by its rows, and only missing rows are inserted. That is the case for a batch marked as retry, for the first
batch of a segment that this server sees, and for all batches below what is known to be delivered: a request that was
given up may come late, after others of its source.
"""

import asyncio
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pyarrow as pa

from kobs import telemetry
from kobs.config import ServerSettings, StorageSettings
from kobs.errors import KobsError, RejectedError, RetryableError
from kobs.ingest.limits import Reason
from kobs.ingest.moves import Moves
from kobs.ingest.rows import BatchRows, Columns, Drop, RowBuilder, leave_out
from kobs.ingest.writer import LogWriter, insert_comment
from kobs.model.logs import LossReason
from kobs.model.scope import Scope
from kobs.storage import log_writes
from kobs.storage.clickhouse import Store
from kobs.storage.log_writes import Reach
from kobs.wire import frames
from kobs.wire.ship import (
    GROUPING_VERSION,
    AgentReport,
    Batch,
    BatchAnswer,
    BatchStatus,
    LogAnswer,
    LogRequest,
    Loss,
    PositionsAnswer,
    PositionsRequest,
    SegmentPosition,
    Stream,
)

_DAY_NS = 86_400_000_000_000
_MOST_SOURCES = 200_000
_MOST_SEGMENTS = 4
_AGENT_NOTE_SECONDS = 10.0

log = telemetry.get_logger(__name__)
_batches = telemetry.counter("kobs_ingest_log_batches_total", "Batches of logs, by what became of them.", ("outcome",))
_looked_up = telemetry.counter("kobs_ingest_log_lookups_total", "Batches that were looked up by their rows.")
_present = telemetry.counter("kobs_ingest_log_present_rows_total", "Rows of batches that were in the store already.")
_malformed = telemetry.counter("kobs_ingest_log_malformed_lines_total", "Lines that were not in their file's format.")


@dataclass(slots=True)
class _Node:
    """What this server knows of a node's agent."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    report: AgentReport | None = None
    noted_at: float = 0.0
    taken_over: tuple[str, int] = ("", -1)
    """The agent and attempt that were taken over from another server."""


@dataclass(slots=True)
class _Known:
    """Up to where this server knows the latest segments of a source: batches below may be there already."""

    stored_to: dict[int, int] = field(default_factory=dict)

    def learn(self, segment: int, reached: int) -> None:
        """Take note of a segment, and forget those that were noted longest ago."""
        self.stored_to[segment] = max(self.stored_to.pop(segment, 0), reached)
        while len(self.stored_to) > _MOST_SEGMENTS:
            del self.stored_to[next(iter(self.stored_to))]


@dataclass(slots=True)
class _Prepared:
    """A request's rows, ready to be looked up and inserted."""

    columns: Columns
    batches: list[tuple[int, Batch, Stream, BatchRows]]
    answers: list[BatchAnswer | None]
    losses: list[dict[str, object]]
    known: dict[tuple[int, int], int] = field(default_factory=dict)
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
        self._nodes: OrderedDict[tuple[str, str], _Node] = OrderedDict()
        self._known: OrderedDict[int, _Known] = OrderedDict()
        self._registered: OrderedDict[tuple[int, int], None] = OrderedDict()

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
        node = self._node(request.cluster, request.node)
        async with node.lock:
            prepared = await self._store.run(self._prepare, request, payload)
            if request.previous_server not in ("", self.server_id) and node.taken_over != (
                request.agent,
                request.attempt,
            ):
                await self._take_over(request, prepared)
                node.taken_over = (request.agent, request.attempt)
                deadline = time.monotonic() + self._settings.request_timeout_seconds
            answers = await self._insert(request, prepared, deadline=deadline)
            node.report = request.report
            await self._note(node, request)
        for answer in answers:
            _batches.labels(answer.status).inc()
        return LogAnswer(server=self.server_id, batches=answers)

    async def positions(self, frame: bytes) -> PositionsAnswer:
        """Say what the store has of the sources of an agent that lost its state."""
        request, _ = await self._store.run(frames.decode, frame, frames.FrameKind.POSITIONS, PositionsRequest)
        sources = [stream.source for stream in request.streams]
        node = self._node(sources[0].cluster, sources[0].node) if sources else _Node()
        async with node.lock:
            if request.previous_server not in ("", self.server_id) and sources:
                await self._moves.stop_inserts(sources[0].cluster, sources[0].node, moved_ms=request.moved_ms)
            positions = await self._store.run(self._positions, request.streams)
        return PositionsAnswer(server=self.server_id, positions=positions)

    def _node(self, cluster: str, name: str) -> "_Node":
        """Return what is known of a node. Its requests are taken one at a time, also those of an agent that lost its
        state and so its name: the request that it sent before may still be under way.
        """
        key = (cluster, name)
        node = self._nodes.setdefault(key, _Node())
        self._nodes.move_to_end(key)
        while len(self._nodes) > 10_000:
            oldest = next(iter(self._nodes))
            if self._nodes[oldest].lock.locked():
                break
            del self._nodes[oldest]
        return node

    def reports(self) -> dict[str, AgentReport]:
        """Return the last report of each node's agent that this server has seen, by the node's name."""
        return {name: node.report for (_, name), node in self._nodes.items() if node.report is not None}

    # Positions

    def _positions(self, streams: list[Stream]) -> list[SegmentPosition]:
        index_of = {stream.source.id(): index for index, stream in enumerate(streams)}
        segments = log_writes.find_segments(self._store, self._scope, list(index_of))
        reached = {(each.source, each.segment): (each.delivered, each.head) for each in segments}
        self._remove_orphans(list(index_of), reached)
        return [
            SegmentPosition(stream=index_of[source], segment=segment, delivered=delivered, head=head)
            for (source, segment), (delivered, head) in sorted(reached.items())
        ]

    def _remove_orphans(self, sources: list[int], reached: dict[tuple[int, int], tuple[int, int]]) -> None:
        """Remove rows beyond the ledger: what an insert left whose server ended before it wrote the ledger.

        They may be a part of a batch only, and whoever asks for positions will cut that batch elsewhere. So they go,
        and are sent again.
        """
        for source, segment, highest in log_writes.find_highest_offsets(self._store, self._scope, sources):
            delivered = reached.get((source, segment), (0, 0))[0]
            if highest >= delivered:
                log.warning("Rows without their entry in the ledger are removed, to be sent again.", source=source)
                log_writes.delete_beyond(self._store, source, segment, delivered)
            self._known.pop(source, None)

    # Rows

    def _prepare(self, request: LogRequest, payload: memoryview) -> _Prepared:
        today = self._now_ns() // _DAY_NS
        columns = Columns()
        answers: list[BatchAnswer | None] = []
        batches: list[tuple[int, Batch, Stream, BatchRows]] = []
        losses: list[dict[str, object]] = []
        at = 0
        for index, batch in enumerate(request.batches):
            data = bytes(payload[at : at + batch.length])
            at += batch.length
            stream = request.streams[batch.stream]
            if batch.grouping != GROUPING_VERSION:
                log.warning("A batch follows rules that this server does not know yet.", version=batch.grouping)
                answers.append(BatchAnswer(status=BatchStatus.RETRY, reason="unknown_grouping", retry_after_seconds=10))
                continue
            try:
                rows = self._rows.add(columns, stream, batch, data, attempt=request.attempt, today=today)
            except RejectedError as error:
                # Raised before a row of it was added; the agent puts it on record.
                log.error("A batch was refused.", node=request.node, error=error)
                answers.append(BatchAnswer(status=BatchStatus.REJECTED, reason=str(error)[:300]))
                continue
            _malformed.inc(rows.malformed)
            batches.append((index, batch, stream, rows))
            losses += [self._drop_row(stream, drop) for drop in rows.drops]
            answers.append(None)
        losses += [self._loss_row(request.streams[loss.stream], loss) for loss in request.losses]
        return _Prepared(columns, batches, answers, losses)

    def _look_up(self, prepared: _Prepared) -> Columns:
        """Return the columns without rows that are in the store."""
        doubtful = [entry for entry in prepared.batches if self._is_doubtful(entry[1], entry[2])]
        doubtful = [entry for entry in doubtful if entry[3].end > entry[3].first]
        if not doubtful:
            return prepared.columns
        _looked_up.inc(len(doubtful))
        present = log_writes.find_positions(self._store, self._scope, _reach(doubtful))
        if not present:
            return prepared.columns
        columns = prepared.columns
        keep = [True] * len(columns.times_ns)
        for _, _, _, rows in doubtful:
            for row in range(rows.first, rows.end):
                keep[row] = (columns.sources[row], columns.segments[row], columns.offsets[row]) not in present
        _present.inc(len(keep) - sum(keep))
        return leave_out(columns, keep)

    def _is_doubtful(self, batch: Batch, stream: Stream) -> bool:
        reached = self._reached(stream.source.id(), batch.segment)
        return batch.retry or reached is None or batch.start < reached

    def _reached(self, source: int, segment: int) -> int | None:
        """Return up to where this server knows a segment; None if it does not."""
        known = self._known.get(source)
        return None if known is None else known.stored_to.get(segment)

    def _learn(self, prepared: _Prepared) -> None:
        """Ask the ledger about segments that this server sees for the first time."""
        new = {
            (source, segment)
            for _, batch, stream, _ in prepared.batches
            for source, segment, end in _ends(stream, batch)
            if end and self._reached(source, segment) is None
        }
        if not new:
            return
        reached = {
            (each.source, each.segment): each.delivered
            for each in log_writes.find_segments(self._store, self._scope, sorted({source for source, _ in new}))
        }
        prepared.known = {key: reached.get(key, 0) for key in new}

    def _build(self, request: LogRequest, prepared: _Prepared) -> tuple[pa.Table, pa.Table]:
        self._learn(prepared)
        columns = self._look_up(prepared)
        self._register(prepared)
        if prepared.losses:
            log_writes.write_ledger(self._store, pa.Table.from_pylist(prepared.losses, schema=log_writes.LEDGER_ROWS))
        return columns.table(), self._segment_rows(request, prepared)

    async def _insert(self, request: LogRequest, prepared: _Prepared, *, deadline: float) -> list[BatchAnswer]:
        try:
            rows, segments = await self._store.run(self._build, request, prepared)
            await self._writer.insert(
                rows,
                segments,
                comment=insert_comment(request.cluster, request.node, request.sequence),
                deadline=deadline,
                may_insert=self._moves.guard(request.agent, request.attempt),
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
        for reason, count in _count_drops(prepared.batches):
            telemetry.discarded("logs", reason, count)
        self._remember(prepared)
        return [answer or BatchAnswer(status=BatchStatus.STORED) for answer in prepared.answers]

    def _remember(self, prepared: _Prepared) -> None:
        for (source, segment), reached in prepared.known.items():
            self._known.setdefault(source, _Known()).learn(segment, reached)
        for _, batch, stream, _ in prepared.batches:
            for source, segment, end in _ends(stream, batch):
                if end:
                    self._known.setdefault(source, _Known()).learn(segment, end)
                    self._known.move_to_end(source)
        while len(self._known) > _MOST_SOURCES:
            self._known.popitem(last=False)

    # The ledger

    def _segment_rows(self, request: LogRequest, prepared: _Prepared) -> pa.Table:
        updated = self._now_ns() // 1_000_000
        rows: list[dict[str, object]] = []
        for _, batch, stream, built in prepared.batches:
            shared = {"first_ts": built.first_ns, "last_ts": built.last_ns, "updated": updated, "closed": 0}
            own = {"segment": batch.segment, "head": batch.head, "claimed": batch.end, "delivered": batch.end}
            rows.append({**_source_columns(stream), **shared, **own})
            if batch.tail_end:
                own = {"segment": batch.tail_segment, "head": 0, "claimed": batch.tail_end, "delivered": batch.tail_end}
                rows.append({**_source_columns(stream), **shared, **own})
        far_future = 2**63 - 1 - _DAY_NS
        shared = {"first_ts": far_future, "last_ts": 0, "updated": updated}
        for claim in request.claims:
            own = {"segment": claim.segment, "head": claim.head, "claimed": claim.size, "delivered": 0}
            place = _source_columns(request.streams[claim.stream])
            rows.append({**place, **shared, **own, "closed": int(claim.closed)})
        for loss in request.losses:
            own = {"segment": loss.segment, "head": 0, "claimed": loss.end, "delivered": loss.end, "closed": 0}
            rows.append({**_source_columns(request.streams[loss.stream]), **shared, **own})
        return pa.Table.from_pylist(rows, schema=log_writes.SEGMENT_ROWS)

    def _drop_row(self, stream: Stream, drop: Drop) -> dict[str, object]:
        return {
            **_place(stream),
            "segment": drop.segment,
            "start": drop.start,
            "reason": drop.reason.value,
            "end": drop.end,
            "bytes": drop.bytes,
            "in_row": int(drop.in_row),
            "rows": drop.rows,
            "first_ts": drop.first_ns,
            "last_ts": drop.last_ns,
            "detail": "",
            "recorded": self._now_ns() // 1_000_000,
        }

    def _loss_row(self, stream: Stream, loss: Loss) -> dict[str, object]:
        return {
            **_place(stream),
            "segment": loss.segment,
            "start": loss.start,
            "reason": loss.reason.value,
            "end": loss.end,
            "bytes": loss.end - loss.start if loss.end else None,
            "in_row": 0,
            "rows": 0,
            "first_ts": loss.first_ns,
            "last_ts": loss.last_ns,
            "detail": loss.detail[:1000],
            "recorded": self._now_ns() // 1_000_000,
        }

    def _register(self, prepared: _Prepared) -> None:
        """Write label sets that this server has not written for their day yet."""
        rows: list[dict[str, object]] = []
        for _, _, stream, built in prepared.batches:
            for stream_id, labels in built.labels.items():
                for day in range(built.first_ns // _DAY_NS, built.last_ns // _DAY_NS + 1):
                    if (stream_id, day) in self._registered:
                        continue
                    self._registered[stream_id, day] = None
                    begin = day * 86_400_000
                    rows.append(
                        {
                            "cluster": stream.source.cluster,
                            "namespace": stream.source.namespace,
                            "stream": stream_id,
                            "labels": list(labels.items()),
                            "day": day,
                            "first": begin,
                            "last": begin + 86_399_999,
                        }
                    )
        if not rows:
            return
        try:
            log_writes.write_streams(self._store, pa.Table.from_pylist(rows, schema=log_writes.STREAM_ROWS))
        except KobsError:
            for row in rows:
                self._registered.pop((int(str(row["stream"])), int(str(row["day"]))), None)
            raise
        while len(self._registered) > _MOST_SOURCES:
            self._registered.popitem(last=False)

    # Agents and moves

    async def _take_over(self, request: LogRequest, prepared: _Prepared) -> None:
        retried = [entry for entry in prepared.batches if entry[1].retry]
        if retried:
            await self._moves.raise_fence(request.agent, request.attempt, _reach(retried))
        await self._moves.stop_inserts(request.cluster, request.node, moved_ms=request.moved_ms)

    async def _note(self, node: _Node, request: LogRequest) -> None:
        """Write how the agent is, now and then."""
        now = time.monotonic()
        if now - node.noted_at < _AGENT_NOTE_SECONDS:
            return
        node.noted_at = now
        report = request.report
        seen_ms = self._now_ns() // 1_000_000
        row = {
            "agent": request.agent,
            "cluster": request.cluster,
            "node": request.node,
            "version": report.version,
            "clock_skew_ms": request.sent_ns // 1_000_000 - seen_ms,
            "held_bytes": report.held_bytes,
            "streams": report.streams,
            "backlog_bytes": report.backlog_bytes,
            "problems": report.problems,
            "seen": seen_ms,
        }
        try:
            await self._store.run(
                log_writes.write_agents, self._store, pa.Table.from_pylist([row], schema=log_writes.AGENT_ROWS)
            )
        except KobsError as error:
            log.warning("How an agent is could not be noted.", agent=request.agent, error=error)


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
        if batch.start < 0 or batch.end < batch.start or batch.tail_end < 0 or (batch.length != size and not journal):
            problem = f"batch {batch.start} to {batch.end} (and {batch.tail_end}) with {batch.length} bytes"
    if problem:
        raise RejectedError(Reason.MALFORMED_FRAME, f"frame contradicts itself: {problem}")


def _ends(stream: Stream, batch: Batch) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Return source, segment and end of what a batch covers; an end of 0 where that is nothing."""
    source = stream.source.id()
    return (source, batch.segment, batch.end), (source, batch.tail_segment, batch.tail_end)


def _reach(entries: list[tuple[int, Batch, Stream, BatchRows]]) -> Reach:
    return Reach(
        sources=tuple(sorted({stream.source.id() for _, _, stream, _ in entries})),
        namespaces=tuple(sorted({rows.namespace for _, _, _, rows in entries})),
        first_ns=min(rows.first_ns for _, _, _, rows in entries),
        last_ns=max(rows.last_ns for _, _, _, rows in entries),
    )


def _count_drops(batches: list[tuple[int, Batch, Stream, BatchRows]]) -> Iterable[tuple[Reason, int]]:
    for _, _, _, rows in batches:
        for drop in rows.drops:
            if drop.reason is LossReason.EXPIRED_ON_ARRIVAL:
                yield Reason.EXPIRED_ON_ARRIVAL, drop.rows
            else:
                yield Reason.LINE_TOO_LONG, 1


def _source_columns(stream: Stream) -> dict[str, object]:
    source = stream.source
    return {**_place(stream), "kind": source.kind.value, "uid": source.uid, "restart": source.restart}


def _place(stream: Stream) -> dict[str, object]:
    source = stream.source
    return {
        "source": source.id(),
        "cluster": source.cluster,
        "node": source.node,
        "namespace": source.namespace,
        "pod": source.pod,
        "container": source.container,
        "path": source.path,
    }
