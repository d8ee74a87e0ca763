"""The least and the greatest value of a window: min_over_time and max_over_time.

NaN counts only where there is nothing else, and of equal values the first is taken (-0 and 0 are equal). For each power
of two the extremes of as many neighbours are computed once; a window is then covered by two of them that may overlap.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kobs.query.promql.ranges.windows import Floats, Series, Windows

Beats = Callable[[Floats, Floats], NDArray[np.bool_]]


def least(series: Series, windows: Windows) -> Floats:
    """Return the least value of windows with samples."""
    return _extreme(series, windows, np.less)


def greatest(series: Series, windows: Windows) -> Floats:
    """Return the greatest value of windows with samples."""
    return _extreme(series, windows, np.greater)


def _extreme(series: Series, windows: Windows, beats: Beats) -> Floats:
    counts = windows.counts()
    levels = np.frexp(counts.astype(np.float64))[1] - 1  # floor of the logarithm to base 2
    result = np.empty(len(counts))
    of_span = series.values
    for level in range(int(levels.max(initial=0)) + 1):
        if level:
            half = 1 << (level - 1)
            of_span = _better(of_span[:-half], of_span[half:], beats)
        which = np.flatnonzero(levels == level)
        if len(which):
            earlier = of_span[windows.first[which]]
            result[which] = _better(earlier, of_span[windows.end[which] - (1 << level)], beats)
    return result


def _better(earlier: Floats, later: Floats, beats: Beats) -> Floats:
    return np.where(beats(later, earlier) | np.isnan(earlier), later, earlier)
