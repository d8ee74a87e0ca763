"""Cuts batches out of the journal: ranges of its records' numbers.

Arrives: the files of the journal. Leaves: batches, one after another of each sequence, in the order of its numbers. A
batch that may have been sent is read again by its numbers, which gives the same records. Lost: what was vacuumed before
it could be read, files and lines that cannot be read; each is on record.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from kobs.collectors.logs.journald import JournalFile, Reading, Record, find_files, read_records, segment_of
from kobs.collectors.logs.registry import Registry
from kobs.collectors.logs.sources import Log, Segment
from kobs.collectors.logs.state import Boundaries
from kobs.model.logs import LogSource, LossReason, SourceKind
from kobs.wire.ship import GROUPING_VERSION, LineFormat, Stream

_PATH = "journal"
"""The path of the source: one machine has one journal, wherever its files are."""
_LOOK_SECONDS = 0.5
"""Between two looks at the files: each look that finds more costs the start of a program, 10 ms."""
_LOOK_WHERE_NONE_SECONDS = 30.0
_MOST_COVERED = 1 << 31
"""Numbers that one row may cover: its size has 32 bits."""

_Mark = tuple[int, int]
"""Inode and number of records of a file: another one where there is something new."""


@dataclass(frozen=True, slots=True)
class JournalLoss:
    """Records that cannot be delivered: from number `start` to before `end`, 0 where that is not known."""

    segment: Segment
    start: int
    end: int
    reason: LossReason
    detail: str


class JournalTail:
    """The journal of this machine, where there is one. Not for use from two threads at once."""

    def __init__(self, configured: Path | None, registry: Registry, *, cluster: str, node: str) -> None:
        self._configured = configured
        self._registry = registry
        source = LogSource(kind=SourceKind.JOURNAL, cluster=cluster, node=node, path=_PATH)
        self._stream = Stream(source=source, format=LineFormat.JOURNAL)
        self._files: dict[str, list[JournalFile]] = {}
        self._turns: list[str] = []
        self.next_look = 0.0
        self._unreadable: set[_Mark] = set()
        self._read_to_end: dict[str, tuple[_Mark, ...]] = {}
        self._cut: tuple[Segment, Boundaries, bytes] | None = None
        self._losses: list[JournalLoss] = []
        self._vanished: Boundaries | None = None
        self._problem = ""

    @property
    def problem(self) -> str:
        """What keeps the journal from being read; empty if nothing does."""
        if self._problem:
            return self._problem
        bad = [file.path for files in self._files.values() for file in files if _mark(file) in self._unreadable]
        return f"journalctl cannot read {', '.join(map(str, bad[:5]))}" if bad else ""

    def look(self, *, now: float) -> Log | None:
        """Look for new records, where it is time, and return the journal's entry; None without a journal."""
        if now >= self.next_look:
            found = find_files(self._configured)
            self._files = {name: list(files) for name, files in groupby(found, lambda file: file.sequence_id)}
            self._turns += [name for name in self._files if name not in self._turns]
            self._unreadable.intersection_update(map(_mark, found))
            self.next_look = now + (_LOOK_SECONDS if found else _LOOK_WHERE_NONE_SECONDS)
        return self._registry.log_of(self._stream) if self._files else None

    def take_losses(self) -> Sequence[JournalLoss]:
        """Return the losses that were noticed since the last call."""
        losses, self._losses = self._losses, []
        return losses

    def again(self, pending: Boundaries) -> bytes | None:
        """Return the bytes of a batch that may have been sent; None while they cannot be read."""
        if self._cut is not None and self._cut[1] == pending:
            return self._cut[2]
        if self.is_gone(pending):
            return None
        files = self._files_of(pending)
        reading = read_records(files, start=pending.start, end=pending.end, most_bytes=sys.maxsize)
        self._note(reading)
        segment = self._registry.segments.get((pending.source, pending.segment))
        if segment is None or not reading.records or reading.problem:
            if reading.ended:
                self._vanished = pending
            return None
        payload = b"".join(record.line for record in reading.records)
        self._cut = (segment, pending, payload)
        return payload

    def is_gone(self, pending: Boundaries) -> bool:
        """Whether records of a batch are not in the journal any more."""
        files = self._files_of(pending)
        if pending == self._vanished or (self._files and not files):
            return True
        return bool(files) and files[0].first > (pending.start or pending.end - 1)

    def next_batch(self, entry: Log, *, most_bytes: int, now: float) -> tuple[Segment, Boundaries, bytes] | None:
        """Return the next records of a sequence as a batch; None if there are none now."""
        if self._cut is not None:
            segment, boundaries, _ = self._cut
            if segment.acked == boundaries.start:
                return self._cut  # it could not be made durable, so it was not sent
            self._cut = None
        self._finish_gone(entry)
        for name in list(self._turns):
            self._turns.remove(name)
            if not self._readable(name):
                continue
            self._turns.append(name)
            segment = self._segment(entry, name, now=now)
            records = self._next_records(segment, name, most_bytes=most_bytes)
            if records:
                self._cut = self._batch(segment, records, now=now)
                return self._cut
        return None

    def _files_of(self, pending: Boundaries) -> list[JournalFile]:
        names = [name for name in self._files if segment_of(name) == pending.segment]
        return self._readable(names[0]) if names else []

    def _readable(self, name: str) -> list[JournalFile]:
        return [file for file in self._files.get(name, []) if _mark(file) not in self._unreadable]

    def _next_records(self, segment: Segment, name: str, *, most_bytes: int) -> list[Record]:
        files = self._readable(name)
        marks = tuple(map(_mark, files))
        if self._read_to_end.get(name) == marks:
            return []
        if segment.acked and files[0].first > segment.acked:
            self._lose(segment, files[0].first, *self._why_gone(name))
        # The first batch has no known beginning: all of it is there as long as its only file is.
        end = None if segment.acked else files[0].last + 1
        reading = read_records(files, start=segment.acked, most_bytes=most_bytes, end=end)
        self._note(reading)
        expected = segment.acked
        for index, record in enumerate(reading.records):
            # The last record of a file is one: where it did not come, the file is damaged before it.
            unread = max((file.last for file in files if expected <= file.last < record.number), default=None)
            if index and (unread is not None or not record.line):
                return reading.records[:index]  # what comes before it first
            if unread is not None:
                self._lose(segment, unread + 1, LossReason.UNREADABLE, "records that journalctl does not show")
            if not record.line:
                self._lose(segment, record.number + 1, LossReason.LINE_TOO_LONG, "a record that is too long")
                return []
            if not segment.acked and record.number > _MOST_COVERED:
                self._lose(segment, record.number, LossReason.GONE_WHILE_AWAY, "before the first reading")
            expected = record.number + 1
        if reading.ended:
            if not reading.records and files[-1].archived and files[-1].last >= segment.acked:
                self._lose(segment, files[-1].last + 1, LossReason.UNREADABLE, "records that journalctl does not show")
            self._read_to_end[name] = marks
        return reading.records

    def _batch(self, segment: Segment, records: Sequence[Record], *, now: float) -> tuple[Segment, Boundaries, bytes]:
        end = records[-1].number + 1
        segment.size = max(segment.size, end)
        self._registry.changed[segment] = None
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
        return segment, boundaries, b"".join(record.line for record in records)

    def _segment(self, entry: Log, name: str, *, now: float) -> Segment:
        number = segment_of(name)
        segment = self._registry.segments.get((entry.source, number))
        if segment is None:
            segment = Segment(
                source=entry.source,
                stream=self._stream,
                segment=number,
                head=0,
                path=Path(name),
                inode=number,
                grown_at=now,
            )
            self._registry.add(segment)
            self._registry.changed[segment] = None
        if segment.closed:
            segment.closed = False
            self._registry.changed[segment] = None
            entry.segments.append(segment)
        segment.found = True
        segment.live = True
        return segment

    def _finish_gone(self, entry: Log) -> None:
        """Finish sequences of which no file is left."""
        for segment in list(entry.segments) if self._files else ():
            name = str(segment.path)
            if name in self._files:
                continue
            if segment.acked < segment.size:
                self._lose(segment, segment.size, LossReason.ROTATED_AWAY, "gone from the journal")
            elif not segment.found:
                detail = "no file of the sequence is left"
                self._losses.append(JournalLoss(segment, segment.acked, 0, LossReason.GONE_WHILE_AWAY, detail))
            self._read_to_end.pop(name, None)
            self._registry.finish(segment)

    def _why_gone(self, name: str) -> tuple[LossReason, str]:
        if len(self._readable(name)) < len(self._files[name]):
            return LossReason.UNREADABLE, "in a file that cannot be read"
        return LossReason.ROTATED_AWAY, "vacuumed from the journal"

    def _lose(self, segment: Segment, end: int, reason: LossReason, detail: str) -> None:
        """Go on after records that cannot be had."""
        self._losses.append(JournalLoss(segment, segment.acked, end, reason, detail))
        segment.acked = end
        segment.size = max(segment.size, end)
        self._registry.changed[segment] = None

    def _note(self, reading: Reading) -> None:
        self._unreadable.update(map(_mark, reading.unreadable))
        self._problem = "" if reading.unreadable else reading.problem


def _mark(file: JournalFile) -> _Mark:
    return file.inode, file.records
