"""Takes batches of all sources in turns, makes their boundaries durable, and settles what became of them.

Arrives: looks of the discovery, answers of the server. Leaves: shipments, each with at most one batch a source, whose
boundaries are durable. Ordered: the batches of a source are in the order of its bytes. Lost: what was gone before it
could be read, each time with a loss on record. A source that is read to its end rests until its file grows.
"""

from collections import Counter
from itertools import islice

from kobs import telemetry
from kobs.collectors.logs.discovery import Look
from kobs.collectors.logs.earlier_claims import EarlierClaims
from kobs.collectors.logs.journal_tailing import JournalTail
from kobs.collectors.logs.losses import Losses
from kobs.collectors.logs.reading import COPY_GRACE_SECONDS, Reader
from kobs.collectors.logs.registry import Registry
from kobs.collectors.logs.resting import Resting
from kobs.collectors.logs.shipments import ClaimedSize, ReadBatch, Shipment
from kobs.collectors.logs.sources import Log
from kobs.collectors.logs.state import Boundaries, Changes, State
from kobs.collectors.logs.vanishing import Vanishing
from kobs.config import AgentSettings
from kobs.model.logs import LossReason, SourceKind
from kobs.wire.ship import BatchAnswer, BatchStatus, LineFormat, PositionsAnswer, SegmentPosition

_CLAIM_SECONDS = 5.0
_MOST_CLAIMS = 2000
_HELD_LOOK_SECONDS = 1.0

log = telemetry.get_logger(__name__)
_batches = telemetry.counter("kobs_agent_log_batches_total", "Batches of log bytes that were cut.")
_bytes = telemetry.counter("kobs_agent_log_bytes_total", "Bytes of logs in batches that the server has stored.")


