"""Classic histograms: `histogram_quantile` and `histogram_fraction` of series with a label `le`.

Histograms with the same bounds are worked out together, at the moments at which all of their buckets are there; where
some are missing, the others are a histogram of their own.

Source: Prometheus 3, `promql/functions.go` (`resetHistograms`), `promql/quantile.go` (`BucketQuantile`,
`BucketFraction`), `util/almost`.
"""

import re
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from kobs.query.promql.labelsets import empty, merged, value_of, without, without_metadata
from kobs.query.promql.notes import Notes
from kobs.query.promql.values import Block, Labels

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Rows = NDArray[np.intp]

_BOUND = "le"
_ONLY_BOUND = frozenset({_BOUND})
_NUMBER = re.compile(
    r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|0x(?:[0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)p[+-]?[0-9]+"
    r"|inf|infinity|nan)",
    re.I | re.A,
)
_TOLERANCE = 1e-12
_SMALLEST_NORMAL = 2.0**-1022
_LARGEST = np.finfo(np.float64).max
_MOST_NUMBERS = 2_000_000
"""So many counts are worked on at a time."""

Working = Callable[[Floats, Floats, Rows], tuple[Floats, Flags]]
"""Counts (G, B, t), bounds (B,) and moments (t,) arrive; answers (G, t), and where buckets had to be mended, leave."""


def quantiles(block: Block, quantile: Floats, notes: Notes, *, at: int) -> Block:
    """Return a quantile of each histogram at each moment. Shape: quantile (T,).

    Raises: QueryEvaluationError if two histograms differ by the metric's name only.
    """

    def work(counts: Floats, bounds: Floats, moments: Rows) -> tuple[Floats, Flags]:
        return _bucket_quantiles(counts, bounds, quantile[moments])

    return _worked(block, work, notes, at=at)


def fractions(block: Block, lower: Floats, upper: Floats, notes: Notes, *, at: int) -> Block:
    """Return the share of each histogram's observations between two values at each moment. Shape: (T,) each.

    Raises: QueryEvaluationError if two histograms differ by the metric's name only.
    """

    def work(counts: Floats, bounds: Floats, moments: Rows) -> tuple[Floats, Flags]:
        found = _bucket_fractions(counts, bounds, lower[moments], upper[moments])
        return found, np.zeros(found.shape, dtype=np.bool_)

    return _worked(block, work, notes, at=at)


def bound(text: str) -> float | None:
    """Return the number of a bucket's label, None where it is none."""
    if _NUMBER.fullmatch(text) is None:
        return None
    number = float.fromhex(text) if "x" in text.lower() else float(text)
    return None if np.isinf(number) and "inf" not in text.lower() else number


def _worked(block: Block, work: Working, notes: Notes, *, at: int) -> Block:
    moments = block.values.shape[1]
    histograms = _histograms(block, notes, at=at)
    if not histograms:
        return empty(moments)
    answers = np.zeros((len(histograms), moments))
    present = np.zeros((len(histograms), moments), dtype=np.bool_)
    is_mended = False
    for bounds, numbers, rows in _by_bounds(histograms.values(), moments):
        there = block.present[rows]
        every, some = np.logical_and.reduce(there, axis=1), np.logical_or.reduce(there, axis=1)
        present[numbers] = some
        found, mended = work(block.values[rows], bounds, np.arange(moments))
        answers[numbers] = found
        is_mended |= bool((mended & every).any())
        for histogram in np.flatnonzero((some & ~every).any(axis=1)).tolist():
            partial = np.flatnonzero(some[histogram] & ~every[histogram])
            patterns, of_moment = np.unique(there[histogram][:, partial], axis=1, return_inverse=True)
            for number, pattern in enumerate(patterns.T):
                columns = partial[of_moment.ravel() == number]
                counts = block.values[np.ix_(rows[histogram][pattern], columns)]
                found, mended = work(counts[None], bounds[pattern], columns)
                answers[numbers[histogram], columns] = found[0]
                is_mended |= bool(mended.any())
    if is_mended:
        notes.forced_monotonicity(at=at)
    return merged(Block(tuple([without_metadata(labels) for labels in histograms]), answers, present))


def _histograms(block: Block, notes: Notes, *, at: int) -> dict[Labels, list[tuple[float, int]]]:
    """Return the buckets of each histogram, by their bounds: bound and series."""
    found: dict[Labels, list[tuple[float, int]]] = {}
    bounds: dict[str, float | None] = {}
    alive = np.logical_or.reduce(block.present, axis=1).tolist()
    for row, labels in enumerate(block.labels):
        if not alive[row]:
            continue
        text = value_of(labels, _BOUND)
        if text not in bounds:
            bounds[text] = bound(text)
            if bounds[text] is None:
                notes.bad_bucket_label(text, at=at)
        number = bounds[text]
        if number is not None:
            found.setdefault(without(labels, _ONLY_BOUND), []).append((number, row))
    for buckets in found.values():
        buckets.sort(key=lambda bucket: bucket[0])
    return found


def _by_bounds(histograms: Iterable[list[tuple[float, int]]], moments: int) -> Iterator[tuple[Floats, Rows, Rows]]:
    """Yield the bounds that some histograms have (B,), the histograms (G,) and the series of their buckets (G, B)."""
    alike: dict[tuple[float, ...], list[tuple[int, list[int]]]] = {}
    for number, buckets in enumerate(histograms):
        bounds = tuple([each for each, _ in buckets])
        alike.setdefault(bounds, []).append((number, [row for _, row in buckets]))
    for bounds, all_members in alike.items():
        most = max(_MOST_NUMBERS // (len(bounds) * moments), 1)
        for start in range(0, len(all_members), most):
            members = all_members[start : start + most]
            yield np.array(bounds), np.array([n for n, _ in members]), np.array([rows for _, rows in members])


def _joined(counts: Floats, bounds: Floats) -> tuple[Floats, Floats]:
    """Return buckets of which those with the same bound are one."""
    starts = np.flatnonzero(np.concatenate([[True], bounds[1:] != bounds[:-1]]))
    if len(starts) == len(bounds):
        return counts, bounds
    return np.add.reduceat(counts, starts, axis=1), bounds[starts]


def _mended(counts: Floats) -> tuple[Floats, Flags]:
    """Return counts that grow with the bounds, and where they did not by more than rounding makes."""
    counts = counts.copy()
    forced = np.zeros((counts.shape[0], counts.shape[2]), dtype=np.bool_)
    before = counts[:, 0].copy()
    for bucket in range(1, counts.shape[1]):
        count = counts[:, bucket]
        near = _almost_equal(before, count)
        falls = (count < before) & ~near
        forced |= falls
        counts[:, bucket] = before = np.where(near | falls, before, count)
    return counts, forced


def _almost_equal(one: Floats, other: Floats) -> Flags:
    total = np.abs(one) + np.abs(other)
    difference = np.abs(one - other)
    tiny = (one == 0) | (other == 0) | (total < _SMALLEST_NORMAL)
    near = np.where(
        tiny, difference < _TOLERANCE * _SMALLEST_NORMAL, difference / np.minimum(total, _LARGEST) < _TOLERANCE
    )
    found: Flags = (one == other) | (np.isnan(one) & np.isnan(other)) | near
    return found


def _bucket_quantiles(counts: Floats, bounds: Floats, quantile: Floats) -> tuple[Floats, Flags]:
    groups, _, moments = counts.shape
    outside = np.where(quantile < 0, -np.inf, np.where(quantile > 1, np.inf, np.nan))
    is_outside = ~((quantile >= 0) & (quantile <= 1))
    never = np.zeros((groups, moments), dtype=np.bool_)
    if bounds[-1] != np.inf:
        return np.broadcast_to(outside, (groups, moments)), never
    counts, bounds = _joined(counts, bounds)
    if len(bounds) < 2:
        return np.broadcast_to(outside, (groups, moments)), never
    counts, forced = _mended(counts)
    observations = counts[:, -1]
    rank = quantile * observations
    bucket = _search(counts, rank)
    last = len(bounds) - 1
    count = np.take_along_axis(counts, bucket[:, None], axis=1)[:, 0]
    below = np.take_along_axis(counts, np.maximum(bucket - 1, 0)[:, None], axis=1)[:, 0]
    start = np.where(bucket > 0, bounds[np.maximum(bucket - 1, 0)], 0.0)
    count = np.where(bucket > 0, count - below, count)
    rank = np.where(bucket > 0, rank - below, rank)
    found = start + (bounds[bucket] - start) * (rank / count)
    if bounds[0] <= 0:
        found = np.where(bucket == 0, bounds[0], found)
    found = np.where(bucket == last, bounds[last - 1], found)
    found = np.where(observations == 0, np.nan, found)
    return np.where(is_outside, outside, found), forced & ~is_outside & (observations != 0)


def _search(counts: Floats, rank: Floats) -> Rows:
    """Return the first bucket but the last whose count reaches the rank, by halving as Go's `sort.Search` does."""
    low = np.zeros(rank.shape, dtype=np.intp)
    high = np.full(rank.shape, counts.shape[1] - 1, dtype=np.intp)
    while (low < high).any():
        middle = (low + high) // 2
        reached = np.take_along_axis(counts, middle[:, None], axis=1)[:, 0] >= rank
        going = low < high
        low = np.where(going & ~reached, middle + 1, low)
        high = np.where(going & reached, middle, high)
    return low


def _bucket_fractions(counts: Floats, bounds: Floats, lower: Floats, upper: Floats) -> Floats:
    groups, _, moments = counts.shape
    if bounds[-1] != np.inf:
        return np.full((groups, moments), np.nan)
    counts, bounds = _joined(counts, bounds)
    total = counts[:, -1]
    below, above = _rank(counts, bounds, lower, total), _rank(counts, bounds, upper, total)
    found = np.where(lower >= upper, 0.0, (above - below) / total)
    return np.where((total == 0) | np.isnan(lower) | np.isnan(upper), np.nan, found)


def _rank(counts: Floats, bounds: Floats, value: Floats, total: Floats) -> Floats:
    """Return how many observations are below a value."""
    found = np.zeros(total.shape)
    is_set = np.zeros(total.shape, dtype=np.bool_)
    rank = np.zeros(total.shape)
    start = 0.0 if bounds[0] > 0 else -np.inf
    for bucket, end in enumerate(bounds.tolist()):
        count = counts[:, bucket]
        at_start = ~is_set & (start >= value)
        found = np.where(at_start, rank, found)
        is_set |= at_start
        inside = ~is_set & ((start < value) & (end > value))
        share = count if start == -np.inf else rank + (count - rank) * (value - start) / (end - start)
        found = np.where(inside, share, found)
        is_set |= inside
        rank, start = count, end
    return np.where(~is_set | (found > total), total, found)
