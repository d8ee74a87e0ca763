"""Cuts batches out of the journal: ranges of its sequence numbers.

A batch that may have been sent is read again from the journal, record by record, up to its last number.
"""

import time
from pathlib import Path

from kobs.collectors.logs.journald import JournalFollower, Record, journal_folder, oldest_record, segment_of
from kobs.collectors.logs.registry import Log, Registry, Segment
from kobs.collectors.logs.state import Boundaries
from kobs.model.logs import LogSource, SourceKind
from kobs.wire.ship import GROUPING_VERSION, LineFormat, Stream

_PATH = "journal"
"""The path of the source: one machine has one journal, wherever its files are."""
_LOOK_FOR_JOURNAL_SECONDS = 30.0


class JournalTail:
    """The journal of this machine, where there is one. Not for use from two threads at once."""

    def __init__(self, configured: Path | None, registry: Registry, *, cluster: str, node: str) -> None:
        self._configured = configured
        self._registry = registry
        source = LogSource(kind=SourceKind.JOURNAL, cluster=cluster, node=node, path=_PATH)
        self._stream = Stream(source=source, format=LineFormat.JOURNAL)
        self._follower: JournalFollower | None = None
        self._next_look = 0.0
        self._sent: tuple[Boundaries, bytes] | None = None
        self._again: list[Record] | None = None
        self._gap_checked = False
        self.vacuumed: tuple[Segment, int, int] | None = None
        """Records that were gone before they could be read: segment, first number, number after the last."""

    def log(self, *, now: float) -> Log | None:
        """Return the journal's entry among the sources; None where this machine has no journal."""
        if self._follower is None:
            if now < self._next_look:
                return None
            self._next_look = now + _LOOK_FOR_JOURNAL_SECONDS
            folder = journal_folder(self._configured)
            if folder is None:
                return None
            self._follower = JournalFollower(folder)
        return self._registry.log_of(self._stream)

    @property
    def problem(self) -> str:
        """What keeps the journal from being read; empty if nothing does."""
        return "" if self._follower is None else self._follower.problem

    def close(self) -> None:
        """End the program that reads."""
        if self._follower is not None:
            self._follower.close()

    def again(self, pending: Boundaries, *, now: float) -> bytes | None:
        """Return the bytes of a batch that may have been sent; None while they are not read yet."""
        if self._sent is not None and self._sent[0] == pending:
            return self._sent[1]
        follower = self._follower
        segment = self._registry.segments.get((pending.source, pending.segment))
        if follower is None or segment is None:
            return None
        if self._again is None or not follower.is_running:
            if not follower.may_start(now):
                return None
            self._again = []
            follower.seek(str(segment.path), pending.start - 1 if pending.start else None)
        for record in follower.take(1 << 20):
            if segment_of(record.sequence_id) == pending.segment and record.sequence < pending.end:
                self._again.append(record)
                if record.sequence < pending.end - 1:
                    continue
            payload = b"".join(each.line for each in self._again if each.sequence >= pending.start)
            self._again = None
            follower.close()  # what was taken beyond the batch is read again
            self._sent = (pending, payload)
            return payload
        return None

    def next_batch(self, entry: Log, *, most_bytes: int, now: float) -> tuple[Segment, Boundaries, bytes] | None:
        """Return the next records as a batch; None if there are none now."""
        follower = self._follower
        if follower is None:
            return None
        if not follower.is_running:
            if not follower.may_start(now):
                return None
            last = max(entry.segments, key=lambda each: each.last_ns, default=None)
            if last is None or last.acked == 0:
                follower.seek("", None)
            else:
                follower.seek(str(last.path), last.acked - 1)
                if not self._gap_checked:
                    self._check_gap(last, follower)
            self._gap_checked = True
        records = follower.take(most_bytes)
        if not records:
            return None
        segment = self._segment(entry, records[0].sequence_id, now=now)
        fresh = [record for record in records if record.sequence >= segment.acked]
        if not fresh:
            return None
        end = fresh[-1].sequence + 1
        segment.size = max(segment.size, end)
        segment.grown_at = now
        segment.last_ns = time.time_ns()
        boundaries = Boundaries(
            source=segment.source,
            segment=segment.segment,
            start=segment.acked,
            end=end,
            read_ns=segment.last_ns,
            utc_offset_s=0,
            grouping=GROUPING_VERSION,
            tail_segment=0,
            tail_end=0,
        )
        payload = b"".join(record.line for record in fresh)
        self._sent = (boundaries, payload)
        return segment, boundaries, payload

    def _segment(self, entry: Log, sequence_id: str, *, now: float) -> Segment:
        number = segment_of(sequence_id)
        found = self._registry.segments.get((entry.source, number))
        if found is None:
            for former in list(entry.segments):
                self._registry.finish(former)
            found = Segment(
                source=entry.source,
                stream=self._stream,
                segment=number,
                head=0,
                path=Path(sequence_id),
                inode=number,
                dirty=True,
                grown_at=now,
            )
            self._registry.add(found)
        found.found = True
        found.live = True
        return found

    def _check_gap(self, segment: Segment, follower: JournalFollower) -> None:
        """Note records that the journal dropped since it was read last."""
        oldest = oldest_record(follower.folder)
        if oldest is None or oldest.sequence_id != str(segment.path) or oldest.sequence <= segment.acked:
            return
        self.vacuumed = (segment, segment.acked, oldest.sequence)
