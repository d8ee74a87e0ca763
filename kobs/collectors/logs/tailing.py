"""Cuts batches out of what has grown, fairly over all sources, and settles what became of them.

Arrives: looks of the discovery, answers of the server. Leaves: shipments, each with at most one batch a source, whose
boundaries are durable. Ordered: the batches of a source are in the order of its bytes. Lost: what was gone before it
could be read, each time with a loss on record.
"""

import time
from collections import Counter, deque
from dataclasses import dataclass
from itertools import islice

from kobs import telemetry
from kobs.collectors.logs.cutting import complete_to, finished_to, lines_to
from kobs.collectors.logs.discovery import Look
from kobs.collectors.logs.earlier_claims import EarlierClaims
from kobs.collectors.logs.journal_tailing import JournalTail
from kobs.collectors.logs.registry import Log, Registry, Segment, is_container
from kobs.collectors.logs.segments import DamagedError, GzipFile, PlainFile
from kobs.collectors.logs.state import Boundaries, Changes, KnownLoss, State
from kobs.config import AgentSettings
from kobs.model.logs import LossReason, SourceKind
from kobs.wire.ship import GROUPING_VERSION, BatchAnswer, BatchStatus, LineFormat, PositionsAnswer, SegmentPosition

_LONGEST_BATCH_BYTES = 4 * 1024 * 1024
_SKIPPED_AT_ONCE_BYTES = 16 * 1024 * 1024
_PARTIAL_HOLD_SECONDS = 10.0
"""How long a partial line may keep the complete lines of the other stream behind it waiting."""
_ROTATED_GRACE_SECONDS = 1.0
"""How long a writer may go on with a renamed file before its last entry is taken as finished."""
_DELETED_GRACE_SECONDS = 60.0
"""How long a deleted file is kept open for a writer that goes on with it."""
_COPY_GRACE_SECONDS = 5.0
"""How long to look for the copy of a file that was truncated before its unread bytes are lost."""
_IDLE_LOOKS = ((2.0, 0.0), (30.0, 0.5), (float("inf"), 1.0))
"""Pauses between two looks at a file, by the seconds since it grew."""
_CLAIM_SECONDS = 5.0
_HELD_LOOK_SECONDS = 1.0
_FORGET_SECONDS = {SourceKind.CONTAINER: 600.0, SourceKind.FILE: 7 * 86_400.0, SourceKind.JOURNAL: float("inf")}
"""How long a finished segment is known after its file is gone: a compressed copy may turn up much later."""

log = telemetry.get_logger(__name__)
_batches = telemetry.counter("kobs_agent_log_batches_total", "Batches of log bytes that were cut.")
_bytes = telemetry.counter("kobs_agent_log_bytes_total", "Bytes of logs in batches that the server has stored.")
_lost = telemetry.counter("kobs_agent_log_losses_total", "Losses of log bytes put on record, by reason.", ("reason",))


@dataclass(frozen=True, slots=True)
class ReadBatch:
    """A batch with its bytes."""

    log: Log
    segment: Segment
    boundaries: Boundaries
    payload: bytes
    retry: bool


@dataclass(frozen=True, slots=True)
class ClaimedSize:
    """How far a segment has grown."""

    segment: Segment
    size: int
    closed: bool


@dataclass(frozen=True, slots=True)
class Shipment:
    """What goes into one request."""

    batches: list[ReadBatch]
    losses: list[KnownLoss]
    claims: list[ClaimedSize]


