"""Aggregations of series that come in parts: each part is folded into the groups' state and can be forgotten.

Sums are Neumaier's, for several series of a group side by side, whose sums are added at the end: as exact as one after
the other, though not in the same order. Variances are joined from those of the parts.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kobs.query.promql.ranges.ranks import with_error

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

_CELLS_AT_ONCE = 65_536


class Fold(Protocol):
    """The state of an aggregation."""

    def add(self, groups: Integers, values: Floats, present: Mask) -> None:
        """Fold series into their groups. Shape: groups (S,); values and present (S, T)."""

    def result(self) -> tuple[Floats, Mask] | None:
        """Return values and presence of the groups (G, T), None where a sum became infinite on the way to a mean."""


class _Sums:
    def __init__(self, count: int, width: int, *, is_mean: bool = False) -> None:
        self._is_mean = is_mean
        self._lanes = max(1, _CELLS_AT_ONCE // max(1, count * width))
        # -0 plus any number is that number
        self._totals = np.full((count * self._lanes, width), -0.0)
        self._lost = np.zeros((count * self._lanes, width))
        self._counts = np.zeros((count, width), dtype=np.int64)

    def add(self, groups: Integers, values: Floats, present: Mask) -> None:
        _add_by_group(self._counts, groups, present)
        order = np.argsort(groups, kind="stable")
        ranks = np.empty(len(groups), dtype=np.int64)
        ranks[order] = np.arange(len(groups)) - np.searchsorted(groups[order], groups[order])
        lanes = groups * self._lanes + ranks % self._lanes
        rounds = ranks // self._lanes
        values = np.where(present, values, -0.0)
        for number in range(int(rounds.max(initial=-1)) + 1):
            rows = np.flatnonzero(rounds == number)
            self._add(lanes[rows], values[rows])

    def result(self) -> tuple[Floats, Mask] | None:
        count = len(self._counts)
        totals = self._totals.reshape(count, self._lanes, -1)
        lost = self._lost.reshape(count, self._lanes, -1)
        groups = np.arange(count) * self._lanes
        for lane in range(1, self._lanes):
            self._add(groups, totals[:, lane].copy())
            self._add(groups, lost[:, lane].copy())
        sums, losses, counts = totals[:, 0], lost[:, 0], self._counts
        if not self._is_mean:
            return sums + losses, counts > 0
        if (np.isinf(sums) & (counts > 1)).any():
            return None
        with np.errstate(all="ignore"):
            return sums / counts + losses / counts, counts > 0

    def _add(self, lanes: Integers, terms: Floats) -> None:
        """Add terms to lanes, each lane once."""
        with np.errstate(all="ignore"):
            added, error = with_error(self._totals[lanes], terms)
            self._lost[lanes] = np.where(np.isinf(added), 0.0, self._lost[lanes] + error)
        self._totals[lanes] = added


class _Extremes:
    def __init__(self, count: int, width: int, *, better: "np.ufunc") -> None:
        self._better = better
        self._values = np.full((count, width), np.nan)
        self._counts = np.zeros((count, width), dtype=np.int64)

    def add(self, groups: Integers, values: Floats, present: Mask) -> None:
        _add_by_group(self._counts, groups, present)
        order, starts, which = _segments(groups)
        best = self._better.reduceat(np.where(present, values, np.nan)[order], starts, axis=0)
        self._values[which] = self._better(self._values[which], best)

    def result(self) -> tuple[Floats, Mask]:
        return self._values, self._counts > 0


class _Counts:
    def __init__(self, count: int, width: int, *, is_group: bool = False) -> None:
        self._is_group = is_group
        self._counts = np.zeros((count, width), dtype=np.int64)

    def add(self, groups: Integers, values: Floats, present: Mask) -> None:
        del values
        _add_by_group(self._counts, groups, present)

    def result(self) -> tuple[Floats, Mask]:
        present = self._counts > 0
        return (present if self._is_group else self._counts).astype(np.float64), present


class _Variances:
    def __init__(self, count: int, width: int, *, is_deviation: bool = False) -> None:
        self._is_deviation = is_deviation
        self._counts = np.zeros((count, width), dtype=np.int64)
        self._means = np.zeros((count, width))
        self._squares = np.zeros((count, width))

    def add(self, groups: Integers, values: Floats, present: Mask) -> None:
        order, starts, which = _segments(groups)
        sizes = np.diff(np.append(starts, len(order)))
        values, present = values[order], present[order]
        with np.errstate(all="ignore"):
            counts = np.add.reduceat(present, starts, axis=0, dtype=np.int64)
            divisors = np.maximum(counts, 1)
            means = np.add.reduceat(np.where(present, values, 0.0), starts, axis=0) / divisors
            distances = np.where(present, values - np.repeat(means, sizes, axis=0), 0.0)
            # what the rounding of the mean left
            means = means + np.add.reduceat(distances, starts, axis=0) / divisors
            distances = np.where(present, values - np.repeat(means, sizes, axis=0), 0.0)
            squares = np.add.reduceat(distances * distances, starts, axis=0)
            before = self._counts[which]
            total = np.maximum(before + counts, 1)
            apart = np.where((before > 0) & (counts > 0), means - self._means[which], 0.0)
            joined = np.where(before > 0, self._means[which] + apart * counts / total, means)
            self._means[which] = np.where(counts > 0, joined, self._means[which])
            self._squares[which] += squares + apart * apart * before * counts / total
        self._counts[which] = before + counts

    def result(self) -> tuple[Floats, Mask]:
        with np.errstate(all="ignore"):
            variances = self._squares / self._counts
            return np.sqrt(variances) if self._is_deviation else variances, self._counts > 0


FOLDS: dict[str, Callable[[int, int], Fold]] = {
    "sum": _Sums,
    "avg": lambda count, width: _Sums(count, width, is_mean=True),
    "min": lambda count, width: _Extremes(count, width, better=np.fmin),
    "max": lambda count, width: _Extremes(count, width, better=np.fmax),
    "count": _Counts,
    "group": lambda count, width: _Counts(count, width, is_group=True),
    "stdvar": _Variances,
    "stddev": lambda count, width: _Variances(count, width, is_deviation=True),
}
"""What makes the state of an aggregation for a number of groups and moments, by operator."""


def _segments(groups: Integers) -> tuple[Integers, Integers, Integers]:
    """Return the order by group, where each group begins in it, and which groups these are."""
    order = np.argsort(groups, kind="stable")
    which, starts = np.unique(groups[order], return_index=True)
    return order, starts, which


def _add_by_group(counts: Integers, groups: Integers, present: Mask) -> None:
    order, starts, which = _segments(groups)
    if len(order):
        counts[which] += np.add.reduceat(present[order], starts, axis=0, dtype=np.int64)
