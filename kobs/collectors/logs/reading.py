"""Reads one source's segments: which bytes come next, where a batch of them ends, and when a file has ended.

Arrives: a source whose turn it is. Leaves: the boundaries of its next batch and the bytes, in the order of its files;
or the bytes of boundaries that were cut before. Lost: what cannot be read any more, each time on record.
"""

import time

from kobs import telemetry
from kobs.collectors.logs.cutting import complete_to, finished_to, lines_to
from kobs.collectors.logs.losses import Losses
from kobs.collectors.logs.registry import Registry
from kobs.collectors.logs.segments import DamagedError, GzipFile, PlainFile
from kobs.collectors.logs.sources import Log, Segment
from kobs.collectors.logs.state import Boundaries
from kobs.config import AgentSettings
from kobs.model.logs import LossReason
from kobs.wire.ship import GROUPING_VERSION

_LONGEST_BATCH_BYTES = 4 * 1024 * 1024
_SKIPPED_AT_ONCE_BYTES = 16 * 1024 * 1024
PARTIAL_HOLD_SECONDS = 10.0
"""How long a partial line may keep the complete lines of the other stream behind it waiting."""
_ROTATED_GRACE_SECONDS = 1.0
"""How long a writer may go on with a renamed file before its last entry is taken as finished."""
_DELETED_GRACE_SECONDS = 60.0
"""How long a deleted file is kept open for a writer that goes on with it."""
COPY_GRACE_SECONDS = 5.0
"""How long to look for the copy of a file that was truncated before its unread bytes are lost."""

log = telemetry.get_logger(__name__)

Cut = tuple[Boundaries, bytes]


class Reader:
    """Reads segments of the registry."""

    def __init__(self, settings: AgentSettings, registry: Registry, losses: Losses) -> None:
        self._settings = settings
        self._registry = registry
        self._losses = losses

    def is_unchanged(self, segment: Segment, *, now: float) -> bool:
        """Whether a live file that is read to its end has not grown: one look at its size."""
        if not segment.live or segment.acked != segment.size or segment.waiting_since is not None or segment.skipping:
            return False
        if segment.file is None or segment.file.compressed:
            return False
        state = segment.file.state()
        if state.links == 0 or state.size != segment.size:
            return False
        segment.checked_at = now
        return True

    def again(self, segment: Segment, pending: Boundaries, *, now: float) -> bytes | None:
        """Return the bytes of a batch that was cut before; None if they are not there."""
        if segment.file is not None and not segment.file.compressed:
            self._was_rewritten(segment, now=now)
        payload = self._bytes_of(segment, pending.start, pending.end)
        if payload is not None and pending.tail_end:
            tail = self._registry.segments.get((pending.source, pending.tail_segment))
            rest = None if tail is None else self._bytes_of(tail, 0, pending.tail_end)
            payload = None if rest is None else payload + rest
        return payload

    def next_cut(self, entry: Log, segment: Segment, *, now: float) -> Cut | None:
        """Return the next batch of a segment; None if there is none now. Finishes the segment where it has ended."""
        if segment.file is None and segment.found and self._is_untouched(segment):
            return None
        opened = self._registry.files.open(segment)
        if opened is None:
            self._give_up_unopened(segment, now=now)
            return None
        try:
            read = self._read_on(segment, opened, now=now)
        except DamagedError as error:
            self._losses.lose(segment, error.offset, 0, LossReason.UNREADABLE, detail=str(error))
            self._registry.finish(segment)
            return None
        except OSError as error:
            self._registry.files.problems[str(segment.path)] = f"{segment.path}: {error.strerror}"
            return None
        if read is None:
            return None
        data, end, at_end = read
        if at_end and not data:
            segment.waiting_since = None
            self._finish_if_final(entry, segment, now=now)
            return None
        if at_end and end < len(data) and self._is_final(segment, now=now):
            # All of it at once: a container that rotates fast has many such files.
            last = self._last_batch(entry, segment, data, now=now)
            if last is not None or end == 0:
                return last
        elif at_end and end == 0:
            end = self._overdue_cut(segment, data, now=now)
        if end == 0:
            return None
        segment.waiting_since = now if end < len(data) else None
        return self._boundaries(segment, segment.acked + end), data[:end]

    def _bytes_of(self, segment: Segment, start: int, end: int) -> bytes | None:
        opened = self._registry.files.open(segment)
        if opened is None:
            return None
        try:
            data = opened.read(start, end - start)
        except (DamagedError, OSError):
            return None
        return data if len(data) == end - start else None

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
        segment.note_size(state.size, state.modified_ns, now=now, now_ns=time.time_ns())
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
            self._losses.lose(segment, start, at, LossReason.LINE_TOO_LONG)
            segment.acked = at
            segment.size = max(segment.size, at)
            self._registry.changed[segment] = None
        return not segment.skipping

    def _overdue_cut(self, segment: Segment, data: bytes, *, now: float) -> int:
        """Return where to cut when the rest of an open entry has not come in time; 0 to go on waiting."""
        if segment.waiting_since is None:
            segment.waiting_since = now
        waited = now - segment.waiting_since
        if waited < self._settings.hold_ms / 1000:
            return 0
        end = complete_to(data, format=segment.stream.format)
        if end == 0 and waited >= PARTIAL_HOLD_SECONDS and data.count(b"\n") > 1:
            end = lines_to(data)
        return end

    def _is_final(self, segment: Segment, *, now: float) -> bool:
        """Whether a file at its end will not grow any more, as far as can be known."""
        if segment.file is not None and segment.file.compressed:
            return True
        quiet = now - segment.grown_at
        if segment.gone_at is not None and segment.rotated_at is None:
            replaced = any(other is not segment for other in self._registry.logs[segment.source].segments)
            grace = _ROTATED_GRACE_SECONDS if replaced or segment.is_container else _DELETED_GRACE_SECONDS
            return quiet >= grace and now - segment.gone_at >= grace
        if segment.rotated_at is not None:
            return quiet >= _ROTATED_GRACE_SECONDS and now - segment.rotated_at >= _ROTATED_GRACE_SECONDS
        return False

    def _finish_if_final(self, entry: Log, segment: Segment, *, now: float) -> None:
        if self._is_final(segment, now=now):
            self._registry.finish(segment)
            if entry.segments:
                entry.segments[0].waiting_since = None

    def _last_batch(self, entry: Log, segment: Segment, data: bytes, *, now: float) -> Cut | None:
        """Return the end of a file, with the beginning of its successor where an entry goes on there."""
        end = segment.acked + len(data)
        successor = entry.segments[1] if len(entry.segments) > 1 else None
        # A line that was torn before its newline does not go on in another file.
        joins = segment.is_container and data.endswith(b"\n")
        if successor is None or successor.acked > 0 or not joins:
            return self._boundaries(segment, end), data
        opened = self._registry.files.open(successor)
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
            if cut < len(data) and waited < PARTIAL_HOLD_SECONDS:
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

    def _give_up_unopened(self, segment: Segment, *, now: float) -> None:
        """A file cannot be opened: wait for it to come back, then give it up."""
        if segment.gone_at is None:
            if segment.path.exists():
                return  # not readable now: it is among the problems, and tried again
            segment.gone_at = now
        if now - segment.gone_at < COPY_GRACE_SECONDS:
            return  # it may have grown since its size was last seen, and be there under another name
        if segment.acked < segment.size:
            self._losses.lose(segment, segment.acked, segment.size, LossReason.ROTATED_AWAY)
            segment.acked = segment.size
        self._registry.finish(segment)
