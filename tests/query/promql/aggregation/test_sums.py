"""Sums, means and variances of groups: compensated, moment by moment, as adding one series after the other gives."""

import math

import numpy as np
import pytest

from kobs.query.promql.aggregation import sums
from kobs.query.promql.aggregation.grouping import Groups, grouped
from kobs.query.promql.values import Block

INF, NAN = math.inf, math.nan


def kahan(increment: float, total: float, lost: float) -> tuple[float, float]:
    after = total + increment
    if math.isinf(after):
        return after, 0.0
    if abs(total) >= abs(increment):
        return after, lost + ((total - after) + increment)
    return after, lost + ((increment - after) + total)


def plain_sum(values: list[float]) -> float:
    total, lost = values[0], 0.0
    for value in values[1:]:
        total, lost = kahan(value, total, lost)
    return total + lost


def plain_mean(values: list[float]) -> float:
    total, lost, mean, runs, count = values[0], 0.0, values[0], False, 1
    for value in values[1:]:
        count += 1
        if not runs:
            after, missing = kahan(value, total, lost)
            if not math.isinf(after):
                total, lost = after, missing
                continue
            runs, mean, lost = True, total / (count - 1), lost / (count - 1)
        share = (count - 1) / count
        mean, lost = kahan(value / count, share * mean, share * lost)
    return mean + lost if runs else total / count + lost / count


def plain_variance(values: list[float]) -> float:
    mean, squares, count = values[0], 0.0 if math.isfinite(values[0]) else NAN, 1
    for value in values[1:]:
        count += 1
        delta = value - mean
        mean += delta / count
        squares += delta * (value - mean)
    return squares / count


def column(values: list[float]) -> tuple[Block, Groups]:
    block = Block(
        tuple((("n", f"{number:06}"),) for number in range(len(values))),
        np.array(values)[:, None],
        np.ones((len(values), 1), dtype=bool),
    )
    return block, grouped(block.labels, (), is_without=False)


HARD = {
    "one": [0.1],
    "minus zero": [-0.0],
    "cancelling": [1.0, 1e100, 1.0, -1e100],
    "many small": [0.1] * 200,
    "nan": [1.0, NAN, 2.0],
    "infinite": [1.0, INF, 2.0],
    "both infinite": [INF, 1.0, -INF],
    "first infinite": [-INF, 5.0],
    "overflowing": [1.7e308, 1.7e308, 1.0],
    "overflowing and back": [1.7e308, 1.7e308, -1.7e308, -1.7e308],
    "overflowing late": [1.0, 2.0, 1.7e308, 1.7e308, -1.6e308, 3.0],
    "tiny": [5e-324, -5e-324, 1e-300],
    "overflow and infinity": [1.7e308, 1.7e308, -INF],
}


@pytest.mark.parametrize("values", HARD.values(), ids=HARD)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_hard_columns_are_added_as_one_by_one(values: list[float]) -> None:
    block, groups = column(values)
    assert repr(sums.sums(block, groups)[0, 0].item()) == repr(plain_sum(values))
    assert repr(sums.means(block, groups)[0, 0].item()) == repr(plain_mean(values))
    if not any(abs(value) > 1e200 for value in values):  # those overflow both ways, one step apart
        assert repr(sums.variances(block, groups)[0, 0].item()) == repr(plain_variance(values))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_groups_are_added_each_on_its_own_where_its_series_are_there() -> None:
    random = np.random.default_rng(5)
    labels = tuple((("g", str(number)), ("n", str(n))) for n in range(60) for number in random.permutation(7)[: n % 8])
    values = random.choice([1e100, -1e100, 1.0, 0.1, 3e-9, 7.0], (len(labels), 9))
    values[random.random(values.shape) < 0.01] = NAN
    block = Block(labels, values, random.random(values.shape) < 0.7)
    groups = grouped(labels, ("g",), is_without=False)
    found = {function: function(block, groups) for function in (sums.sums, sums.means, sums.counts, sums.variances)}
    for number, group in enumerate(groups.labels):
        rows = [row for row, own in enumerate(labels) if own[0] == group[0]]
        for moment in range(9):
            there = [block.values[row, moment].item() for row in rows if block.present[row, moment]]
            assert found[sums.counts][number, moment] == len(there)
            if not there:
                continue
            assert repr(found[sums.sums][number, moment].item()) == repr(plain_sum(there))
            assert repr(found[sums.means][number, moment].item()) == repr(plain_mean(there))
            assert repr(found[sums.variances][number, moment].item()) == repr(plain_variance(there))


@pytest.mark.parametrize("size", [256, 257, 1000, 5000])
def test_large_groups_are_added_in_runs_that_lose_nothing(size: int) -> None:
    """The sum is the exact one, rounded once, where adding one by one gives that too."""
    random = np.random.default_rng(size)
    values = random.random(size) * 10.0 ** random.integers(-8, 8, size)
    block, groups = column(values.tolist())
    exact = math.fsum(values.tolist())
    assert plain_sum(values.tolist()) == exact
    assert sums.sums(block, groups)[0, 0] == exact
    assert sums.means(block, groups)[0, 0] == pytest.approx(exact / size, rel=1e-15)
    assert sums.variances(block, groups)[0, 0] == pytest.approx(np.var(values), rel=1e-12)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_large_groups_with_gaps_and_what_is_not_finite() -> None:
    random = np.random.default_rng(1)
    values = random.random((700, 5))
    present = random.random((700, 5)) < 0.5
    present[:, 4] = False
    values[300, 1], values[400, 2], values[600, 2] = NAN, INF, -INF
    present[[300, 400, 600], :3] = True
    values[10, 3], values[20, 3], present[[10, 20], 3] = 1.7e308, 1.7e308, True
    block = Block(tuple((("n", f"{n:03}"),) for n in range(700)), values, present)
    groups = grouped(block.labels, (), is_without=False)
    total, mean, variance = sums.sums(block, groups)[0], sums.means(block, groups)[0], sums.variances(block, groups)[0]
    assert total[0] == math.fsum(values[present[:, 0], 0].tolist())
    assert variance[0] == pytest.approx(np.var(values[present[:, 0], 0]))
    assert np.isnan(total[[1, 2]]).all()
    assert np.isnan(mean[[1, 2]]).all()
    assert np.isnan(variance[[1, 2]]).all()
    assert total[3] == INF
    assert mean[3] == pytest.approx(2 * (1.7e308 / present[:, 3].sum()))
    assert sums.counts(block, groups)[0].tolist() == present.sum(axis=0).tolist()