class Tailer:
    """Reads all logs of a node. Not for use from two threads at once."""

    def __init__(self, settings: AgentSettings, state: State, registry: Registry, journal: JournalTail) -> None:
        self._settings = settings
        self._state = state
        self._registry = registry
        self._journal = journal
        self._turns: deque[int] = deque()
        self._in_turn: set[int] = set()
        self._losses: dict[tuple[int, int, int, LossReason], KnownLoss] = {
            (loss.source, loss.segment, loss.start, loss.reason): loss for loss in state.losses()
        }
        self._new_losses: list[KnownLoss] = []
        self._settled: list[Boundaries] = []
        self._reported: list[KnownLoss] = []
        self._forgotten: list[tuple[int, int]] = []
        self._next_claims = 0.0
        self._next_held_look = 0.0
        self.unplaced_asked: set[int] = set()
        self.earlier_claims = EarlierClaims(state, registry, pod_logs=settings.pod_logs)

    def update(self, look: Look | None, *, now: float) -> None:
        """Take in a look of the discovery."""
        self._registry.update(look, now=now)
        if now >= self._next_held_look:
            self._next_held_look = now + _HELD_LOOK_SECONDS
            self._keep_within_held_bytes()
        if look is not None and look.full:
            self._forget_gone(now=now)

    def to_place(self) -> list[Log]:
        """Return the sources of which the server has to say what it has, before they can be read."""
        registry = self._registry
        if not registry.looked:
            return []
        doubtful = {segment.source for segment in registry.missing()}
        return [
            entry
            for source, entry in registry.logs.items()
            if not entry.placed or (source in doubtful and source not in self.unplaced_asked)
        ]

    def place(self, asked: list[Log], answer: PositionsAnswer, *, now: float) -> None:
        """Take over the server's answer on the sources that were asked, in the order of asking."""
        if self.earlier_claims.must_ask:
            self.earlier_claims.take(answer.open_claims, now=now)
        by_log: dict[int, list[SegmentPosition]] = {}
        for position in answer.positions:
            by_log.setdefault(position.stream, []).append(position)
        for index, entry in enumerate(asked):
            self._registry.place(entry, by_log.get(index, []))
            self.unplaced_asked.add(entry.source)
            if entry.pending is not None:
                delivered = next(
                    (each.delivered for each in by_log.get(index, []) if each.segment == entry.pending.segment), 0
                )
                if delivered >= entry.pending.end:
                    self._advance(entry, entry.pending)
        for segment in list(self._registry.missing()):
            if segment.source in self.unplaced_asked:
                self._give_up_missing(segment, now=now)
        if self._state.fresh and not any(not entry.placed for entry in self._registry.logs.values()):
            self._state.placed()

    def collect(self, *, now: float) -> Shipment | None:
        """Cut what is there, make its boundaries durable, and return it; None if there is nothing to send.

        Raises: RetryableError where the state cannot be written; nothing is sent then, nothing is lost.
        """
        self._journal.look(now=now)
        self._add_turns()
        batches: list[ReadBatch] = []
        room = self._settings.request_bytes
        for _ in range(len(self._turns)):
            if room <= 0:
                break
            source = self._turns[0]
            self._turns.rotate(-1)
            entry = self._registry.logs.get(source)
            if entry is None:
                self._turns.pop()
                self._in_turn.discard(source)
                continue
            batch = self._next_batch(entry, now=now)
            if batch is not None:
                batches.append(batch)
                room -= len(batch.payload)
        claims = self._claims(now=now, batches=batches)
        for loss in self.earlier_claims.gone(now=now):
            self._record(loss)
        self._commit(opened=[batch.boundaries for batch in batches if not batch.retry])
        self.earlier_claims.settle()
        for batch in batches:
            batch.log.pending = batch.boundaries
        losses = list(self._losses.values())
        if not batches and not losses and not claims:
            return None
        _batches.inc(len(batches))
        return Shipment(batches, losses, claims)

    def settle(self, shipment: Shipment, answers: list[BatchAnswer]) -> None:
        """Take note of what became of a shipment. Batches to be sent again stay pending with the same boundaries."""
        for batch, answer in zip(shipment.batches, answers, strict=True):
            if answer.status is BatchStatus.RETRY:
                continue
            if answer.status is BatchStatus.STORED:
                _bytes.inc(len(batch.payload))
            else:
                done = batch.boundaries
                self._lose(batch.segment, done.start, done.end, LossReason.REJECTED, detail=answer.reason)
            self._advance(batch.log, batch.boundaries)
        for loss in shipment.losses:
            key = (loss.source, loss.segment, loss.start, loss.reason)
            if self._losses.get(key) == loss:
                del self._losses[key]
                self._reported.append(loss)
        for claim in shipment.claims:
            claim.segment.claimed = (claim.size, claim.closed)

    def flush(self) -> None:
        """Make acknowledgements durable that no later commit has taken along."""
        self._commit(opened=[])

    def close(self) -> None:
        """Give all descriptors back."""
        for segment in self._registry.segments.values():
            segment.close_file()

    def backlog_bytes(self) -> int:
        """Return how many bytes are known to be there and not in the store."""
        return sum(max(segment.size - segment.acked, 0) for segment in self._unfinished())

    def held_bytes(self) -> int:
        """Return how many unread bytes only an open descriptor still leads to."""
        return sum(self._held(segment) for segment in self._unfinished())

    def idle(self) -> bool:
        """Whether nothing more is known to be readable at once."""
        return all(entry.next_look > 0 for entry in self._registry.logs.values() if entry.segments)

    def found(self) -> dict[str, int]:
        """Return how many sources there are, in words."""
        kinds = Counter(entry.stream.source.kind for entry in self._registry.logs.values())
        return {
            "containers": kinds[SourceKind.CONTAINER],
            "log files": kinds[SourceKind.FILE],
            "journal": kinds[SourceKind.JOURNAL],
        }

    def stream_count(self) -> int:
        """Return how many sources have unfinished segments."""
        return sum(1 for entry in self._registry.logs.values() if entry.segments)

    # Turns and batches

    def _add_turns(self) -> None:
        new = self._registry.logs.keys() - self._in_turn
        self._turns.extend(new)
        self._in_turn |= new

    def _next_batch(self, entry: Log, *, now: float) -> ReadBatch | None:
        if entry.stream.format is LineFormat.JOURNAL:
            return self._next_of_journal(entry, now=now)
        if entry.pending is not None:
            return self._again(entry, entry.pending, now=now)
        if not entry.placed or now < entry.next_look:
            return None
        while entry.segments:
            segment = entry.segments[0]
            if segment.source not in self.unplaced_asked and self._registry.is_missing(segment):
                return None  # the server is asked first
            boundaries_and_payload = self._cut(entry, segment, now=now)
            if boundaries_and_payload is not None:
                boundaries, payload = boundaries_and_payload
                return ReadBatch(entry, segment, boundaries, payload, retry=False)
            if entry.segments and entry.segments[0] is segment:
                break  # it is not finished: what follows it waits
        self._plan_next_look(entry, now=now)
        return None

    def _next_of_journal(self, entry: Log, *, now: float) -> ReadBatch | None:
        if entry.pending is not None:
            payload = self._journal.again(entry.pending)
            segment = self._registry.segments.get((entry.source, entry.pending.segment))
            if payload is not None and segment is not None:
                return ReadBatch(entry, segment, entry.pending, payload, retry=True)
            if not self._journal.is_gone(entry.pending):
                return None
            if entry.source not in self.unplaced_asked:
                entry.placed = False  # the server is asked whether it has them, and removes parts of them
                return None
            self._settled.append(entry.pending)
            entry.pending = None
        if not entry.placed:
            return None
        batch = self._journal.next_batch(entry, most_bytes=self._settings.stream_bytes, now=now)
        for loss in self._journal.take_losses():
            self._lose(loss.segment, loss.start, loss.end, loss.reason, detail=loss.detail)
        if batch is None:
            return None
        cut_of, boundaries, payload = batch
        return ReadBatch(entry, cut_of, boundaries, payload, retry=False)

    def _plan_next_look(self, entry: Log, *, now: float) -> None:
        if not entry.segments:
            entry.next_look = now + 3600.0  # a look of the discovery brings it forward
            return
        segment = entry.segments[0]
        waiting = segment.waiting_since is not None or not segment.live
        quiet = now - segment.grown_at
        pause = 0.0 if waiting else next(pause for limit, pause in _IDLE_LOOKS if quiet < limit)
        entry.next_look = now + max(pause, self._settings.poll_ms / 1000)

    def _again(self, entry: Log, pending: Boundaries, *, now: float) -> ReadBatch | None:
        """Read a batch again that may have been sent."""
        segment = self._registry.segments.get((pending.source, pending.segment))
        if segment is None or not self._registry.looked:
            return None
        if segment.file is not None and not segment.file.compressed:
            self._was_rewritten(segment, now=now)
        payload = self._bytes_of(segment, pending.start, pending.end)
        if payload is not None and pending.tail_end:
            tail = self._registry.segments.get((pending.source, pending.tail_segment))
            rest = None if tail is None else self._bytes_of(tail, 0, pending.tail_end)
            payload = None if rest is None else payload + rest
        if payload is None:
            if segment.gone_at is not None and now - segment.gone_at < _COPY_GRACE_SECONDS:
                return None  # a copy or a .gz of it may turn up
            if entry.source in self.unplaced_asked:
                # The server said that it is not stored, and the bytes are gone.
                self._lose(segment, pending.start, pending.end, LossReason.ROTATED_AWAY)
                self._advance(entry, pending)
            else:
                entry.placed = False
            return None
        return ReadBatch(entry, segment, pending, payload, retry=True)

    def _bytes_of(self, segment: Segment, start: int, end: int) -> bytes | None:
        opened = self._registry.open(segment)
        if opened is None:
            return None
        try:
            data = opened.read(start, end - start)
        except (DamagedError, OSError):
            return None
        return data if len(data) == end - start else None

    def _cut(self, entry: Log, segment: Segment, *, now: float) -> tuple[Boundaries, bytes] | None:
        """Return the next batch of a segment; None if there is none now. Finishes the segment where it has ended."""
        if segment.file is None and segment.found and self._is_untouched(segment):
            return None
        opened = self._registry.open(segment)
        if opened is None:
            self._give_up_unopened(segment, now=now)
            return None
        try:
            read = self._read_on(segment, opened, now=now)
        except DamagedError as error:
            self._lose(segment, error.offset, 0, LossReason.UNREADABLE, detail=str(error))
            self._registry.finish(segment)
            return None
        except OSError as error:
            self._registry.problems[str(segment.path)] = f"{segment.path}: {error.strerror}"
            return None
        if read is None:
            return None
        data, end, at_end = read
        if end == 0 and at_end:
            if not data:
                segment.waiting_since = None
                self._finish_if_final(entry, segment, now=now)
                return None
            if self._is_final(segment, now=now):
                return self._last_batch(entry, segment, data, now=now)
            end = self._overdue_cut(segment, data, now=now)
        if end == 0:
            return None
        segment.waiting_since = now if end < len(data) else None
        return self._boundaries(segment, segment.acked + end), data[:end]

    def _read_on(self, segment: Segment, opened: PlainFile | GzipFile, *, now: float) -> tuple[bytes, int, bool] | None:
        """Return what comes next of a segment, up to where its entries are finished, and whether it ends there.

        None where the file is another one now, or a line that is too long goes on.
        """
        if not opened.compressed and self._was_rewritten(segment, now=now):
            return None
        if segment.skipping and not self._skip_line(segment):
            return (b"", 0, True) if segment.acked >= segment.size else None
        read_format, pattern = segment.stream.format, segment.stream.start_pattern
        wanted = self._settings.stream_bytes
        data = opened.read(segment.acked, wanted)
        at_end = len(data) < wanted
        end = finished_to(data, format=read_format, start_pattern=pattern)
        if end == 0 and not at_end:
            data = opened.read(segment.acked, _LONGEST_BATCH_BYTES)
            at_end = len(data) < _LONGEST_BATCH_BYTES
            end = finished_to(data, format=read_format, start_pattern=pattern)
            if end == 0 and not at_end:
                end = self._forced_cut(segment, data)
        if opened.compressed:
            segment.size = max(segment.size, segment.acked + len(data))
        return data, end, at_end

    def _is_untouched(self, segment: Segment) -> bool:
        """Whether a file that was closed to save descriptors is as it was when it was read to its end."""
        try:
            state = segment.path.stat()
        except OSError:
            return False
        return segment.live and segment.acked == segment.size == state.st_size and state.st_ino == segment.inode

    def _was_rewritten(self, segment: Segment, *, now: float) -> bool:
        """Notice growth, and a file that was truncated or written anew in place."""
        opened = segment.file
        if opened is None:
            return False
        state = opened.state()
        if state.links == 0 and segment.gone_at is None:
            segment.gone_at = now
            segment.live = False
        if state.size != segment.size:
            beginning = segment.beginning
            if state.size < segment.acked or opened.read(0, len(beginning)) != beginning:
                log.info("A log file was truncated.", path=segment.path)
                self._registry.restart_in_place(segment, now=now)
                return True
            segment.size = state.size
            segment.grown_at = now
        return False

    def _forced_cut(self, segment: Segment, data: bytes) -> int:
        """Return where to cut an entry that has no end within the longest batch."""
        end = lines_to(data)
        if end == 0:
            segment.skipping = True  # after this batch: the rest of the line is left out, on record
            end = self._settings.max_line_bytes
        return end

    def _skip_line(self, segment: Segment) -> bool:
        """Leave out the rest of a line that is too long; tell whether its end was reached."""
        opened = segment.file
        if opened is None:
            return False
        start = at = segment.acked
        while at - start < _SKIPPED_AT_ONCE_BYTES:
            data = opened.read(at, 1024 * 1024)
            if not data:
                break
            newline = data.find(b"\n")
            at += len(data) if newline < 0 else newline + 1
            if newline >= 0:
                segment.skipping = False
                break
        if at > start:
            self._lose(segment, start, at, LossReason.LINE_TOO_LONG)
            segment.acked = at
            segment.size = max(segment.size, at)
            segment.dirty = True
        return not segment.skipping

    def _overdue_cut(self, segment: Segment, data: bytes, *, now: float) -> int:
        """Return where to cut when the rest of an open entry has not come in time; 0 to go on waiting."""
        if segment.waiting_since is None:
            segment.waiting_since = now
        waited = now - segment.waiting_since
        if waited < self._settings.hold_ms / 1000:
            return 0
        end = complete_to(data, format=segment.stream.format)
        if end == 0 and waited >= _PARTIAL_HOLD_SECONDS and data.count(b"\n") > 1:
            end = lines_to(data)
        return end

    def _is_final(self, segment: Segment, *, now: float) -> bool:
        """Whether a file at its end will not grow any more, as far as can be known."""
        if segment.file is not None and segment.file.compressed:
            return True
        quiet = now - segment.grown_at
        if segment.gone_at is not None and segment.rotated_at is None:
            replaced = any(other is not segment for other in self._registry.logs[segment.source].segments)
            grace = _ROTATED_GRACE_SECONDS if replaced or is_container(segment) else _DELETED_GRACE_SECONDS
            return quiet >= grace and now - segment.gone_at >= grace
        if segment.rotated_at is not None:
            return quiet >= _ROTATED_GRACE_SECONDS and now - segment.rotated_at >= _ROTATED_GRACE_SECONDS
        return False

    def _finish_if_final(self, entry: Log, segment: Segment, *, now: float) -> None:
        if self._is_final(segment, now=now):
            self._registry.finish(segment)
            if entry.segments:
                entry.segments[0].waiting_since = None

    def _last_batch(self, entry: Log, segment: Segment, data: bytes, *, now: float) -> tuple[Boundaries, bytes] | None:
        """Return the end of a file, with the beginning of its successor where an entry goes on there."""
        end = segment.acked + len(data)
        successor = entry.segments[1] if len(entry.segments) > 1 else None
        # A line that was torn before its newline does not go on in another file.
        joins = is_container(segment) and data.endswith(b"\n")
        if successor is None or successor.acked > 0 or not joins:
            return self._boundaries(segment, end), data
        opened = self._registry.open(successor)
        beginning = b"" if opened is None else opened.read(0, self._settings.stream_bytes)
        both = data + beginning
        cut = finished_to(both, format=segment.stream.format, start_pattern=segment.stream.start_pattern)
        if cut < len(data):
            if segment.waiting_since is None:
                segment.waiting_since = now
            waited = now - segment.waiting_since
            if waited < self._settings.hold_ms / 1000:
                return None
            cut = complete_to(both, format=segment.stream.format)
            if cut < len(data) and waited < _PARTIAL_HOLD_SECONDS:
                return None
            cut = max(cut, len(data))
        if cut == len(data):
            return self._boundaries(segment, end), data
        return self._boundaries(segment, end, tail=successor, tail_end=cut - len(data)), both[:cut]

    def _boundaries(self, segment: Segment, end: int, *, tail: Segment | None = None, tail_end: int = 0) -> Boundaries:
        read_ns = time.time_ns()
        segment.last_ns = read_ns
        return Boundaries(
            source=segment.source,
            segment=segment.segment,
            start=segment.acked,
            end=end,
            read_ns=read_ns,
            utc_offset_s=time.localtime().tm_gmtoff,
            grouping=GROUPING_VERSION,
            tail_segment=0 if tail is None else tail.segment,
            tail_end=tail_end,
        )

    def _advance(self, entry: Log, done: Boundaries) -> None:
        """Take note that a batch needs no more care."""
        if entry.pending == done:
            entry.pending = None
        self._settled.append(done)
        for number, reached in ((done.segment, done.end), (done.tail_segment, done.tail_end)):
            segment = self._registry.segments.get((done.source, number)) if reached else None
            if segment is not None and reached > segment.acked:
                segment.acked = reached
                segment.size = max(segment.size, reached)
                segment.dirty = True
        entry.next_look = 0.0

    # Losses and claims

    def _lose(self, segment: Segment, start: int, end: int, reason: LossReason, *, detail: str = "") -> None:
        loss = KnownLoss(
            source=segment.source,
            segment=segment.segment,
            start=start,
            reason=reason,
            end=end,
            first_ns=segment.last_ns,
            last_ns=time.time_ns(),
            detail=detail,
            stream=segment.stream,
        )
        self._record(loss)

    def _record(self, loss: KnownLoss) -> None:
        _lost.labels(loss.reason).inc()
        log.warning(
            "Log bytes are lost.",
            source=loss.stream.source.path or f"{loss.stream.source.namespace}/{loss.stream.source.pod}",
            container=loss.stream.source.container,
            start=loss.start,
            end=loss.end or "unknown",
            reason=loss.reason,
        )
        self._losses[loss.source, loss.segment, loss.start, loss.reason] = loss
        self._new_losses.append(loss)

    def _give_up_unopened(self, segment: Segment, *, now: float) -> None:
        """A file cannot be opened: wait for it to come back, then give it up."""
        if segment.gone_at is None:
            if segment.path.exists():
                return  # not readable now: it is among the problems, and tried again
            segment.gone_at = now
        if segment.acked < segment.size and now - segment.gone_at < _COPY_GRACE_SECONDS:
            return
        if segment.acked < segment.size:
            self._lose(segment, segment.acked, segment.size, LossReason.ROTATED_AWAY)
            segment.acked = segment.size
        self._registry.finish(segment)

    def _give_up_missing(self, segment: Segment, *, now: float) -> None:
        """A segment that the state knows is gone: what of it is not stored cannot be read any more."""
        entry = self._registry.logs[segment.source]
        if entry.pending is not None and entry.pending.segment == segment.segment:
            self._again(entry, entry.pending, now=now + _COPY_GRACE_SECONDS)
        later = [other for other in entry.segments if other is not segment and other.found]
        was_unread = segment.acked < segment.size
        if was_unread:
            self._lose(segment, segment.acked, segment.size, LossReason.ROTATED_AWAY)
            segment.acked = segment.size
        if later and not segment.rotated_at:
            # Its source went on in another file, so it has grown after it was read last.
            self._lose(segment, segment.acked, 0, LossReason.ROTATED_AWAY)
        elif not later and not was_unread:
            self._lose(segment, segment.acked, 0, LossReason.GONE_WHILE_AWAY)
        segment.gone_at = now
        self._registry.finish(segment)

    def _unfinished(self) -> list[Segment]:
        return [segment for entry in self._registry.logs.values() for segment in entry.segments]

    def _held(self, segment: Segment) -> int:
        if segment.file is None or segment.gone_at is None or segment.file.compressed:
            return 0
        segment.size = max(segment.size, segment.file.state().size)
        return max(segment.size - segment.acked, 0)

    def _keep_within_held_bytes(self) -> None:
        """Give up the oldest files that only a descriptor leads to, where they hold more than the limit."""
        held = [(segment, self._held(segment)) for segment in self._unfinished()]
        total = sum(size for _, size in held)
        for segment, size in sorted(held, key=lambda pair: pair[0].gone_at or 0.0):
            if total <= self._settings.held_bytes:
                return
            pending = self._registry.logs[segment.source].pending
            if size == 0 or (pending is not None and segment.segment in (pending.segment, pending.tail_segment)):
                continue  # what may have been sent stays until it is known
            self._lose(
                segment,
                segment.acked,
                segment.size,
                LossReason.ROTATED_AWAY,
                detail=f"held files exceed agent.held_bytes ({self._settings.held_bytes})",
            )
            segment.acked = segment.size
            self._registry.finish(segment)
            total -= size

    def _forget_gone(self, *, now: float) -> None:
        """Drop segments that are delivered, reported and gone for so long that no copy of them will turn up."""
        for key, segment in list(self._registry.segments.items()):
            if segment.closed and segment.gone_at is not None and segment.claimed == (segment.size, True):
                limit = _FORGET_SECONDS[segment.stream.source.kind]
                if now - segment.gone_at >= limit:
                    self._registry.forget(segment)
                    self._forgotten.append(key)

    def _claims(self, *, now: float, batches: list[ReadBatch]) -> list[ClaimedSize]:
        if now < self._next_claims and not batches:
            return []
        if now >= self._next_claims:
            self._next_claims = now + _CLAIM_SECONDS
            changed = [
                segment
                for segment in self._registry.segments.values()
                if segment.claimed != (segment.size, segment.closed)
            ]
        else:
            changed = [batch.segment for batch in batches]
        return [ClaimedSize(segment, segment.size, segment.closed) for segment in islice(changed, 2000)]

    def _commit(self, *, opened: list[Boundaries]) -> None:
        dirty = [segment for segment in self._registry.segments.values() if segment.dirty]
        if not (opened or dirty or self._settled or self._new_losses or self._reported or self._forgotten):
            return
        self._state.commit(
            Changes(
                segments=[segment.known() for segment in dirty],
                forgotten=self._forgotten,
                opened=opened,
                settled=self._settled,
                losses=self._new_losses,
                reported=self._reported,
            )
        )
        for segment in dirty:
            segment.dirty = False
        self._settled, self._new_losses, self._reported, self._forgotten = [], [], [], []
