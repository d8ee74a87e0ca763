"""Order statistics of windows: quantile_over_time and mad_over_time.

NaN is less than every number, as in Prometheus; between two samples the quantile is interpolated.
"""

from collections.abc import Callable, Iterator

import numpy as np

from kobs.query.promql.ranges.windows import Floats, Integers, Series, Windows

_CELLS_AT_ONCE = 2_000_000


def quantiles(series: Series, windows: Windows, levels: Floats) -> Floats:
    """Return the quantiles of windows with samples; `levels` has one number for each window.

    A level below 0 gives -Inf, one above 1 gives +Inf, NaN gives NaN.
    """
    result = np.empty(len(levels))
    for which, rows in _rows(series, windows):
        result[which] = _quantiles_of_rows(rows, levels[which])
    return result


def median_deviations(series: Series, windows: Windows) -> Floats:
    """Return the medians of the absolute distances from the median, for windows with samples."""
    result = np.empty(len(windows.first))
    for which, rows in _rows(series, windows):
        middle = np.full(len(rows), 0.5)
        distances = np.abs(rows - _quantiles_of_rows(rows, middle)[:, np.newaxis])
        result[which] = _quantiles_of_rows(distances, middle)
    return result


def _rows(series: Series, windows: Windows) -> Iterator[tuple[Integers, Floats]]:
    """Yield windows of one length at a time, and their values as rows."""
    counts = windows.counts()
    order = np.argsort(counts, kind="stable")
    lengths, starts = np.unique(counts[order], return_index=True)
    for length, same in zip(lengths.tolist(), np.split(order, starts[1:]), strict=True):
        size = max(1, _CELLS_AT_ONCE // length)
        for start in range(0, len(same), size):
            which = same[start : start + size]
            yield which, series.values[windows.first[which, np.newaxis] + np.arange(length)]


def _quantiles_of_rows(rows: Floats, levels: Floats) -> Floats:
    length = rows.shape[1]
    rows = np.sort(rows, axis=1)
    unordered = np.isnan(rows).sum(axis=1)  # they are at the end
    place = np.where((levels >= 0) & (levels <= 1), levels, 0.0) * (length - 1)
    lower = np.floor(place)
    weight = place - lower
    low = lower.astype(np.int64)
    high = np.minimum(length - 1, low + 1)
    take: Callable[[Integers], Floats] = lambda at: np.where(  # noqa: E731 - two uses, three arrays of this function
        at < unordered, np.nan, rows[np.arange(len(rows)), np.maximum(at - unordered, 0)]
    )
    result = take(low) * (1 - weight) + take(high) * weight
    result = np.where(levels < 0, -np.inf, np.where(levels > 1, np.inf, result))
    return np.where(np.isnan(levels), np.nan, result)
