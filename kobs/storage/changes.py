"""When tables were changed from here, and from which time on their rows may be others since.

A change is noted before it begins and after it ended, so that what was read between two equal numbers is what there is.
"""

import contextlib
import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator

ANY_TABLE = ""
"""Stands for a change of which nobody knows what it changes."""
ANY_TIME = -(2**63)

_MOST_NOTED = 10_000


class Changes:
    """Notes changes; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._of_table: dict[str, _Noted] = {}

    @contextlib.contextmanager
    def changing(self, table: str, *, earliest_ms: int = ANY_TIME) -> Iterator[None]:
        """Note a change of a table's rows of `earliest_ms` and later, while the block does it."""
        with self._lock:
            noted = self._noted(table)
            noted.running[earliest_ms] += 1
            self._note(noted, earliest_ms)
        try:
            yield
        finally:
            with self._lock:
                noted.running -= Counter({earliest_ms: 1})
                self._note(noted, earliest_ms)

    def number(self, table: str) -> int:
        """Return a number that is another one after each change of a table."""
        with self._lock:
            return max(self._noted(table).last, self._noted(ANY_TABLE).last)

    def unchanged_before_ms(self, table: str, number: int) -> int:
        """Return the time before which a table's rows are what they were at a number."""
        with self._lock:
            return min(self._noted(table).earliest_since(number), self._noted(ANY_TABLE).earliest_since(number))

    def _noted(self, table: str) -> "_Noted":
        return self._of_table.setdefault(table, _Noted())

    def _note(self, noted: "_Noted", earliest_ms: int) -> None:
        self._last += 1
        noted.add(self._last, earliest_ms)


class _Noted:
    """The changes of one table: their numbers, and the earliest time of each that none of its successors reaches."""

    def __init__(self) -> None:
        self.last = 0
        self.running: Counter[int] = Counter()
        self._forgotten = 0
        self._numbers: list[int] = []
        self._earliest_ms: list[int] = []

    def add(self, number: int, earliest_ms: int) -> None:
        self.last = number
        # An earlier change that reaches less far back says nothing that this one does not.
        while self._earliest_ms and self._earliest_ms[-1] >= earliest_ms:
            self._numbers.pop()
            self._earliest_ms.pop()
        self._numbers.append(number)
        self._earliest_ms.append(earliest_ms)
        if len(self._numbers) > _MOST_NOTED:
            half = len(self._numbers) // 2
            self._forgotten = self._numbers[half - 1]
            del self._numbers[:half], self._earliest_ms[:half]

    def earliest_since(self, number: int) -> int:
        if number < self._forgotten:
            return ANY_TIME
        at = bisect_right(self._numbers, number)
        noted = self._earliest_ms[at] if at < len(self._numbers) else 2**63 - 1
        return min(noted, min(self.running, default=noted))
