"""Whose turn it is to be read: sources with something to do go round, all others cost nothing.

A source is in the round, or has a time at which it comes back, or rests until something wakes it.
"""

import heapq
from collections import deque


class Turns:
    """The round of sources. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._round: deque[int] = deque()
        self._in_round: set[int] = set()
        self._back_at: dict[int, float] = {}
        self._times: list[tuple[float, int]] = []

    def wake(self, source: int) -> None:
        """Give a source a turn, behind those that have one."""
        self._back_at.pop(source, None)
        if source not in self._in_round:
            self._in_round.add(source)
            self._round.append(source)

    def later(self, source: int, at: float) -> None:
        """Let a source that had its turn come back at a time; never where that is infinite, until it is woken."""
        if source in self._in_round:
            return  # something woke it during its turn
        if at == float("inf"):
            self._back_at.pop(source, None)
            return
        self._back_at[source] = at
        heapq.heappush(self._times, (at, source))

    def due(self, now: float) -> int:
        """Return how many sources have a turn now."""
        while self._times and self._times[0][0] <= now:
            at, source = heapq.heappop(self._times)
            if self._back_at.get(source) == at:
                self.wake(source)
        return len(self._round)

    def take(self) -> int:
        """Return the source whose turn it is; there must be one that is due."""
        source = self._round.popleft()
        self._in_round.discard(source)
        return source