class Tailer:
    """Reads all logs of a node. Not for use from two threads at once."""

    def __init__(self, settings: AgentSettings, state: State, registry: Registry, journal: JournalTail) -> None:
        self._settings = settings
        self._state = state
        self._registry = registry
        self._journal = journal
        self._losses = Losses(state.losses())
        self._reader = Reader(settings, registry, self._losses)
        self._vanishing = Vanishing(settings, registry, self._losses)
        self._resting = Resting(registry, poll_seconds=settings.poll_ms / 1000)
        self._settled: list[Boundaries] = []
        self._forgotten: list[tuple[int, int]] = []
        self._next_claims = 0.0
        self._next_held_look = 0.0
        self._asked: set[int] = set()
        """Sources of which the server has said since the start what it has."""
        self.earlier_claims = EarlierClaims(state, registry, pod_logs=settings.pod_logs)

    def update(self, look: Look | None, *, now: float) -> None:
        """Take in a look of the discovery."""
        self._registry.update(look, now=now)
        self._resting.wake_grown()
        if look is not None and look.full:
            self._give_up_missing(now=now)
        if now >= self._next_held_look:
            self._next_held_look = now + _HELD_LOOK_SECONDS
            self._vanishing.keep_within_held_bytes()
        if look is not None and look.full:
            self._forgotten += self._vanishing.forget(now=now)

    def to_place(self) -> list[Log]:
        """Return the sources of which the server has to say what it has, before they can be read."""
        registry = self._registry
        if not registry.looked:
            return []
        missing = registry.missing if registry.looked_again else ()
        doubtful = {segment.source for segment in missing} - self._asked
        return [*registry.unplaced.values(), *(registry.logs[each] for each in doubtful - registry.unplaced.keys())]

    def place(self, asked: list[Log], answer: PositionsAnswer, *, now: float) -> None:
        """Take over the server's answer on the sources that were asked, in the order of asking."""
        if self.earlier_claims.must_ask:
            self.earlier_claims.take(answer.open_claims, now=now)
        by_log: dict[int, list[SegmentPosition]] = {}
        for position in answer.positions:
            by_log.setdefault(position.stream, []).append(position)
        for index, entry in enumerate(asked):
            self._registry.place(entry, by_log.get(index, []))
            self._asked.add(entry.source)
            if entry.pending is not None:
                delivered = next(
                    (each.delivered for each in by_log.get(index, []) if each.segment == entry.pending.segment), 0
                )
                if delivered >= entry.pending.end:
                    self._advance(entry, entry.pending)
        self._give_up_missing(now=now)
        if asked and self._state.fresh and not self._registry.unplaced:
            self._state.placed()

    def collect(self, *, now: float) -> Shipment | None:
        """Cut what is there, make its boundaries durable, and return it; None if there is nothing to send.

        Raises: RetryableError where the state cannot be written; nothing is sent then, nothing is lost.
        """
        self._journal.look(now=now)
        turns = self._registry.turns
        batches: list[ReadBatch] = []
        room = self._settings.request_bytes
        for _ in range(turns.due(now)):
            if room <= 0:
                break
            entry = self._registry.logs.get(turns.take())
            if entry is None:
                continue
            batch = self._next_batch(entry, now=now)
            if batch is None:
                turns.later(entry.source, self._next_turn(entry, now=now))
            else:
                turns.wake(entry.source)
                batches.append(batch)
                room -= len(batch.payload)
        claims = self._claims(now=now, batches=batches)
        for loss in self.earlier_claims.gone(now=now):
            self._losses.record(loss)
        self._commit(opened=[batch.boundaries for batch in batches if not batch.retry])
        self.earlier_claims.settle()
        for batch in batches:
            batch.log.pending = batch.boundaries
        losses = self._losses.to_report()
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
                self._losses.lose(batch.segment, done.start, done.end, LossReason.REJECTED, detail=answer.reason)
            self._advance(batch.log, batch.boundaries)
        self._losses.settle(shipment.losses)
        for claim in shipment.claims:
            claim.segment.claimed = (claim.size, claim.closed)

    def flush(self) -> None:
        """Make acknowledgements durable that no later commit has taken along."""
        self._commit(opened=[])

    def close(self) -> None:
        """Give all descriptors back."""
        self._resting.close()
        for segment in self._registry.segments.values():
            segment.close_file()

    def backlog_bytes(self) -> int:
        """Return how many bytes are known to be there and not in the store."""
        unfinished = (segment for entry in self._registry.logs.values() for segment in entry.segments)
        return sum(max(segment.size - segment.acked, 0) for segment in unfinished)

    def held_bytes(self) -> int:
        """Return how many unread bytes only an open descriptor still leads to."""
        return self._vanishing.held_bytes()

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

    # Batches

    def _next_batch(self, entry: Log, *, now: float) -> ReadBatch | None:
        if entry.stream.format is LineFormat.JOURNAL:
            return self._next_of_journal(entry, now=now)
        if entry.pending is not None:
            return self._again(entry, entry.pending, now=now)
        if not entry.placed:
            return None
        while entry.segments:
            segment = entry.segments[0]
            if segment in self._registry.missing:
                return None  # a second look and the server come first
            if self._reader.is_unchanged(segment, now=now):
                return None
            cut = self._reader.next_cut(entry, segment, now=now)
            if cut is not None:
                boundaries, payload = cut
                return ReadBatch(entry, segment, boundaries, payload, retry=False)
            if entry.segments and entry.segments[0] is segment:
                return None  # it is not finished: what follows it waits
        return None

    def _next_turn(self, entry: Log, *, now: float) -> float:
        """Return when a source that has nothing to send now should be looked at again."""
        if entry.stream.format is LineFormat.JOURNAL:
            return max(self._journal.next_look, now)
        if entry.pending is not None or entry.source in self._registry.unplaced:
            return now + self._settings.poll_ms / 1000
        return self._resting.next_turn(entry, now=now)

    def _next_of_journal(self, entry: Log, *, now: float) -> ReadBatch | None:
        if entry.pending is not None:
            payload = self._journal.again(entry.pending)
            segment = self._registry.segments.get((entry.source, entry.pending.segment))
            if payload is not None and segment is not None:
                return ReadBatch(entry, segment, entry.pending, payload, retry=True)
            if not self._journal.is_gone(entry.pending):
                return None
            if entry.source not in self._asked:
                self._registry.displace(entry)  # the server is asked whether it has them, and removes parts of them
                return None
            self._settled.append(entry.pending)
            entry.pending = None
        if not entry.placed:
            return None
        batch = self._journal.next_batch(entry, most_bytes=self._settings.stream_bytes, now=now)
        for loss in self._journal.take_losses():
            self._losses.lose(loss.segment, loss.start, loss.end, loss.reason, detail=loss.detail)
        if batch is None:
            return None
        cut_of, boundaries, payload = batch
        return ReadBatch(entry, cut_of, boundaries, payload, retry=False)

    def _give_up_missing(self, *, now: float) -> None:
        """Put on record what neither two looks found nor the server has."""
        for segment in list(self._registry.missing):
            if segment.source not in self._asked or not self._registry.looked_again:
                continue
            entry = self._registry.logs[segment.source]
            if entry.pending is not None and entry.pending.segment == segment.segment:
                self._again(entry, entry.pending, now=now + COPY_GRACE_SECONDS)
            self._vanishing.give_up_missing(segment, now=now)

    def _again(self, entry: Log, pending: Boundaries, *, now: float) -> ReadBatch | None:
        """Read a batch again that may have been sent."""
        segment = self._registry.segments.get((pending.source, pending.segment))
        if segment is None or not self._registry.looked:
            return None
        payload = self._reader.again(segment, pending, now=now)
        if payload is None:
            if segment.gone_at is not None and now - segment.gone_at < COPY_GRACE_SECONDS:
                return None  # a copy or a .gz of it may turn up
            if entry.source in self._asked:
                # The server said that it is not stored, and the bytes are gone.
                self._losses.lose(segment, pending.start, pending.end, LossReason.ROTATED_AWAY)
                self._advance(entry, pending)
            else:
                self._registry.displace(entry)
            return None
        return ReadBatch(entry, segment, pending, payload, retry=True)

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
                self._registry.changed[segment] = None
        self._registry.turns.wake(entry.source)

    # Claims and the state

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
        return [ClaimedSize(segment, segment.size, segment.closed) for segment in islice(changed, _MOST_CLAIMS)]

    def _commit(self, *, opened: list[Boundaries]) -> None:
        changed, losses = self._registry.changed, self._losses
        if not (opened or changed or self._settled or losses.new or losses.reported or self._forgotten):
            return
        self._state.commit(
            Changes(
                segments=[segment.known() for segment in changed],
                forgotten=self._forgotten,
                opened=opened,
                settled=self._settled,
                losses=losses.new,
                reported=losses.reported,
            )
        )
        changed.clear()
        losses.durable()
        self._settled, self._forgotten = [], []
