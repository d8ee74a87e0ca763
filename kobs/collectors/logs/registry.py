"""All sources and segments of the node: what looks found, what the server has, matched with what is known.

One source's segments are read one after another, oldest first. A source is woken where something of it may be read.
"""

import time
from pathlib import Path

from kobs.collectors.logs.discovery import Found, Look
from kobs.collectors.logs.identity import HEAD_BYTES, first_line, head_of, segment_of
from kobs.collectors.logs.open_files import OpenFiles
from kobs.collectors.logs.recognition import Recognition
from kobs.collectors.logs.segments import DamagedError, GzipFile, PlainFile
from kobs.collectors.logs.sources import Log, Segment
from kobs.collectors.logs.state import KnownSegment, State
from kobs.collectors.logs.turns import Turns
from kobs.collectors.logs.unidentified import Unidentified
from kobs.wire.ship import LineFormat, SegmentPosition, Stream

_CHECKED_BYTES = 64


class Registry:
    """All sources and segments of the node."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.logs: dict[int, Log] = {}
        self.segments: dict[tuple[int, int], Segment] = {}
        self.files = OpenFiles()
        self.turns = Turns()
        self.changed: dict[Segment, None] = {}
        """Segments of which the state does not have the present values yet."""
        self.unplaced: dict[int, Log] = {}
        """Sources of which the server has to say what it has."""
        self.missing: dict[Segment, None] = {}
        """Segments of the state that no look has found since the agent started."""
        self._recognition = Recognition(self.segments, self.files)
        self._paths: dict[Path, tuple[int, Segment]] = {}
        self._folders: dict[Path, set[Path]] = {}
        self.unidentified = Unidentified()
        self._placed: dict[tuple[int, int], int] = {}
        self._full_looks = 0
        for known in state.segments():
            self._restore(known)
        for batch in state.batches():
            self._log_of(batch.source, None).pending = batch

    @property
    def looked(self) -> bool:
        """Whether a first full look has been taken in."""
        return self._full_looks > 0

    @property
    def looked_again(self) -> bool:
        """Whether two full looks have been: the first misses a file that gets another name while it goes on."""
        return self._full_looks > 1

    def log_of(self, stream: Stream) -> Log:
        """Return the entry of a source, new if need be."""
        return self._log_of(stream.source.id(), stream)

    def update(self, look: Look | None, *, now: float) -> None:
        """Take in what a look found; without one, look again at files that had no complete first line yet."""
        if look is None:
            for found in self.unidentified.due(now, unreadable=self.files.problems):
                self._take(found, now=now)
            return
        by_folder: dict[Path, set[Path]] = {folder: set() for folder in look.folders}
        # Older files first, so that a renamed file is known before its successor.
        for found in sorted(look.found, key=lambda found: (found.is_live, found.modified_ns)):
            by_folder.setdefault(found.path.parent, set()).add(found.path)
            self._take(found, now=now)
        if look.full:
            by_folder |= {folder: set() for folder in self._folders.keys() - look.folders}
        for folder, paths in by_folder.items():
            for gone in self._folders.get(folder, set()) - paths:
                self._lose_name(gone, now=now)
            self._folders[folder] = paths
            if not paths:
                del self._folders[folder]
        if look.full:
            self._full_looks += 1
            if self._full_looks == 1:
                self._begin_missing(now=now)

    def _begin_missing(self, *, now: float) -> None:
        for segment in self.segments.values():
            if segment.found:
                continue
            if segment.gone_at is None:
                segment.gone_at = now
            if not segment.closed and segment.stream.format is not LineFormat.JOURNAL:
                self.missing[segment] = None

    def cannot_read(self, source: int) -> bool:
        """Whether a file of a source is there that cannot be opened or read now."""
        return any(
            found.stream.source.id() == source and str(found.path) in self.files.problems for found in self.unidentified
        )

    def has_head(self, source: int, head: int) -> bool:
        """Whether a file of a source is known that begins with this first line."""
        return any(segment.source == source and segment.head == head for segment in self.segments.values())

    def displace(self, entry: Log) -> None:
        """Have the server asked what it has of a source, before the source is read on."""
        entry.placed = False
        self.unplaced[entry.source] = entry

    def place(self, entry: Log, positions: list[SegmentPosition]) -> None:
        """Take over what the store has of a source: an agent without state goes on from there."""
        free = {position.segment: position for position in positions}
        mine = [segment for segment in self.segments.values() if segment.source == entry.source]
        for segment in mine:
            position = free.pop(segment.segment, None)
            if position is not None:
                self._advance(segment, position.delivered)
        for segment in mine:
            # A compressed plain file has an inode of its own: only its first line tells which segment it is.
            if segment.acked == 0 and segment.stream.format is LineFormat.PLAIN and segment.path.suffix == ".gz":
                match = [position for position in free.values() if position.head == segment.head]
                if len(match) == 1:
                    self._rename_segment(segment, match[0].segment)
                    self._advance(segment, match[0].delivered)
                    del free[match[0].segment]
        # Files that are found later may be among the rest.
        self._placed.update({(entry.source, number): position.delivered for number, position in free.items()})
        entry.placed = True
        self.unplaced.pop(entry.source, None)
        self.turns.wake(entry.source)

    def restart_in_place(self, segment: Segment, *, now: float) -> None:
        """Take note that a file was truncated or rewritten under its name: what comes now is another segment."""
        if segment.live:
            self.unidentified.add(
                Found(segment.path, segment.path, segment.stream, segment.inode, size=0, modified_ns=0), now=now
            )
        self.files.close(segment)
        segment.live = False
        segment.rotated_at = now
        self._paths.pop(segment.path, None)
        self._recognition.forget(segment)
        copies = [(path, inode) for path, (inode, known) in self._paths.items() if known is segment]
        if copies:
            segment.path, segment.inode = copies[0]
        else:
            segment.found = False
            segment.gone_at = now

    def finish(self, segment: Segment) -> None:
        """Take note that a segment is read to its end."""
        segment.closed = True
        self.changed[segment] = None
        self.missing.pop(segment, None)
        self.files.close(segment)
        entry = self.logs[segment.source]
        if segment in entry.segments:
            entry.segments.remove(segment)
        self.turns.wake(entry.source)

    def forget(self, segment: Segment) -> None:
        """Drop a segment that can't come back."""
        self.segments.pop((segment.source, segment.segment), None)
        self.changed.pop(segment, None)
        self.missing.pop(segment, None)
        self._recognition.forget(segment)
        self.files.close(segment)
        entry = self.logs.get(segment.source)
        if entry is not None and not entry.segments and entry.pending is None:
            del self.logs[segment.source]
            self.unplaced.pop(segment.source, None)

    def _advance(self, segment: Segment, delivered: int) -> None:
        if delivered > segment.acked:
            segment.acked = delivered
            segment.size = max(segment.size, delivered)
            self.changed[segment] = None

    def _restore(self, known: KnownSegment) -> None:
        self.add(Segment.restored(known))

    def add(self, segment: Segment) -> None:
        """Make a segment known, with what the server said it has of it."""
        delivered = self._placed.pop((segment.source, segment.segment), 0)
        self._advance(segment, delivered)
        self.segments[segment.source, segment.segment] = segment
        self._recognition.learn(segment)
        entry = self._log_of(segment.source, segment.stream)
        if not segment.closed:
            self._enqueue(entry, segment)

    def _enqueue(self, entry: Log, segment: Segment) -> None:
        if segment not in entry.segments:
            entry.segments.append(segment)
        _sort(entry)
        self.turns.wake(entry.source)

    def _log_of(self, source: int, stream: Stream | None) -> Log:
        found = self.logs.get(source)
        if found is None:
            if stream is None:
                raise KeyError(source)
            found = self.logs[source] = Log(source, stream, placed=not self._state.fresh)
            if not found.placed:
                self.unplaced[source] = found
            self.turns.wake(source)
        if stream is not None:
            found.stream = stream
        return found

    def _take(self, found: Found, *, now: float) -> None:
        before = self._paths.get(found.path)
        if before is not None and before[0] == found.inode:
            segment = before[1]
            if found.size != segment.size and segment.file is not None and not segment.file.compressed:
                self.turns.wake(segment.source)  # an event was missed, or cannot be had
            if segment.file is not None or (segment.modified_ns == found.modified_ns and segment.found):
                return
        identified = self._identify(found, now=now)
        if identified is None:
            self.unidentified.add(found, now=now)
            return
        self.unidentified.remove(found.path)
        segment, opened = identified
        if before is not None and before[1] is not segment:
            self._lose_name(found.path, now=now)
        self._paths[found.path] = (found.inode, segment)
        # A file that was renamed to what looks like another source's name is still the file that it was.
        is_live = found.is_live and found.stream.source.id() == segment.source
        if segment.file is not None and segment.file is not opened:
            # The bytes are at hand already under another name, as with a copy or a .gz of a file that is still open.
            opened.close()
            if not segment.file.compressed and segment.inode == found.inode:
                segment.path = found.path
                segment.gone_at = None
                self._set_live(segment, live=is_live, now=now)
            return
        segment.path = found.path
        segment.modified_ns = found.modified_ns
        segment.gone_at = None
        segment.found = True
        self.missing.pop(segment, None)
        self.files.keep(segment, opened)
        if not opened.compressed:
            segment.size = max(segment.size, found.size)
            segment.inode = found.inode
            self._recognition.learn(segment)
        self._set_live(segment, live=is_live, now=now)
        if segment.closed:
            if opened.compressed or found.size <= segment.acked:
                segment.size = max(segment.size, segment.acked)
                self.files.close(segment)
                return
            segment.closed = False  # it has grown after all
        age = 0.0 if opened.compressed else max(time.time_ns() - found.modified_ns, 0) / 1e9
        segment.grown_at = now - age
        segment.checked_at = now
        self._enqueue(self.logs[segment.source], segment)

    def _set_live(self, segment: Segment, *, live: bool, now: float) -> None:
        if live:
            segment.rotated_at = None
        elif segment.live or segment.rotated_at is None:
            segment.rotated_at = now
        if live != segment.live:
            segment.live = live
            _sort(self.logs[segment.source])
            self.turns.wake(segment.source)

    def _identify(self, found: Found, *, now: float) -> tuple[Segment, PlainFile | GzipFile] | None:
        opened = self.files.open_path(found.path)
        if opened is None:
            return None
        try:
            beginning = opened.read(0, HEAD_BYTES)
        except (DamagedError, OSError) as error:
            self.files.problems[str(found.path)] = str(error)
            opened.close()
            return None
        line = first_line(beginning)
        if line is None or (not opened.compressed and opened.state().inode != found.inode):
            opened.close()
            return None
        head = head_of(line)
        source = found.stream.source.id()
        segment = self._recognition.recognise(found, source, head, line, opened)
        if segment is None:
            segment = self._new_segment(found, source, head, line, now=now)
        if not segment.beginning:
            segment.beginning = beginning[:_CHECKED_BYTES]
        return segment, opened

    def _new_segment(self, found: Found, source: int, head: int, line: bytes, *, now: float) -> Segment:
        generation = 0
        number = segment_of(found.stream, line, inode=found.inode)
        while (source, number) in self.segments:
            generation += 1
            number = segment_of(found.stream, line, inode=found.inode, generation=generation)
        segment = Segment(
            source=source,
            stream=found.stream,
            segment=number,
            head=head,
            path=found.path,
            inode=found.inode,
            generation=generation,
            grown_at=now,
        )
        self.add(segment)
        self.changed[segment] = None
        return segment

    def _rename_segment(self, segment: Segment, number: int) -> None:
        del self.segments[segment.source, segment.segment]
        segment.segment = number
        self.segments[segment.source, number] = segment
        self.changed[segment] = None

    def _lose_name(self, path: Path, *, now: float) -> None:
        self.unidentified.remove(path)
        before = self._paths.pop(path, None)
        if before is None:
            return
        segment = before[1]
        if segment.path == path:
            segment.gone_at = now
            segment.live = False
            self.turns.wake(segment.source)


def _sort(entry: Log) -> None:
    """Put a container's segments in the order in which they were written.

    Their numbers are times of the node's clock, which may be set back: the live file is the last all the same, and of
    others the one that was renamed first.
    """
    if entry.stream.format is LineFormat.CRI:
        entry.segments.sort(key=lambda each: (each.live, each.rotated_at or each.gone_at or 0.0, each.segment))
