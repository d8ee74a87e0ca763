"""A source and its segments, as the agent follows them. Times are monotonic seconds, offsets bytes."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from kobs.collectors.logs.segments import GzipFile, PlainFile
from kobs.collectors.logs.state import Boundaries, KnownSegment
from kobs.model.logs import SourceKind
from kobs.wire.ship import Stream


@dataclass(slots=True, eq=False)
class Segment:
    """One file of a source, as far as it is read."""

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
    checked_at: float = 0.0
    """When its size was looked at last."""
    waiting_since: float | None = None
    """Since when the bytes at `acked` wait for the rest of their entry."""
    skipping: bool = False
    """In the rest of a line that is too long."""
    claimed: tuple[int, bool] = (-1, False)
    """Size and end as the server was told last."""

    @property
    def is_container(self) -> bool:
        """Whether it is a container's: its old files do not grow once the new one is there."""
        return self.stream.source.kind is SourceKind.CONTAINER

    def unread_since_ns(self) -> int:
        """Return a time that none of its unread lines is before; 0 where that is not known.

        It is that of the last reading; for a container's file of which nothing was read, the time of its first line,
        which its segment is.
        """
        if self.last_ns or not self.is_container:
            return self.last_ns
        # of a first line that is not in the runtime's form, the segment is a hash
        return self.segment if 0 < self.segment <= (self.modified_ns or time.time_ns()) else 0

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

    @classmethod
    def restored(cls, known: KnownSegment) -> "Segment":
        """Return a segment as the state has it."""
        return cls(
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

    def note_size(self, size: int, modified_ns: int, *, now: float, now_ns: int) -> None:
        """Take note of a size that was just seen. When it grew is told by the file's time, within what is certain."""
        if size != self.size:
            self.size = size
            age = max(now_ns - modified_ns, 0) / 1e9
            self.grown_at = max(now - age, self.checked_at)
        self.checked_at = now

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
