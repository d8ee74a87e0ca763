"""Files that no name leads to any more: how long they are held, and when what is unread of them is lost.

A file without a name is readable as long as its descriptor is open. Unread bytes are given up beyond the limit of held
bytes, oldest files first; so is a file that the state knows and no look has found. Each loss is put on record.
"""

from kobs.collectors.logs.losses import Losses
from kobs.collectors.logs.registry import Registry
from kobs.collectors.logs.sources import Segment
from kobs.config import AgentSettings
from kobs.model.logs import LossReason, SourceKind

_FORGET_SECONDS = {SourceKind.CONTAINER: 600.0, SourceKind.FILE: 7 * 86_400.0, SourceKind.JOURNAL: float("inf")}
"""How long a finished segment is known after its file is gone: a compressed copy may turn up much later."""


class Vanishing:
    """Gives up what is gone. Times are monotonic seconds."""

    def __init__(self, settings: AgentSettings, registry: Registry, losses: Losses) -> None:
        self._settings = settings
        self._registry = registry
        self._losses = losses

    def held_bytes(self) -> int:
        """Return how many unread bytes only an open descriptor still leads to."""
        return sum(size for _, size in self._held())

    def give_up_missing(self, segment: Segment, *, now: float) -> None:
        """A segment that the state knows is gone: what of it is not stored cannot be read any more."""
        entry = self._registry.logs[segment.source]
        later = [other for other in entry.segments if other is not segment and other.found]
        was_unread = segment.acked < segment.size
        if was_unread:
            self._losses.lose(segment, segment.acked, segment.size, LossReason.ROTATED_AWAY)
            segment.acked = segment.size
        if later and not segment.rotated_at:
            # Its source went on in another file, so it has grown after it was read last.
            self._losses.lose(segment, segment.acked, 0, LossReason.ROTATED_AWAY)
        elif not later and not was_unread:
            self._losses.lose(segment, segment.acked, 0, LossReason.GONE_WHILE_AWAY)
        segment.gone_at = now
        self._registry.finish(segment)

    def _held(self) -> list[tuple[Segment, int]]:
        """Return the files that only a descriptor leads to, with how much of each is unread."""
        held = []
        for segment in self._registry.files:
            if segment.gone_at is None or segment.closed or segment.file is None or segment.file.compressed:
                continue
            segment.size = max(segment.size, segment.file.state().size)
            held.append((segment, max(segment.size - segment.acked, 0)))
        return held

    def keep_within_held_bytes(self) -> None:
        """Give up the oldest files that only a descriptor leads to, where they hold more than the limit."""
        held = self._held()
        total = sum(size for _, size in held)
        for segment, size in sorted(held, key=lambda pair: pair[0].gone_at or 0.0):
            if total <= self._settings.held_bytes:
                return
            pending = self._registry.logs[segment.source].pending
            if size == 0 or (pending is not None and segment.segment in (pending.segment, pending.tail_segment)):
                continue  # what may have been sent stays until it is known
            self._losses.lose(
                segment,
                segment.acked,
                segment.size,
                LossReason.ROTATED_AWAY,
                detail=f"held files exceed agent.held_bytes ({self._settings.held_bytes})",
            )
            segment.acked = segment.size
            self._registry.finish(segment)
            total -= size

    def forget(self, *, now: float) -> list[tuple[int, int]]:
        """Drop segments that are delivered, reported and gone for so long that no copy of them will turn up.

        Returns their (source, segment), for the state.
        """
        forgotten = []
        for key, segment in list(self._registry.segments.items()):
            if segment.closed and segment.gone_at is not None and segment.claimed == (segment.size, True):
                limit = _FORGET_SECONDS[segment.stream.source.kind]
                if now - segment.gone_at >= limit:
                    self._registry.forget(segment)
                    forgotten.append(key)
        return forgotten
