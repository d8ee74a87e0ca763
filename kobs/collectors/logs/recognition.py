"""Knows files again: which known segment a file is, under whatever name, or none.

A container's file is told by its first line's time. A plain file is known again by inode and first line when it was
renamed, by its first line and content when it was copied or compressed.
"""

from collections.abc import Mapping

from kobs.collectors.logs.discovery import Found
from kobs.collectors.logs.identity import segment_of
from kobs.collectors.logs.open_files import OpenFiles
from kobs.collectors.logs.segments import DamagedError, GzipFile, PlainFile
from kobs.collectors.logs.sources import Segment
from kobs.wire.ship import LineFormat

_COMPARED_BYTES = 64 * 1024


class Recognition:
    """Compares files with the known segments."""

    def __init__(self, segments: Mapping[tuple[int, int], Segment], files: OpenFiles) -> None:
        self._segments = segments
        self._files = files
        self._inodes: dict[tuple[int, int], Segment] = {}

    def learn(self, segment: Segment) -> None:
        """Take note of the inode that a segment has."""
        self._inodes[segment.inode, segment.head] = segment

    def forget(self, segment: Segment) -> None:
        """A file with this inode and first line is not the segment any more."""
        self._inodes.pop((segment.inode, segment.head), None)

    def recognise(
        self, found: Found, source: int, head: int, line: bytes, opened: PlainFile | GzipFile
    ) -> Segment | None:
        """Return the known segment that a file of a source with this first line is; None if it is a new one."""
        if found.stream.format is LineFormat.CRI:
            same = self._segments.get((source, segment_of(found.stream, line, inode=found.inode)))
            truncated = same is not None and not opened.compressed and found.size < same.acked
            return None if truncated else same
        same_file = self._inodes.get((found.inode, head))
        if same_file is not None and not opened.compressed and found.size >= same_file.acked:
            return same_file
        if found.is_live:
            return None
        candidates = [
            segment for segment in self._segments.values() if segment.source == source and segment.head == head
        ]
        # First those whose own file is gone or was truncated: they wait for their copy.
        candidates.sort(key=lambda segment: segment.found)
        return next((segment for segment in candidates if self._is_copy(opened, segment)), None)

    def _is_copy(self, opened: PlainFile | GzipFile, segment: Segment) -> bool:
        """Whether a file with a segment's first line has its content too, as far as the segment can be read."""
        original = self._files.open(segment)
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
