"""Which samples lie in which window: samples of many series and evenly spaced windows arrive, ranges of indices leave.

A window is left-open, `(end - range, end]`. All windows of all series are found at once by counting how many samples of
a series lie at or before each end; nothing here looks at a sample alone. What is left out is nothing: a window without
samples is an empty range.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_WINDOWS_AT_ONCE = 65_536
"""So many windows are computed together: their arrays stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Series:
    """Samples of some series, each series in the order of time; series s has those from bounds[s] to bounds[s + 1]."""

    bounds: Integers
    times_ms: Integers
    values: Floats


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows with the samples `first` (inclusive) to `end` (exclusive); `start_ms` is not in the window, `end_ms` is.

    Shape: all int64 (W,); `moments_ms` is the time at which a window is asked for, `column` the number of that moment.
    """

    first: Integers
    end: Integers
    start_ms: Integers
    end_ms: Integers
    moments_ms: Integers
    column: Integers

    def counts(self) -> Integers:
        """Return how many samples each window has."""
        return self.end - self.first

    def chosen(self, which: NDArray[np.bool_]) -> "Windows":
        """Return some of the windows."""
        if which.all():
            return self
        return Windows(
            self.first[which],
            self.end[which],
            self.start_ms[which],
            self.end_ms[which],
            self.moments_ms[which],
            self.column[which],
        )


def blocks(bounds: Integers, windows_a_series: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of series whose windows are few enough to be computed together."""
    count = len(bounds) - 1
    size = max(1, _WINDOWS_AT_ONCE // max(1, windows_a_series))
    for start in range(0, count, size):
        yield start, min(count, start + size)


def part_of(series: Series, start: int, end: int) -> Series:
    """Return the series `start` to `end` (exclusive), whose indices begin at 0."""
    bounds = series.bounds[start : end + 1]
    samples = slice(int(bounds[0]), int(bounds[-1]))
    return Series(bounds - bounds[0], series.times_ms[samples], series.values[samples])


def find(series: Series, ends_ms: Integers, moments_ms: Integers, *, step_ms: int, range_ms: int) -> Windows:
    """Return the windows of `range_ms` that end at `ends_ms`, `step_ms` apart, series by series.

    Shape: moments_ms (T,); ends_ms (T,), or (1,) for an end that all moments have; S * T windows, those of a series
    beside each other.
    """
    count, ends, moments = len(series.bounds) - 1, len(ends_ms), len(moments_ms)
    numbers = np.repeat(np.arange(count, dtype=np.int64), np.diff(series.bounds))
    since_first_end = series.times_ms - ends_ms[0]
    # the first window that a sample's time has reached, and the first that has left it behind
    reached = _counted(numbers, -(-since_first_end // step_ms), count, ends)
    left = _counted(numbers, -(-(since_first_end + range_ms) // step_ms), count, ends)
    starts = series.bounds[:-1, np.newaxis]
    shape = (count, moments)
    return Windows(
        first=np.broadcast_to(starts + left, shape).ravel(),
        end=np.broadcast_to(starts + reached, shape).ravel(),
        start_ms=np.broadcast_to(ends_ms - range_ms, shape).ravel(),
        end_ms=np.broadcast_to(ends_ms, shape).ravel(),
        moments_ms=np.broadcast_to(moments_ms, shape).ravel(),
        column=np.broadcast_to(np.arange(moments, dtype=np.int64), shape).ravel(),
    )


def _counted(numbers: Integers, columns: Integers, count: int, moments: int) -> Integers:
    """Return for each series and moment how many samples have a column up to that moment. Shape: (S, T)."""
    places = numbers * (moments + 1) + np.clip(columns, 0, moments)
    cells = np.bincount(places, minlength=count * (moments + 1)).reshape(count, moments + 1)
    return np.cumsum(cells[:, :moments], axis=1)
