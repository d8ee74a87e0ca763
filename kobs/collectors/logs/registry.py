"""Which segment each file is: what discovery found, matched with what is known.

A file is known again by inode and first line when it was renamed, by its first line and content when it was copied or
compressed. One source's segments are read one after another, oldest first.
"""

import resource
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from kobs import telemetry
from kobs.collectors.logs.discovery import Found, Look
from kobs.collectors.logs.identity import HEAD_BYTES, first_line, head_of, segment_of
from kobs.collectors.logs.segments import DamagedError, GzipFile, PlainFile, open_segment
from kobs.collectors.logs.state import Boundaries, KnownSegment, State
from kobs.model.logs import SourceKind
from kobs.wire.ship import LineFormat, SegmentPosition, Stream

_COMPARED_BYTES = 64 * 1024
_CHECKED_BYTES = 64

log = telemetry.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Segment:
    """One file of a source, as far as it is read. Times are monotonic seconds, offsets bytes."""

    source: int
    stream: Stream
    segment: int
    head: int
    path: Path
    inode: int
    generation: int = 0
    acked: int = 0
    size: int = 0
    modified_ns: int = 0
    closed: bool = False
    """Read to its end, and not growing."""
    last_ns: int = 0
    file: PlainFile | GzipFile | None = None
    beginning: bytes = b""
    """Its first bytes, by which a file that was rewritten in place is noticed."""
    live: bool = False
    found: bool = False
    """A look has found it since the agent started."""
    gone_at: float | None = None
    """Since when no name leads to it."""
    rotated_at: float | None = None
    grown_at: float = 0.0
    waiting_since: float | None = None
    """Since when the bytes at `acked` wait for the rest of their entry."""
    skipping: bool = False
    """In the rest of a line that is too long."""
    claimed: tuple[int, bool] = (-1, False)
    """Size and end as the server was told last."""
    dirty: bool = False
    """The state does not have the present values yet."""

    def known(self) -> KnownSegment:
        """Return the values that the state keeps."""
        return KnownSegment(
            source=self.source,
            segment=self.segment,
            stream=self.stream,
            head=self.head,
            path=str(self.path),
            inode=self.inode,
            generation=self.generation,
            acked=self.acked,
            size=self.size,
            closed=self.closed,
            last_ns=self.last_ns,
        )

    def close_file(self) -> None:
        """Give the descriptor back; the segment can be opened again by its path."""
        if self.file is not None:
            self.file.close()
            self.file = None


@dataclass(slots=True, eq=False)
class Log:
    """A source with its unfinished segments, oldest first, and the batch of it that may have been sent."""

    source: int
    stream: Stream
    segments: list[Segment] = field(default_factory=list)
    pending: Boundaries | None = None
    placed: bool = True
    """The server need not be asked what it has of this source."""
    next_look: float = 0.0


