"""Label sets in the order in which they came, so that a run of them that comes again is known by one comparison.

Senders of remote write go through their series in nearly the same order again and again, cut into requests at other
places each time. What arrives are keys of label sets, one after another; what leaves are their numbers. A key is a few
32-bit numbers, and is compared whole: no two label sets are ever taken for one.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int32]
Keys = npt.NDArray[np.uint32]

UNKNOWN = -(2**31)
"""In place of the number of a key that nobody has numbered."""

_SHORTEST_RUN = 16
"""Below it, looking for runs costs more than looking up each key."""
_MOST_KEYS = 8_000_000
"""32 MB of keys; beyond it the order is forgotten, the numbers are not."""


class LabelSetOrder:
    """The order of the label sets of earlier messages."""

    def __init__(self) -> None:
        self._places: Integers
        """By number: where the label set came last."""
        self._forget()

    def numbers_of(self, keys: Keys, bounds: Integers, number_of: Callable[[bytes], int | None]) -> Numbers:
        """Return the numbers of label sets, UNKNOWN for those that `number_of` does not know by the bytes of the key.

        Shape: key i is keys[bounds[i]:bounds[i + 1]]. A number below zero may be any, one from zero on stands for one
        key only.
        """
        count = len(bounds) - 1
        numbers = np.full(count, UNKNOWN, np.int32)
        raw = keys.tobytes()
        at, runs = 0, 0
        while at < count and runs * _SHORTEST_RUN <= at + 4 * _SHORTEST_RUN:
            found = number_of(raw[4 * bounds[at] : 4 * bounds[at + 1]])
            runs += 1
            if found is None or found < 0:
                numbers[at] = UNKNOWN if found is None else found
                at += 1
                continue
            length = max(self._run(keys, bounds, at, found), 1)
            place = int(self._places[found]) if length > 1 else -1
            numbers[at : at + length] = self._numbers.all()[place : place + length] if length > 1 else found
            at += length
        ends = (4 * bounds).tolist()
        for each in range(at, count):
            found = number_of(raw[ends[each] : ends[each + 1]])
            if found is not None:
                numbers[each] = found
        if runs > 1 + count // 1000 or at < count:
            self._append(keys, bounds, numbers)
        return numbers

    def _run(self, keys: Keys, bounds: Integers, at: int, number: int) -> int:
        """Return how many label sets from one on are those that came before after the one with a number."""
        place = int(self._places[number]) if number < len(self._places) else -1
        if place < 0:
            return 0
        ends = self._ends.all()
        longest = min(len(bounds) - 1 - at, len(ends) - 1 - place)
        start, start_before = int(bounds[at]), int(ends[place])
        own = bounds[at : at + longest + 1] - start
        same = _first_other(own, ends[place : place + longest + 1] - start_before) - 1
        size = int(own[same])
        reach = _first_other(keys[start : start + size], self._keys.all()[start_before : start_before + size])
        return same if reach == size else int(np.searchsorted(own, reach, side="right")) - 1

    def _append(self, keys: Keys, bounds: Integers, numbers: Numbers) -> None:
        """Note an order that was not known; one with unknown numbers comes again with all of them."""
        if (numbers == UNKNOWN).any():
            return
        if len(self._keys) + len(keys) > _MOST_KEYS:
            self._forget()
        highest = int(numbers.max(initial=-1))
        if highest >= len(self._places):
            more = np.full(max(highest + 1 - len(self._places), len(self._places)), -1, np.int64)
            self._places = np.concatenate([self._places, more])
        allowed = numbers >= 0
        self._places[numbers[allowed]] = np.flatnonzero(allowed) + len(self._numbers)
        self._ends.add(bounds[1:] + self._ends.all()[-1])
        self._numbers.add(numbers)
        self._keys.add(keys)

    def _forget(self) -> None:
        self._numbers = _Column(np.int32)
        self._ends = _Column(np.int64)
        self._ends.add(np.zeros(1, np.int64))
        self._keys = _Column(np.uint32)
        self._places = np.full(1024, -1, np.int64)


class _Column:
    """An array that grows at its end."""

    def __init__(self, kind: type[np.generic]) -> None:
        self._values: npt.NDArray[Any] = np.zeros(1024, kind)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def all(self) -> npt.NDArray[Any]:
        """Return what was added."""
        return self._values[: self._count]

    def add(self, values: npt.NDArray[Any]) -> None:
        """Add values."""
        count = self._count + len(values)
        if count > len(self._values):
            grown = np.zeros(max(count, 2 * len(self._values)), self._values.dtype)
            grown[: self._count] = self.all()
            self._values = grown
        self._values[self._count : count] = values
        self._count = count


def _first_other(one: npt.NDArray[np.generic], other: npt.NDArray[np.generic]) -> int:
    """Return the first index at which two arrays of one length differ, or their length."""
    differs = one != other
    at = int(differs.argmax()) if len(differs) else 0
    return at if len(differs) and differs[at] else len(differs)
