"""Which files are open: all that are read, within the limit of descriptors.

A file that still has its name can be closed and opened again; one without a name is lost when it is closed.
"""

import resource
from collections.abc import Iterator
from pathlib import Path

from kobs.collectors.logs.segments import GzipFile, PlainFile, open_segment
from kobs.collectors.logs.sources import Segment


class OpenFiles:
    """The open files of all segments. `problems` has a sentence for each path that cannot be opened or read."""

    def __init__(self) -> None:
        self._open: dict[Segment, None] = {}
        # Half for files: the other half is for sockets, the state, and what is being looked at.
        self._most = max(resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2, 16)
        self.problems: dict[str, str] = {}

    def __iter__(self) -> Iterator[Segment]:
        """Yield the segments whose files are open."""
        yield from self._open

    def open_path(self, path: Path) -> PlainFile | GzipFile | None:
        """Open a file; None where it is gone, or cannot be opened, which is among the problems then."""
        try:
            opened = open_segment(path)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                self.problems[str(path)] = f"{path}: {error.strerror}"
            return None
        self.problems.pop(str(path), None)
        return opened

    def open(self, segment: Segment) -> PlainFile | GzipFile | None:
        """Return the segment's open file, opening it by its path if need be; None if it is not there any more."""
        if segment.file is None and segment.found:
            opened = self.open_path(segment.path)
            if opened is None:
                return None
            if not opened.compressed and opened.state().inode != segment.inode:
                opened.close()
                return None
            self.keep(segment, opened)
        return segment.file

    def keep(self, segment: Segment, opened: PlainFile | GzipFile) -> None:
        """Keep a file open; where too many are, close one that can be opened again by its name."""
        segment.file = opened
        self._open.pop(segment, None)
        self._open[segment] = None
        if len(self._open) > self._most:
            for other in list(self._open):
                if other.file is None or (other is not segment and other.found and other.gone_at is None):
                    self.close(other)
                    break

    def close(self, segment: Segment) -> None:
        """Give a segment's descriptor back."""
        self._open.pop(segment, None)
        segment.close_file()
