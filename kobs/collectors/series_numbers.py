"""Numbers of series, by which samples name them on their way to a server.

A label set has one number while somebody has it registered. A number that all have released is given to another series
later, but only when no sample waits any more that means the former one; `freed_up_to` says how far samples have gone.
A *session* is what one server was told; `untold` are the series that it still has to hear of.

Everything here may be called from any thread.
"""

import threading
from array import array
from collections import deque
from collections.abc import Iterable, Mapping

from kobs.model.labels import canonical

Told = tuple[int, bytes]
"""A number and its series, as canonical bytes."""


class SeriesNumbers:
    """All series of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers: dict[bytes, int] = {}
        self._series: list[bytes | None] = []
        self._holders = array("I")
        self._free: deque[int] = deque()
        # Numbers that nobody holds, in the order of their release, and the put after which they are free.
        self._released: deque[tuple[int, int]] = deque()
        self._untold: deque[int] = deque()

    def __len__(self) -> int:
        """Return how many series are registered."""
        return len(self._numbers)

    def register(self, labels: Mapping[str, str]) -> int:
        """Return the number of a label set; to be released as often as it was registered."""
        return self.register_canonical(canonical(labels))

    def register_canonical(self, key: bytes) -> int:
        """Return the number of a label set that comes as its canonical bytes."""
        with self._lock:
            number = self._numbers.get(key)
            if number is not None:
                self._holders[number] += 1
                return number
            if self._free:
                number = self._free.popleft()
                self._series[number] = key
                self._holders[number] = 1
            else:
                number = len(self._series)
                self._series.append(key)
                self._holders.append(1)
            self._numbers[key] = number
            self._untold.append(number)
            return number

    def release(self, numbers: Iterable[int], *, after_put: int) -> None:
        """Give numbers back; those that nobody holds any more are free once `after_put` has gone."""
        with self._lock:
            for number in numbers:
                self._holders[number] -= 1
                key = self._series[number]
                if self._holders[number] == 0 and key is not None:
                    del self._numbers[key]
                    self._released.append((after_put, number))

    def freed_up_to(self, put: int) -> None:
        """Note that no sample of a put up to this one waits any more."""
        with self._lock:
            while self._released and self._released[0][0] <= put:
                _, number = self._released.popleft()
                self._series[number] = None
                self._free.append(number)

    def series_of(self, number: int) -> bytes:
        """Return the series of a number whose samples may still wait."""
        key = self._series[number]
        if key is None:
            raise ValueError(f"number {number} names no series: it was released")
        return key

    def begin_session(self) -> None:
        """Forget what a server was told: all series that samples may name are untold again."""
        with self._lock:
            self._untold = deque(number for number, key in enumerate(self._series) if key is not None)

    def untold(self, *, most_bytes: int) -> tuple[list[Told], bool]:
        """Return series to tell next, at least one where there is any, and whether these are all.

        They stay untold until `told` is called.
        """
        found: list[Told] = []
        size = 0
        with self._lock:
            for number in self._untold:
                key = self._series[number]
                if key is None:
                    # Released before it was ever told: whoever takes the number comes later in this list.
                    continue
                if found and size + len(key) > most_bytes:
                    return found, False
                found.append((number, key))
                size += len(key)
        return found, True

    def told(self, series: Iterable[Told]) -> int:
        """Note that the first of the untold, which these are, have been told; return how many series these were."""
        count = 0
        with self._lock:
            for number, _ in series:
                while self._untold.popleft() != number:
                    pass
                count += 1
        return count
