"""How long a source rests that has nothing to be read: until its file grows, where that is told, or for a while.

A file that was written to lately is looked at on every poll. A quiet one is watched and costs nothing; where it cannot
be watched it is looked at less often.
"""

from kobs.collectors.logs.reading import PARTIAL_HOLD_SECONDS
from kobs.collectors.logs.registry import Registry
from kobs.collectors.logs.segments import PlainFile
from kobs.collectors.logs.sources import Log, Segment
from kobs.collectors.logs.watching import GrowthWatch

_BUSY_SECONDS = 2.0
"""How long after its last growth a file is polled: watching each write costs more."""
_PAUSES = ((2.0, 0.0), (30.0, 0.5), (float("inf"), 1.0))
"""Pauses between two looks at a file that cannot be watched, by the seconds since it grew."""


class Resting:
    """Decides when sources of a registry have their next turn. Times are monotonic seconds."""

    def __init__(self, registry: Registry, *, poll_seconds: float) -> None:
        self._registry = registry
        self._poll_seconds = poll_seconds
        self._growth = GrowthWatch()

    def close(self) -> None:
        """Stop watching."""
        self._growth.close()

    def wake_grown(self) -> None:
        """Give a turn to each source whose file has grown, and to all where events were lost."""
        grown, overflow = self._growth.read()
        for source in self._registry.logs if overflow else grown:
            self._registry.turns.wake(source)

    def next_turn(self, entry: Log, *, now: float) -> float:
        """Return when a source without anything to send has its next turn; infinite: when something wakes it."""
        if not entry.segments:
            return float("inf")  # a look of the discovery brings more
        segment = entry.segments[0]
        quiet = now - segment.grown_at
        if self._is_quiet(entry, segment, now=now) and self._watch(segment):
            return float("inf")
        waiting = segment.waiting_since is not None and now - segment.waiting_since < PARTIAL_HOLD_SECONDS + 1.0
        if waiting or not segment.live:
            return now + self._poll_seconds
        pause = next(pause for limit, pause in _PAUSES if quiet < limit)
        return now + max(pause, self._poll_seconds)

    def _is_quiet(self, entry: Log, segment: Segment, *, now: float) -> bool:
        """Whether nothing is to be done with a source before its file grows."""
        if not segment.live or segment.skipping or len(entry.segments) > 1 or now - segment.grown_at < _BUSY_SECONDS:
            return False
        if segment.waiting_since is not None:
            return now - segment.waiting_since > PARTIAL_HOLD_SECONDS + 1.0  # the rest of a line does not come
        return segment.acked == segment.size

    def _watch(self, segment: Segment) -> bool:
        opened = segment.file
        if not isinstance(opened, PlainFile):
            return False
        state = opened.state()
        path = f"/proc/self/fd/{opened.descriptor}"
        if not self._growth.watch(segment.source, path, device=state.device):
            return False
        # What was written before the watch was there is told by nobody.
        now_state = opened.state()
        return now_state.size == segment.size and now_state.links > 0
