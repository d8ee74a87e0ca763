"""Where values are going: deriv, predict_linear and double_exponential_smoothing.

Source: Prometheus 3, linearRegression and funcDoubleExponentialSmoothing of promql/functions.go.
"""

import numpy as np

from kobs.query.promql.ranges.ranks import CompensatedSum, changed_before, ranked
from kobs.query.promql.ranges.windows import Floats, Integers, Series, Windows


def slope(series: Series, windows: Windows) -> Floats:
    """Return the slope a second of the line of least squares, for windows with at least two samples."""
    return _line(series, windows, series.times_ms[windows.first])[0]


def predicted(series: Series, windows: Windows, seconds: Floats) -> Floats:
    """Return where that line is `seconds` after the moment, one number for each window with at least two samples."""
    slopes, intercepts = _line(series, windows, windows.moments_ms)
    return slopes * seconds + intercepts


def smoothed(series: Series, windows: Windows, smoothing: Floats, trend: Floats) -> Floats:
    """Return double exponential smoothing of windows with at least two samples; factors for each window."""
    order = ranked(windows)
    smoothing, trend = smoothing[order.order], trend[order.order]
    value = series.values[order.first]
    slopes = series.values[order.first + 1] - value
    before = np.zeros(len(value))
    for rank, active in order.steps():
        if rank == 0:
            continue
        factor, share = smoothing[:active], trend[:active]
        raw = factor * series.values[order.first[:active] + rank]
        if rank > 1:
            slopes[:active] = share * (value[:active] - before[:active]) + (1 - share) * slopes[:active]
        expected = (1 - factor) * (value[:active] + slopes[:active])
        before[:active] = value[:active]
        value[:active] = raw + expected
    return order.in_asked_order(value)


def _line(series: Series, windows: Windows, origins_ms: Integers) -> tuple[Floats, Floats]:
    """Return slopes a second and values at the origin of the lines of least squares."""
    order = ranked(windows)
    origins = origins_ms[order.order]
    count = len(order.order)
    x_sum, y_sum, xy_sum, xx_sum = (CompensatedSum(count) for _ in range(4))
    for rank, active in order.steps():
        at = order.first[:active] + rank
        y = series.values[at]
        x = (series.times_ms[at] - origins[:active]) / 1000
        x_sum.add(x)
        y_sum.add(y)
        xy_sum.add(x * y)
        xx_sum.add(x * x)
    x_total, y_total, xy_total, xx_total = (each.total + each.lost for each in (x_sum, y_sum, xy_sum, xx_sum))
    covariance = xy_total - x_total * y_total / order.counts
    slopes = covariance / (xx_total - x_total * x_total / order.counts)
    intercepts = order.in_asked_order(y_total / order.counts - slopes * x_total / order.counts)
    slopes = order.in_asked_order(slopes)
    first_values = series.values[windows.first]
    differs = changed_before(series.values, series.values[1:] != series.values[:-1])
    constant = differs[windows.end - 1] == differs[windows.first]
    flat = np.where(np.isinf(first_values), np.nan, 0.0)
    return np.where(constant, flat, slopes), np.where(constant, first_values + flat, intercepts)
