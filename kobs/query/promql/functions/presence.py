"""What is there: `absent`, `absent_over_time`, `scalar`.

Source: Prometheus 3, `promql/functions.go` (`createLabelsForAbsentFunction`).
"""

import numpy as np
from numpy.typing import NDArray

from kobs.model.labels import METRIC_NAME
from kobs.query.promql.tree import Expression, MatchOperator, MatrixSelector, VectorSelector
from kobs.query.promql.values import Block, Labels


def absent(block: Block, argument: Expression) -> Block:
    """Return one series of 1 at the moments at which no series is there, with the labels that the argument asks for."""
    gone = ~np.logical_or.reduce(block.present, axis=0)
    return Block((absent_labels(argument),), np.ones((1, len(gone))), gone[None])


def absent_labels(argument: Expression) -> Labels:
    """Return the labels that a selector sets by `=`, once each and not otherwise, without the metric's name."""
    match argument:
        case VectorSelector():
            matchers = argument.matchers
        case MatrixSelector():
            matchers = argument.vector.matchers
        case _:
            return ()
    found: dict[str, str] = {}
    seen: set[str] = set()
    for matcher in matchers:
        if matcher.name == METRIC_NAME:
            continue
        if matcher.operator is MatchOperator.EQUAL and matcher.name not in seen:
            found[matcher.name] = matcher.value
            seen.add(matcher.name)
        else:
            found.pop(matcher.name, None)
    return tuple(sorted((name, value) for name, value in found.items() if value))


def only_value(block: Block) -> NDArray[np.float64]:
    """Return the value of the one series at each moment, NaN where there is none or are several. Shape: (T,)."""
    count = block.present.sum(axis=0)
    bits = np.where(block.present, np.ascontiguousarray(block.values).view(np.int64), 0)
    values = np.bitwise_or.reduce(bits, axis=0).view(np.float64)
    return np.where(count == 1, values, np.nan)