class Registry:
    """All sources and segments of the node."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.logs: dict[int, Log] = {}
        self.segments: dict[tuple[int, int], Segment] = {}
        self._paths: dict[Path, tuple[int, Segment]] = {}
        self._folders: dict[Path, set[Path]] = {}
        self._inodes: dict[tuple[int, int], Segment] = {}
        self._unidentified: dict[Path, Found] = {}
        self._placed: dict[tuple[int, int], int] = {}
        self._looked = False
        self._open: dict[Segment, None] = {}
        # Half for files: the other half is for sockets, the state, and what is being looked at.
        self._most_open = max(resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2, 16)
        self.problems: dict[str, str] = {}
        for known in state.segments():
            self._restore(known)
        for batch in state.batches():
            self._log_of(batch.source, None).pending = batch

    def log_of(self, stream: Stream) -> Log:
        """Return the entry of a source, new if need be."""
        return self._log_of(stream.source.id(), stream)

    def update(self, look: Look | None, *, now: float) -> None:
        """Take in what a look found; without one, look again at files that had no complete first line yet."""
        if look is None:
            for found in list(self._unidentified.values()):
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
        if not self._looked:
            self._looked = True
            for segment in self.segments.values():
                if not segment.found and segment.gone_at is None:
                    segment.gone_at = now

    def missing(self) -> Iterable[Segment]:
        """Yield segments that no look has found since the agent started."""
        if self._looked:
            yield from (segment for segment in self.segments.values() if self.is_missing(segment))

    def is_missing(self, segment: Segment) -> bool:
        """Whether the state knows a segment that no look has found since the agent started."""
        if not self._looked or segment.found or segment.closed:
            return False
        return segment.stream.format is not LineFormat.JOURNAL

    def cannot_read(self, source: int) -> bool:
        """Whether a file of a source is there that cannot be opened or read now."""
        return any(
            found.stream.source.id() == source and str(path) in self.problems
            for path, found in self._unidentified.items()
        )

    def has_head(self, source: int, head: int) -> bool:
        """Whether a file of a source is known that begins with this first line."""
        return any(segment.source == source and segment.head == head for segment in self.segments.values())

    @property
    def looked(self) -> bool:
        """Whether a first full look has been taken in."""
        return self._looked

    def open(self, segment: Segment) -> PlainFile | GzipFile | None:
        """Return the segment's open file, opening it by its path if need be; None if it is not there any more."""
        if segment.file is None and segment.found:
            try:
                opened = open_segment(segment.path)
            except OSError as error:
                if not isinstance(error, FileNotFoundError):
                    self.problems[str(segment.path)] = f"{segment.path}: {error.strerror}"
                return None
            if not opened.compressed and opened.state().inode != segment.inode:
                opened.close()
                return None
            self.problems.pop(str(segment.path), None)
            self._attach(segment, opened)
        return segment.file

    def _attach(self, segment: Segment, opened: PlainFile | GzipFile) -> None:
        """Keep a file open; where too many are, close one that can be opened again by its name."""
        segment.file = opened
        self._open.pop(segment, None)
        self._open[segment] = None
        if len(self._open) > self._most_open:
            for other in list(self._open):
                if other.file is None or (other is not segment and other.found and other.gone_at is None):
                    self._close(other)
                    break

    def _close(self, segment: Segment) -> None:
        self._open.pop(segment, None)
        segment.close_file()

    def place(self, log_: Log, positions: list[SegmentPosition]) -> None:
        """Take over what the store has of a source: an agent without state goes on from there."""
        free = {position.segment: position for position in positions}
        mine = [segment for segment in self.segments.values() if segment.source == log_.source]
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
        self._placed.update({(log_.source, number): position.delivered for number, position in free.items()})
        log_.placed = True

    def restart_in_place(self, segment: Segment, *, now: float) -> None:
        """Take note that a file was truncated or rewritten under its name: what comes now is another segment."""
        if segment.live:
            self._unidentified[segment.path] = Found(
                segment.path, segment.path, segment.stream, segment.inode, size=0, modified_ns=0
            )
        self._close(segment)
        segment.live = False
        segment.rotated_at = now
        self._paths.pop(segment.path, None)
        self._inodes.pop((segment.inode, segment.head), None)
        copies = [(path, inode) for path, (inode, known) in self._paths.items() if known is segment]
        if copies:
            segment.path, segment.inode = copies[0]
        else:
            segment.found = False
            segment.gone_at = now

    def finish(self, segment: Segment) -> None:
        """Take note that a segment is read to its end."""
        segment.closed = True
        segment.dirty = True
        self._close(segment)
        log_ = self.logs[segment.source]
        if segment in log_.segments:
            log_.segments.remove(segment)

    def forget(self, segment: Segment) -> None:
        """Drop a segment that can't come back."""
        self.segments.pop((segment.source, segment.segment), None)
        self._inodes.pop((segment.inode, segment.head), None)
        self._close(segment)
        log_ = self.logs.get(segment.source)
        if log_ is not None and not log_.segments and log_.pending is None:
            del self.logs[segment.source]

    def _advance(self, segment: Segment, delivered: int) -> None:
        if delivered > segment.acked:
            segment.acked = delivered
            segment.size = max(segment.size, delivered)
            segment.dirty = True

    def _restore(self, known: KnownSegment) -> None:
        segment = Segment(
            source=known.source,
            stream=known.stream,
            segment=known.segment,
            head=known.head,
            path=Path(known.path),
            inode=known.inode,
            generation=known.generation,
            acked=known.acked,
            size=known.size,
            closed=known.closed,
            last_ns=known.last_ns,
        )
        self.add(segment)

    def add(self, segment: Segment) -> None:
        """Make a segment known, with what the server said it has of it."""
        delivered = self._placed.pop((segment.source, segment.segment), 0)
        self._advance(segment, delivered)
        self.segments[segment.source, segment.segment] = segment
        self._inodes[segment.inode, segment.head] = segment
        log_ = self._log_of(segment.source, segment.stream)
        if not segment.closed:
            self._enqueue(log_, segment)

    def _enqueue(self, log_: Log, segment: Segment) -> None:
        if segment not in log_.segments:
            log_.segments.append(segment)
        if segment.stream.format is LineFormat.CRI:
            log_.segments.sort(key=lambda each: each.segment)
        log_.next_look = 0.0

    def _log_of(self, source: int, stream: Stream | None) -> Log:
        found = self.logs.get(source)
        if found is None:
            if stream is None:
                raise KeyError(source)
            found = self.logs[source] = Log(source, stream, placed=not self._state.fresh)
        if stream is not None:
            found.stream = stream
        return found

    def _take(self, found: Found, *, now: float) -> None:
        before = self._paths.get(found.path)
        if before is not None and before[0] == found.inode:
            segment = before[1]
            if segment.file is not None or (segment.modified_ns == found.modified_ns and segment.found):
                return
        identified = self._identify(found, now=now)
        if identified is None:
            self._unidentified[found.path] = found
            return
        self._unidentified.pop(found.path, None)
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
        self._attach(segment, opened)
        if not opened.compressed:
            segment.size = max(segment.size, found.size)
            segment.inode = found.inode
            self._inodes[segment.inode, segment.head] = segment
        self._set_live(segment, live=is_live, now=now)
        if segment.closed:
            if opened.compressed or found.size <= segment.acked:
                segment.size = max(segment.size, segment.acked)
                self._close(segment)
                return
            segment.closed = False  # it has grown after all
        segment.grown_at = now
        self._enqueue(self.logs[segment.source], segment)

    def _set_live(self, segment: Segment, *, live: bool, now: float) -> None:
        if live:
            segment.rotated_at = None
        elif segment.live or segment.rotated_at is None:
            segment.rotated_at = now
        segment.live = live

    def _identify(self, found: Found, *, now: float) -> tuple[Segment, PlainFile | GzipFile] | None:
        try:
            opened = open_segment(found.path)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                self.problems[str(found.path)] = f"{found.path}: {error.strerror}"
            return None
        self.problems.pop(str(found.path), None)
        try:
            beginning = opened.read(0, HEAD_BYTES)
        except (DamagedError, OSError) as error:
            self.problems[str(found.path)] = str(error)
            opened.close()
            return None
        line = first_line(beginning)
        if line is None or (not opened.compressed and opened.state().inode != found.inode):
            opened.close()
            return None
        head = head_of(line)
        source = found.stream.source.id()
        segment = self._known_as(found, source, head, line, opened)
        if segment is None:
            segment = self._new_segment(found, source, head, line, now=now)
        if not segment.beginning:
            segment.beginning = beginning[:_CHECKED_BYTES]
        return segment, opened

    def _known_as(
        self, found: Found, source: int, head: int, line: bytes, opened: PlainFile | GzipFile
    ) -> Segment | None:
        """Return the known segment that a file is, under whatever name it was known."""
        if found.stream.format is LineFormat.CRI:
            same = self.segments.get((source, segment_of(found.stream, line, inode=found.inode)))
            truncated = same is not None and not opened.compressed and found.size < same.acked
            return None if truncated else same
        same_file = self._inodes.get((found.inode, head))
        if same_file is not None and not opened.compressed and found.size >= same_file.acked:
            return same_file
        if found.is_live:
            return None
        candidates = [
            segment for segment in self.segments.values() if segment.source == source and segment.head == head
        ]
        # First those whose own file is gone or was truncated: they wait for their copy.
        candidates.sort(key=lambda segment: segment.found)
        return next((segment for segment in candidates if self._is_copy(opened, segment)), None)

    def _is_copy(self, opened: PlainFile | GzipFile, segment: Segment) -> bool:
        """Whether a file with a segment's first line has its content too, as far as the segment can be read."""
        original = self.open(segment)
        if original is None:
            return True
        try:
            ours, theirs = original.read(0, _COMPARED_BYTES), opened.read(0, _COMPARED_BYTES)
        except (DamagedError, OSError):
            return False
        if not ours.startswith(segment.beginning):
            ours = segment.beginning  # the original was truncated since
        length = min(len(ours), len(theirs))
        return ours[:length] == theirs[:length]

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
            dirty=True,
            grown_at=now,
        )
        self.add(segment)
        return segment

    def _rename_segment(self, segment: Segment, number: int) -> None:
        del self.segments[segment.source, segment.segment]
        segment.segment = number
        self.segments[segment.source, number] = segment
        segment.dirty = True

    def _lose_name(self, path: Path, *, now: float) -> None:
        self._unidentified.pop(path, None)
        before = self._paths.pop(path, None)
        if before is None:
            return
        segment = before[1]
        if segment.path == path:
            segment.gone_at = now
            segment.live = False
            self.logs[segment.source].next_look = 0.0


def is_container(segment: Segment) -> bool:
    """Whether a segment is a container's: its old files do not grow once the new one is there."""
    return segment.stream.source.kind is SourceKind.CONTAINER
