"""Sums, means and variances of windows: sum_over_time, avg_over_time, stdvar_over_time, stddev_over_time.

Sums are Neumaier's, term by term as Prometheus adds them. Where windows are long and overlap much, sums are differences
of running sums in extended precision instead, but only for those windows for which the bound of its error is below
`_TOLERANCE` of the result; Neumaier's own error is far smaller than that for such windows.
Source: Prometheus 3, funcSumOverTime, funcAvgOverTime and varianceOverTime of promql/functions.go.
"""

import numpy as np

from kobs.query.promql.ranges.ranks import CompensatedSum, Ranked, ranked, with_error
from kobs.query.promql.ranges.windows import Floats, Series, Windows

_TOLERANCE = 1e-13
_FEW_TERMS = 1_000_000
"""Up to so many terms in all, each is added; that takes some milliseconds."""


def total(series: Series, windows: Windows) -> Floats:
    """Return the sums of windows with samples."""
    return _by_running_sums(series, windows, is_mean=False)


def mean(series: Series, windows: Windows) -> Floats:
    """Return the means of windows with samples."""
    return _by_running_sums(series, windows, is_mean=True)


def variance(series: Series, windows: Windows) -> Floats:
    """Return the population variances of windows with samples."""
    order = ranked(windows)
    count = len(order.order)
    means, squares = CompensatedSum(count), CompensatedSum(count)
    for rank, active in order.steps():
        values = series.values[order.first[:active] + rank]
        delta = values - (means.total[:active] + means.lost[:active])
        means.add(delta / (rank + 1))
        squares.add(delta * (values - (means.total[:active] + means.lost[:active])))
    return order.in_asked_order((squares.total + squares.lost) / order.counts)


def deviation(series: Series, windows: Windows) -> Floats:
    """Return the population standard deviations of windows with samples."""
    return np.sqrt(variance(series, windows))


def _by_running_sums(series: Series, windows: Windows, *, is_mean: bool) -> Floats:
    counts = windows.counts()
    if counts.sum() <= max(_FEW_TERMS, 4 * len(series.values)):
        return _added_up(series, windows, is_mean=is_mean)
    running = np.zeros(len(series.values) + 1, dtype=np.longdouble)
    error = np.empty(len(series.values) + 1)
    unit = float(np.finfo(np.longdouble).eps)
    sums = np.zeros(len(counts))
    errors = np.full(len(counts), np.inf)
    owner = np.searchsorted(series.bounds, windows.first, side="right") - 1
    for number in range(len(series.bounds) - 1):
        start, end = int(series.bounds[number]), int(series.bounds[number + 1])
        np.cumsum(series.values[start:end], out=running[start + 1 : end + 1], dtype=np.longdouble)
        magnitude = np.max(np.abs(running[start + 1 : end + 1]), initial=0.0)
        error[start : end + 1] = float(magnitude) * unit * (end - start)
    # a window that begins its series begins at 0; `running` before it is the end of the series before
    is_start = windows.first == series.bounds[owner]
    sums = (running[windows.end] - np.where(is_start, 0.0, running[windows.first])).astype(np.float64)
    errors = error[windows.end - 1]
    result = sums / counts if is_mean else sums
    # a NaN or an infinity makes the comparison false
    uncertain = ~(errors <= np.abs(sums) * _TOLERANCE) | ~np.isfinite(sums)
    if uncertain.any():
        result[uncertain] = _added_up(series, windows.chosen(uncertain), is_mean=is_mean)
    return result


def _added_up(series: Series, windows: Windows, *, is_mean: bool) -> Floats:
    order = ranked(windows)
    count = len(order.order)
    if not is_mean:
        sums = CompensatedSum(count)
        for rank, active in order.steps():
            sums.add(series.values[order.first[:active] + rank])
        return order.in_asked_order(sums.values())
    return order.in_asked_order(_means(series.values, order))


def _means(values: Floats, windows: Ranked) -> Floats:
    """Return means; where the sum becomes infinite, the mean is carried on instead of the sum."""
    first = windows.first
    amounts = values[first]  # sums, or means where `carries` is true
    lost = np.zeros(len(first))
    carries = np.zeros(len(first), dtype=np.bool_)
    for rank, active in windows.steps():
        if rank == 0:
            continue
        number = rank + 1
        terms = values[first[:active] + rank]
        amount, its_lost = amounts[:active], lost[:active]
        added, error = with_error(amount, terms)
        becomes_infinite = np.isinf(added) | carries[:active]
        if not becomes_infinite.any():
            its_lost += error
            amount[:] = added
            continue
        which = np.flatnonzero(becomes_infinite)
        begins = which[~carries[which]]
        kept = np.flatnonzero(~becomes_infinite)
        its_lost[kept] += error[kept]
        amount[kept] = added[kept]
        amount[begins] /= number - 1
        its_lost[begins] /= number - 1
        carries[begins] = True
        share = (number - 1) / number
        added, error = with_error(share * amount[which], terms[which] / number)
        its_lost[which] = np.where(np.isinf(added), 0.0, share * its_lost[which] + error)
        amount[which] = added
    return np.where(carries, amounts + lost, amounts / windows.counts + lost / windows.counts)
