"""Sums, means and variances over the series of groups, at each moment on its own.

Sums are compensated (Neumaier): what rounding loses is summed up beside. Series are added in their order, as
Prometheus does; in groups of more than `_LONGEST_RUN` series runs are added first, whose sums are rounded as well or
better. A mean whose sum would overflow is worked out as a running mean from there on.

Source: Prometheus 3, `promql/engine.go` (`aggregation`), `promql/functions.go` (`kahanSumInc`).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kobs.query.promql.aggregation.grouping import Groups, Rows
from kobs.query.promql.values import Block

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_LONGEST_RUN = 256


def sums(block: Block, groups: Groups) -> Floats:
    """Return the sums of the groups. Shape: (G, T)."""
    total, lost = _compensated(block, groups)
    return _repaired(total + lost, block, groups, _exact_sum)


def means(block: Block, groups: Groups) -> Floats:
    """Return the means of the groups. Shape: (G, T)."""
    total, lost = _compensated(block, groups)
    count = counts(block, groups)
    return _repaired(total / count + lost / count, block, groups, _exact_mean)


def counts(block: Block, groups: Groups) -> Floats:
    """Return how many series of each group have a value. Shape: (G, T)."""
    found: Floats = np.add.reduceat(block.present[groups.order], groups.starts, axis=0, dtype=np.int64)
    return found.astype(np.float64)


def variances(block: Block, groups: Groups) -> Floats:
    """Return the variances of the groups (of all, not of a sample), NaN beside what is not finite. Shape: (G, T)."""
    runs, of_runs = groups.split(_LONGEST_RUN)
    shape = (len(runs.sizes), block.values.shape[1])
    count, mean, squares = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for slots, rows in runs.turns():
        value, there = block.values[rows], block.present[rows]
        number = count[slots] + there
        delta = value - mean[slots]
        moved = mean[slots] + delta / number
        squares[slots] = np.where(there, squares[slots] + delta * (value - moved), squares[slots])
        mean[slots] = np.where(there, moved, mean[slots])
        count[slots] = number
    if len(runs.sizes) > len(groups.sizes):
        count, mean, squares = _joined(of_runs, count, mean, squares)
    return squares / count


def _joined(groups: Groups, count: Floats, mean: Floats, squares: Floats) -> tuple[Floats, Floats, Floats]:
    """Return count, mean and sum of squared distances of groups of runs."""
    shape = (len(groups.sizes), count.shape[1])
    counted, middle, squared = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for slots, rows in groups.turns():
        there = count[rows] > 0
        number = counted[slots] + count[rows]
        delta = mean[rows] - middle[slots]
        joint = squared[slots] + squares[rows] + delta * delta * counted[slots] * count[rows] / number
        squared[slots] = np.where(there, joint, squared[slots])
        middle[slots] = np.where(there, middle[slots] + delta * count[rows] / number, middle[slots])
        counted[slots] = number
    return counted, middle, squared


def _compensated(block: Block, groups: Groups) -> tuple[Floats, Floats]:
    """Return the sums and what they have lost; neither counts where one is not finite."""
    runs, of_runs = groups.split(_LONGEST_RUN)
    shape = (len(runs.sizes), block.values.shape[1])
    total, lost = np.zeros(shape), np.zeros(shape)
    for slots, rows in runs.turns():
        _add(total, lost, slots, np.where(block.present[rows], block.values[rows], 0.0))
    if len(runs.sizes) == len(groups.sizes):
        return total, lost
    shape = (len(groups.sizes), shape[1])
    whole, missing = np.zeros(shape), np.zeros(shape)
    for slots, rows in of_runs.turns():
        _add(whole, missing, slots, total[rows])
        missing[slots] += lost[rows]
    return whole, missing


def _add(total: Floats, lost: Floats, slots: Rows, value: Floats) -> None:
    before = total[slots]
    after = before + value
    # the exact error of the addition, of whichever operand is the smaller one
    part = after - before
    lost[slots] += (before - (after - part)) + (value - part)
    total[slots] = after


def _repaired(found: Floats, block: Block, groups: Groups, exact: Callable[[Floats, Flags], Floats]) -> Floats:
    """Return what was found, with what is not finite worked out again."""
    wrong = ~np.isfinite(found)
    for group in np.flatnonzero(wrong.any(axis=1)).tolist():
        moments = np.flatnonzero(wrong[group])
        rows = groups.order[groups.starts[group] : groups.starts[group] + groups.sizes[group]]
        at = np.ix_(rows, moments)
        found[group, moments] = _not_finite(block.values[at], block.present[at], exact)
    return found


def _not_finite(values: Floats, present: Flags, exact: Callable[[Floats, Flags], Floats]) -> Floats:
    """Return sums or means of columns that have what is not finite among them, or that overflow. Shape: (columns,)."""
    shown = np.where(present, values, 0.0)
    finite = np.isfinite(shown)
    # what is not finite decides alone, unless the numbers before it overflow
    found: Floats = np.where(finite, 0.0, shown).sum(axis=0)
    overflows = ~np.isfinite(np.abs(np.where(finite, shown, 0.0)).sum(axis=0))
    if overflows.any():
        found[overflows] = exact(values[:, overflows], present[:, overflows])
    return found


def _exact_sum(values: Floats, present: Flags) -> Floats:
    total, lost = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    for value, there in zip(values, present, strict=True):
        after, missing = _neumaier(value, total, lost)
        total, lost = np.where(there, after, total), np.where(there, missing, lost)
    return total + lost


def _exact_mean(values: Floats, present: Flags) -> Floats:
    """Return means of columns: of the sum as long as it is finite, running from there on."""
    columns = values.shape[1]
    count, total, lost, mean = np.zeros(columns), np.zeros(columns), np.zeros(columns), np.zeros(columns)
    runs = np.zeros(columns, dtype=np.bool_)
    for value, there in zip(values, present, strict=True):
        before = count
        count = count + there
        after, missing = _neumaier(value, total, lost)
        turns = there & ~runs & np.isinf(after) & (before > 0)
        mean = np.where(turns, total / before, mean)
        lost = np.where(turns, lost / before, lost)
        runs |= turns
        adds = there & ~runs
        share = (count - 1) / count
        moved, left = _neumaier(value / count, share * mean, share * lost)
        total = np.where(adds, after, total)
        mean = np.where(there & runs, moved, mean)
        lost = np.where(adds, missing, np.where(there & runs, left, lost))
    return np.where(runs, mean + lost, total / count + lost / count)


def _neumaier(value: Floats, total: Floats, lost: Floats) -> tuple[Floats, Floats]:
    after = total + value
    part = np.where(np.abs(total) >= np.abs(value), (total - after) + value, (value - after) + total)
    return after, np.where(np.isinf(after), 0.0, lost + part)
