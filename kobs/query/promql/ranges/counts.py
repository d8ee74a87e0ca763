"""How often something happens in a window: resets, changes, count_over_time, present_over_time; and the last value."""

import numpy as np

from kobs.query.promql.ranges.ranks import changed_before
from kobs.query.promql.ranges.windows import Floats, Series, Windows


def resets(series: Series, windows: Windows) -> Floats:
    """Return how often the value fell, for windows with samples."""
    return _between(series, windows, before=changed_before(series.values, series.values[1:] < series.values[:-1]))


def changes(series: Series, windows: Windows) -> Floats:
    """Return how often the value changed, for windows with samples; from NaN to NaN it did not."""
    left, right = series.values[:-1], series.values[1:]
    differs = (left != right) & ~(np.isnan(left) & np.isnan(right))
    return _between(series, windows, before=changed_before(series.values, differs))


def samples(series: Series, windows: Windows) -> Floats:  # noqa: ARG001 - called as the others are
    """Return how many samples the windows have."""
    return windows.counts().astype(np.float64)


def one(series: Series, windows: Windows) -> Floats:  # noqa: ARG001 - called as the others are
    """Return 1 for windows with samples."""
    return np.ones(len(windows.first))


def last(series: Series, windows: Windows) -> Floats:
    """Return the newest value of windows with samples."""
    return series.values[windows.end - 1]


def _between(series: Series, windows: Windows, *, before: "np.typing.NDArray[np.int64]") -> Floats:
    del series
    return (before[windows.end - 1] - before[windows.first]).astype(np.float64)
