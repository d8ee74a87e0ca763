"""How fast a value grows: rate, increase, delta, irate, idelta.

A counter that falls was reset: it is taken to have begun again at 0. `rate`, `increase` and `delta` extrapolate to the
window's edges, where the samples come close to them. Source: Prometheus 3, extrapolatedRate and instantValue of
promql/functions.go.
"""

import numpy as np

from kobs.query.promql.ranges.ranks import changed_before
from kobs.query.promql.ranges.windows import Floats, Series, Windows

_CLOSE = 1.1
"""An edge of the window is close when it is not further from a sample than so many mean distances of samples."""


def extrapolated(series: Series, windows: Windows, *, is_counter: bool, is_rate: bool) -> Floats:
    """Return rate, increase or delta of windows with at least two samples."""
    last = windows.end - 1
    first_values = series.values[windows.first]
    result = series.values[last] - first_values
    if is_counter:
        _add_resets(result, series, windows)
    first_ms = series.times_ms[windows.first]
    last_ms = series.times_ms[last]
    to_start = (first_ms - windows.start_ms) / 1000
    to_end = (windows.end_ms - last_ms) / 1000
    sampled = (last_ms - first_ms) / 1000
    mean_distance = sampled / (last - windows.first)
    threshold = mean_distance * _CLOSE
    to_start = np.where(to_start >= threshold, mean_distance / 2, to_start)
    if is_counter:
        # a counter was never below 0: it is not extrapolated to before it was 0
        grows = (result > 0) & (first_values >= 0)
        to_zero = np.where(grows, sampled * (first_values / np.where(grows, result, 1.0)), to_start)
        to_start = np.where(to_zero < to_start, to_zero, to_start)
    to_end = np.where(to_end >= threshold, mean_distance / 2, to_end)
    factor = (sampled + to_start + to_end) / sampled
    if is_rate:
        factor = factor / ((windows.end_ms - windows.start_ms) / 1000)
    return result * factor


def of_last_two(series: Series, windows: Windows, *, is_rate: bool) -> Floats:
    """Return irate or idelta of windows with at least two samples."""
    last = windows.end - 1
    now, before = series.values[last], series.values[last - 1]
    result = now - before
    if not is_rate:
        return result
    result = np.where(now < before, now, result)
    return result / ((series.times_ms[last] - series.times_ms[last - 1]) / 1000)


def _add_resets(result: Floats, series: Series, windows: Windows) -> None:
    """Add the value before each reset, one reset of each window after the other, in the order of time."""
    falls = series.values[1:] < series.values[:-1]
    before = changed_before(series.values, falls)
    places = np.flatnonzero(falls)  # the sample before each reset
    next_reset = before[windows.first]
    left = before[windows.end - 1] - next_reset
    which = np.flatnonzero(left)
    while len(which):
        result[which] += series.values[places[next_reset[which]]]
        next_reset[which] += 1
        left[which] -= 1
        which = which[left[which] > 0]
