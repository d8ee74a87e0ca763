"""Label sets of series: what operators drop, keep and set, and series that come to have equal ones.

A label set is a tuple in the order of the names (`values.Labels`). Two series may have equal sets as long as no moment
has both: then they are one.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from kobs.errors import QueryEvaluationError
from kobs.model.labels import METRIC_NAME
from kobs.query.promql.values import Block, Labels, LabelSets, derived

_TYPE, _UNIT = "__type__", "__unit__"
METADATA = frozenset({METRIC_NAME, _TYPE, _UNIT})
"""Labels that tell what a metric is: an operation that makes another thing of it drops them."""
_SAME = "vector cannot contain metrics with the same labelset"


def value_of(labels: Labels, name: str) -> str:
    """Return a label's value, empty where there is none."""
    for own, value in labels:
        if own == name:
            return value
    return ""


def without_metadata(labels: Labels) -> Labels:
    """Return a label set without the metric's name, type and unit."""
    # nearly always the name is the first label, and the other two are not there
    if labels and labels[0][0] == METRIC_NAME and (len(labels) == 1 or labels[1][0] > _UNIT):
        return labels[1:]
    return without(labels, METADATA)


def without(labels: Labels, names: frozenset[str]) -> Labels:
    """Return a label set without some names."""
    return tuple([pair for pair in labels if pair[0] not in names])


def only(labels: Labels, names: frozenset[str]) -> Labels:
    """Return those labels of a set that have some names."""
    return tuple([pair for pair in labels if pair[0] in names])


def with_label(labels: Labels, name: str, value: str) -> Labels:
    """Return a label set with one label set; an empty value removes it."""
    rest = [pair for pair in labels if pair[0] != name]
    return tuple(sorted([*rest, (name, value)])) if value else tuple(rest)


def empty(moments: int) -> Block:
    """Return a vector without series."""
    return Block((), np.empty((0, moments)), np.empty((0, moments), dtype=np.bool_))


def taken(block: Block, rows: "NDArray[np.intp] | list[int]") -> Block:
    """Return some series of a vector, in the order of `rows`."""
    return Block(tuple([block.labels[row] for row in rows]), block.values[rows], block.present[rows])


def compact(block: Block) -> Block:
    """Return a vector without the series that are absent throughout."""
    alive = block.present.any(axis=1)
    return block if alive.all() else taken(block, np.flatnonzero(alive))


def relabelled(block: Block, labels: Iterable[Labels]) -> Block:
    """Return the same values under other label sets, of which several may be equal."""
    return Block(tuple(labels), block.values, block.present)


def nameless(block: Block) -> Block:
    """Return the series without their metrics' names, types and units; several may be equal then."""
    rest = derived(block.labels, "nameless", lambda: LabelSets([without_metadata(labels) for labels in block.labels]))
    return Block(rest, block.values, block.present)


def metrics_of(labels: tuple[Labels, ...]) -> frozenset[str]:
    """Return the names of the series' metrics, empty for none."""
    return derived(labels, "metrics", lambda: frozenset([value_of(each, METRIC_NAME) for each in labels]))


def in_order(block: Block) -> Block:
    """Return a vector with its series in the order of their label sets."""
    labels = block.labels
    order = derived(labels, "order", lambda: np.array(sorted(range(len(labels)), key=labels.__getitem__), np.intp))
    if (order[1:] > order[:-1]).all():
        return block
    ordered = derived(labels, "ordered", lambda: LabelSets([labels[row] for row in order.tolist()]))
    return Block(ordered, block.values[order], block.present[order])


def merged(block: Block) -> Block:
    """Return a vector in which series of equal labels are one.

    Raises: QueryEvaluationError if a moment has two of them, as Prometheus does for what it works out step by step.
    """
    if _are_distinct(block.labels):
        return block
    numbers: dict[Labels, int] = {}
    target = np.array([numbers.setdefault(labels, len(numbers)) for labels in block.labels], dtype=np.intp)
    order = np.argsort(target, kind="stable")
    starts = np.flatnonzero(np.diff(target[order], prepend=-1))
    present = block.present[order]
    counts = np.add.reduceat(present, starts, axis=0, dtype=np.int64)
    if (counts > 1).any():
        raise QueryEvaluationError(_SAME)
    # of one value and zeros in bits: it keeps NaN and the sign of zero
    bits = np.where(present, np.ascontiguousarray(block.values[order]).view(np.int64), 0)
    values = np.bitwise_or.reduceat(bits, starts, axis=0).view(np.float64)
    return Block(tuple(numbers), values, counts > 0)


def distinct(block: Block) -> Block:
    """Return a vector as it is.

    Raises: QueryEvaluationError if two of its series have equal labels, even at different moments, as Prometheus does
        for what it works out series by series.
    """
    if not _are_distinct(block.labels):
        block = compact(block)
        if not _are_distinct(block.labels):
            raise QueryEvaluationError(_SAME)
    return block


def _are_distinct(labels: tuple[Labels, ...]) -> bool:
    return derived(labels, "distinct", lambda: len(set(labels)) == len(labels))
