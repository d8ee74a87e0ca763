"""What needs the order of values within a group: quantiles, and the choice of some series.

Source: Prometheus 3, `promql/engine.go` (`aggregationK`, `HashRatioSampler`), `promql/quantile.go` (`quantile`).
"""

import numpy as np
import xxhash
from numpy.typing import NDArray

from kobs.query.promql.aggregation.grouping import Groups, Rows
from kobs.query.promql.labelsets import taken
from kobs.query.promql.values import Block, Labels

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_LARGEST_HASH = float(2**64)
_BLOCK = 64
"""Series whose least values are compared before all are."""


def quantiles(block: Block, groups: Groups, quantile: Floats) -> Floats:
    """Return the quantiles of the groups, each moment with its own. Shape: quantile (T,); (G, T)."""
    found = np.empty((len(groups.labels), block.values.shape[1]))
    for group, rows in enumerate(groups.rows()):
        found[group] = column_quantiles(block.values[rows], block.present[rows], quantile)
    return found


def column_quantiles(values: Floats, present: Flags, quantile: Floats) -> Floats:
    """Return a quantile of each column; NaN counts as the least value. Shape: (n, T), (n, T), (T,); (T,)."""
    # columns side by side in memory are sorted several times as fast
    in_order = np.sort(np.ascontiguousarray(np.where(present, values, np.nan).T), axis=1)
    count = present.sum(axis=0)
    unordered = (present & np.isnan(values)).sum(axis=0)
    rank = np.clip(np.nan_to_num(quantile), 0, 1) * (count - 1)
    below = np.floor(rank)
    lower = np.maximum(below, 0).astype(np.intp)
    upper = np.minimum(count - 1, lower + 1).astype(np.intp)
    weight = rank - below
    columns = np.arange(values.shape[1])

    def at(index: Rows) -> Floats:
        # NaNs are first in Prometheus' order and last in numpy's
        found: Floats = in_order[columns, np.maximum(index - unordered, 0)]
        return np.where(index < unordered, np.nan, found)

    found = at(lower) * (1 - weight) + at(upper) * weight
    found = np.where(quantile < 0, -np.inf, np.where(quantile > 1, np.inf, found))
    return np.where(np.isnan(quantile) | (count == 0), np.nan, found)


def greatest(block: Block, groups: Groups, numbers: Rows, *, least: bool) -> Block:
    """Return of each group the `numbers` greatest (or least) values at each moment; of equal ones the first.

    NaN is chosen only where there is nothing else. With one moment, series are in the order of their values within
    each group. Shape: numbers (T,).
    """
    rows_found: list[Rows] = []
    chosen: list[Flags] = []
    for rows in groups.rows():
        values, present = block.values[rows], block.present[rows]
        key = values if least else -values
        taken_here = _first(key, present, numbers)
        if values.shape[1] == 1:
            # numpy sorts NaN to the end
            by_value = np.argsort(key[:, 0], kind="stable")
            rows, taken_here = rows[by_value], taken_here[by_value]  # noqa: PLW2901 - the same rows in their final order
        alive = taken_here.any(axis=1)
        rows_found.append(rows[alive])
        chosen.append(taken_here[alive])
    return _chosen(block, rows_found, chosen)


def first(block: Block, groups: Groups, numbers: Rows) -> Block:
    """Return the first `numbers` series of each group that there are at each moment. Shape: numbers (T,)."""
    chosen: list[Flags] = []
    rows_found: list[Rows] = []
    for rows in groups.rows():
        present = block.present[rows]
        chosen.append(present & (np.cumsum(present, axis=0) <= numbers))
        rows_found.append(rows)
    return _chosen(block, rows_found, chosen)


def by_ratio(block: Block, ratio: Floats) -> Block:
    """Return those series whose hash lies in a share of all hashes, from the end for a negative one. Shape: (T,)."""
    place = np.array([_hash(labels) / _LARGEST_HASH for labels in block.labels])[:, None]
    inside = np.where(ratio >= 0, place < ratio, place >= 1.0 + ratio) & (ratio != 0)
    return Block(block.labels, block.values, block.present & inside)


def _chosen(block: Block, rows: list[Rows], chosen: list[Flags]) -> Block:
    if not rows:
        return block
    all_rows = np.concatenate(rows)
    found = taken(block, all_rows)
    return Block(found.labels, found.values, np.concatenate(chosen))


def _first(key: Floats, present: Flags, numbers: Rows) -> Flags:
    """Return where the least `numbers` keys of each column are; of equal ones the first."""
    unordered = present & np.isnan(key)
    ordered = present & ~unordered
    number = np.minimum(numbers, ordered.sum(axis=0))
    chosen = np.zeros(key.shape, dtype=np.bool_)
    if number.any():
        shown = np.where(ordered, key, np.inf)
        rows = _candidates(shown, number)
        chosen[rows] = _least(shown[rows], ordered[rows], number)
    if unordered.any():
        chosen |= unordered & (np.cumsum(unordered, axis=0) <= numbers - number)
    return chosen


def _candidates(shown: Floats, number: Rows) -> Rows:
    """Return the rows that may be among the least of any column."""
    if len(shown) < _BLOCK * 4 * int(number.max()):
        return np.arange(len(shown))
    # so many blocks have a least value that is not greater than this: none of the chosen is
    least = np.sort(np.minimum.reduceat(shown, np.arange(0, len(shown), _BLOCK), axis=0), axis=0)
    bound = least[np.maximum(number - 1, 0), np.arange(shown.shape[1])]
    return np.flatnonzero(np.logical_or.reduce((shown <= bound) & (number > 0), axis=1))


def _least(shown: Floats, ordered: Flags, number: Rows) -> Flags:
    """Return where the least `number` values of each column are; there are so many. Shape: number (T,)."""
    # columns side by side in memory are sorted several times as fast
    columns = np.ascontiguousarray(shown.T)
    at = np.maximum(number - 1, 0)
    one = int(at[0])
    if (at == one).all():
        last = np.partition(columns, one, axis=1)[:, one]
    else:
        last = np.sort(columns, axis=1)[np.arange(len(at)), at]
    chosen: Flags = ordered & (shown <= last) & (number > 0)
    equal = chosen & (shown == last)
    left = number - (chosen & ~equal).sum(axis=0)
    chosen &= ~equal | (np.cumsum(equal, axis=0) <= left)
    return chosen


def _hash(labels: Labels) -> int:
    """Return Prometheus' hash of a label set."""
    content = bytearray()
    for pair in labels:
        for text in pair:
            encoded = text.encode()
            size = len(encoded)
            content += bytes([size]) if size < 255 else b"\xff" + size.to_bytes(3, "little")
            content += encoded
    return xxhash.xxh64_intdigest(bytes(content))
