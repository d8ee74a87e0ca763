"""Aggregations: a vector arrives, of each group of its series one leaves, or some of its series do.

Each moment stands on its own: a series that is absent there takes no part. Groups come in the order of their first
series.

Source: Prometheus 3, `promql/engine.go` (`rangeEvalAgg`, `aggregation`, `aggregationK`, `aggregationCountValues`).
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kobs.errors import LimitError, QueryEvaluationError
from kobs.model.labels import METRIC_NAME
from kobs.query.promql.aggregation import ranks, sums
from kobs.query.promql.aggregation.grouping import Groups, grouped
from kobs.query.promql.labelsets import empty, in_order, with_label, without
from kobs.query.promql.literals import number_text, quoted
from kobs.query.promql.notes import Notes
from kobs.query.promql.shape import unwrapped
from kobs.query.promql.tree import Aggregation
from kobs.query.promql.values import Block
from kobs.query.promql.wording import shortest

Floats = NDArray[np.float64]

CHOOSING = frozenset({"bottomk", "limit_ratio", "limitk", "topk"})
"""What answers series of its argument, with all their labels."""
_LARGEST_INTEGER = 2.0**63


def _least(block: Block, groups: Groups) -> Floats:
    found: Floats = np.fmin.reduceat(np.where(block.present, block.values, np.nan)[groups.order], groups.starts, axis=0)
    return found


def _greatest(block: Block, groups: Groups) -> Floats:
    found: Floats = np.fmax.reduceat(np.where(block.present, block.values, np.nan)[groups.order], groups.starts, axis=0)
    return found


_REDUCTIONS: dict[str, Callable[[Block, Groups], Floats]] = {
    "sum": sums.sums,
    "avg": sums.means,
    "count": sums.counts,
    "group": lambda block, groups: np.ones((len(groups.labels), block.values.shape[1])),
    "min": _least,
    "max": _greatest,
    "stdvar": sums.variances,
    "stddev": lambda block, groups: np.sqrt(sums.variances(block, groups)),
}


def aggregated(node: Aggregation, block: Block, parameter: Floats | None, notes: Notes) -> Block:
    """Return an aggregation of a vector; `parameter` is that of quantile, topk and their like, one number a moment.

    Raises: QueryEvaluationError for a parameter that is no number of series.
    """
    if node.operator in CHOOSING:
        assert parameter is not None  # noqa: S101 - the parser sees to it
        return _chosen(node, block, parameter, notes)
    if node.operator == "quantile":
        assert parameter is not None  # noqa: S101 - the parser sees to it
        _note_quantiles(node, parameter, notes)
    if not block.labels:
        return empty(block.values.shape[1])
    groups = grouped(block.labels, node.labels, is_without=node.is_without)
    present = np.logical_or.reduceat(block.present[groups.order], groups.starts, axis=0)
    if parameter is not None:
        return Block(groups.labels, ranks.quantiles(block, groups, parameter), present)
    return Block(groups.labels, _REDUCTIONS[node.operator](block, groups), present)


def count_values(node: Aggregation, block: Block, label: str, *, most_points: int) -> Block:
    """Return how many series of each group have a value, for each value that occurs; the value is a label.

    Raises: QueryEvaluationError for a name that no label can have; LimitError.
    """
    if not label:
        raise QueryEvaluationError(f"invalid label name {quoted(label)}")
    moments = block.values.shape[1]
    if not block.present.any():
        return empty(moments)
    names = node.labels if node.is_without else tuple([name for name in node.labels if name != label])
    stripped = tuple([without(labels, frozenset({label})) for labels in block.labels])
    groups = grouped(stripped, names, is_without=node.is_without)
    of_series = np.empty(len(block.labels), dtype=np.intp)
    for number, rows in enumerate(groups.rows()):
        of_series[rows] = number
    series, columns = np.nonzero(block.present)
    values = block.values[series, columns]
    # by bits, as 0 and -0 have different texts; all NaNs have the same
    bits, kind = _numbered(np.where(np.isnan(values), np.nan, values).view(np.int64))
    keys, of_sample = _numbered(of_series[series] * len(bits) + kind)
    if len(keys) * moments > most_points:
        raise LimitError(
            f"count_values finds {len(keys)} values of {moments} points: the limit is {most_points} points in all "
            "(query.max_points)"
        )
    counted = np.bincount(of_sample * moments + columns, minlength=len(keys) * moments).reshape(len(keys), moments)
    texts = [number_text(value) for value in bits.view(np.float64).tolist()]
    drops_value = node.is_without and (label in node.labels or label == METRIC_NAME)
    labels = []
    for key in keys.tolist():
        group, number = divmod(key, len(bits))
        own = groups.labels[group]
        labels.append(own if drops_value else with_label(own, label, texts[number]))
    found = Block(tuple(labels), counted.astype(np.float64), counted > 0)
    if not drops_value:
        return found
    joined = grouped(found.labels, (), is_without=True)
    total = sums.sums(found, joined)
    return Block(joined.labels, total, total > 0)


def _numbered(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the values that occur, and the number of each value among them."""
    encoded = pa.array(values).dictionary_encode()
    numbers = encoded.indices.to_numpy().astype(np.int64)
    return encoded.dictionary.to_numpy(), numbers


def _chosen(node: Aggregation, block: Block, parameter: Floats, notes: Notes) -> Block:
    if node.operator == "limit_ratio":
        return _by_ratio(node, block, parameter, notes)
    moments = block.values.shape[1]
    if parameter.max() < 1:
        return empty(moments)
    if np.isnan(parameter).any():
        raise QueryEvaluationError("Parameter value is NaN")
    if parameter.min() <= -_LARGEST_INTEGER:
        raise QueryEvaluationError(f"Scalar value {shortest(float(parameter.min()))} underflows int64")
    if parameter.max() >= _LARGEST_INTEGER:
        raise QueryEvaluationError(f"Scalar value {shortest(float(parameter.max()))} overflows int64")
    if not block.labels:
        return block
    # which of equal ones is first does not depend on where they come from
    block = in_order(block)
    groups = grouped(block.labels, node.labels, is_without=node.is_without)
    numbers = np.clip(np.trunc(parameter), 0, len(block.labels)).astype(np.intp)
    if node.operator == "limitk":
        return ranks.first(block, groups, numbers)
    return ranks.greatest(block, groups, numbers, least=node.operator == "bottomk")


def _by_ratio(node: Aggregation, block: Block, ratio: Floats, notes: Notes) -> Block:
    assert node.parameter is not None  # noqa: S101 - the parser sees to it
    if not ratio.any():
        return empty(block.values.shape[1])
    if np.isnan(ratio).any():
        raise QueryEvaluationError("Ratio value is NaN")
    if ratio.max() > 1:
        notes.invalid_ratio(float(ratio.max()), 1.0, at=unwrapped(node.parameter).start)
    if ratio.min() < -1:
        notes.invalid_ratio(float(ratio.min()), -1.0, at=unwrapped(node.parameter).start)
    return ranks.by_ratio(block, np.clip(ratio, -1, 1)) if block.labels else block


def _note_quantiles(node: Aggregation, quantile: Floats, notes: Notes) -> None:
    assert node.parameter is not None  # noqa: S101 - the parser sees to it
    at = unwrapped(node.parameter).start
    if np.isnan(quantile).any():
        notes.invalid_quantile(np.nan, at=at)
        return
    if quantile.max() > 1:
        notes.invalid_quantile(float(quantile.max()), at=at)
    if quantile.min() < 0:
        notes.invalid_quantile(float(quantile.min()), at=at)
