"""Binary operators where a vector takes part: vectors and numbers arrive, a vector leaves.

Which series belong together is worked out once, by their labels; at each moment only those that are there take part.

Source: Prometheus 3, `promql/engine.go` (`VectorBinop`, `VectorscalarBinop`, `VectorAnd`, `VectorOr`, `VectorUnless`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kobs.errors import QueryEvaluationError
from kobs.model.labels import METRIC_NAME
from kobs.query.promql import arithmetic
from kobs.query.promql.labelsets import (
    METADATA,
    compact,
    empty,
    merged,
    nameless,
    only,
    taken,
    value_of,
    with_label,
    without,
    without_metadata,
)
from kobs.query.promql.tree import Cardinality, VectorMatching
from kobs.query.promql.values import Block, Labels, derived
from kobs.query.promql.wording import shown

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Rows = NDArray[np.intp]

_MANY = ";many-to-many matching not allowed: matching labels must be unique on one side"
_NOT_EXPLICIT = "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
_NOT_UNIQUE = "multiple matches for labels: grouping labels must ensure unique matches"
_SAME = "vector cannot contain metrics with the same labelset"


def with_scalar(operator: str, vector: Block, scalar: Floats, *, scalar_is_left: bool, returns_bool: bool) -> Block:
    """Return an operator between a vector and a number at each moment; a comparison keeps the vector's values."""
    left, right = (scalar, vector.values) if scalar_is_left else (vector.values, scalar)
    values, stays = arithmetic.of_elements(operator, left, right, kept=vector.values, returns_bool=returns_bool)
    present = vector.present if stays is None else vector.present & stays
    found = Block(vector.labels, np.broadcast_to(values, present.shape), present)
    return merged(nameless(found)) if stays is None else found


def of_vectors(operator: str, left: Block, right: Block, matching: VectorMatching, *, returns_bool: bool) -> Block:
    """Return an operator between two vectors whose series are matched by labels.

    Raises: QueryEvaluationError if more than one series of a side belongs to a group where one is expected.
    """
    # the side with many series of a group is `many`, with one-to-one the left one
    swaps = matching.cardinality is Cardinality.ONE_TO_MANY
    many, one = (compact(right), compact(left)) if swaps else (compact(left), compact(right))
    moments = left.values.shape[1]
    if not many.labels or not one.labels:
        return empty(moments)
    of_one: dict[Labels, list[int]] = {}
    for row, own in enumerate(_signatures(one, matching)):
        of_one.setdefault(own, []).append(row)
    of_many = _signatures(many, matching)
    faults = _Faults(moments)
    _find_double(faults, one, [rows for rows in of_one.values() if len(rows) > 1], many, matching, swaps=swaps)
    many_rows = [row for row, key in enumerate(of_many) for _ in of_one.get(key, ())]
    one_rows = [found for key in of_many for found in of_one.get(key, ())]
    if not many_rows:
        faults.raise_first()
        return empty(moments)
    many_values, one_values = many.values[many_rows], one.values[one_rows]
    present = many.present[many_rows] & one.present[one_rows]
    left_values, right_values = (one_values, many_values) if swaps else (many_values, one_values)
    values, stays = arithmetic.of_elements(
        operator, left_values, right_values, kept=left_values, returns_bool=returns_bool
    )
    if stays is not None:
        present &= stays
    label = _result_labels(matching, drops_metadata=operator in arithmetic.ARITHMETIC, returns_bool=returns_bool)
    labels = tuple([label(many.labels[m], one.labels[o]) for m, o in zip(many_rows, one_rows, strict=True)])
    keys = [of_many[row] for row in many_rows]
    if matching.cardinality is Cardinality.ONE_TO_ONE:
        faults.find_second(keys, many_rows, present, _NOT_EXPLICIT)
    else:
        faults.find_second(list(zip(keys, labels, strict=True)), many_rows, present, _NOT_UNIQUE)
    faults.find_second(labels, many_rows, present, _SAME)
    faults.raise_first()
    return merged(Block(labels, values, present))


def of_sets(operator: str, left: Block, right: Block, matching: VectorMatching) -> Block:
    """Return the series of the left vector that have a match (`and`) or none (`unless`), or those of both (`or`)."""
    left_keys, right_keys = _signatures(left, matching), _signatures(right, matching)
    if operator == "or":
        added = right.present & ~_present_by_key(left_keys, left.present, right_keys)
        rows = np.flatnonzero(added.any(axis=1))
        rest = taken(right, rows)
        joined = Block(
            left.labels + rest.labels,
            np.concatenate([left.values, rest.values]),
            np.concatenate([left.present, added[rows]]),
        )
        return merged(joined)
    matched = _present_by_key(right_keys, right.present, left_keys)
    return Block(left.labels, left.values, left.present & (matched if operator == "and" else ~matched))


@dataclass(slots=True)
class _Faults:
    """The fault of the earliest moment: later ones would not have been reached."""

    moment: int
    said: str | None = None

    def add(self, moment: int, said: str) -> None:
        if moment < self.moment:
            self.moment, self.said = moment, said

    def find_second(self, keys: Sequence[object], rows: Sequence[int], present: Flags, said: str) -> None:
        """Add a fault if results of several series have the same key at a moment."""
        if len(set(keys)) == len(keys):
            return
        by_key: dict[object, list[int]] = {}
        for result, key in enumerate(keys):
            by_key.setdefault(key, []).append(result)
        for results in by_key.values():
            if len(results) > 1 and len({rows[result] for result in results}) > 1:
                double = np.flatnonzero(present[results].sum(axis=0) > 1)
                if len(double):
                    self.add(int(double[0]), said)

    def raise_first(self) -> None:
        if self.said is not None:
            raise QueryEvaluationError(self.said)


def _find_double(
    faults: _Faults, one: Block, groups: list[list[int]], many: Block, matching: VectorMatching, *, swaps: bool
) -> None:
    """Add a fault for the first moment at which two series of the side that must have one are there."""
    asked = many.present.any(axis=0) if groups else None
    doubles = []
    for rows in groups:
        found = np.flatnonzero((one.present[rows].sum(axis=0) > 1) & asked)
        if len(found):
            doubles.append((int(found[0]), rows))
    if not doubles:
        return
    moment = min(at for at, _ in doubles)
    # in the order of labels, the first series that another of its group comes before
    pairs = []
    for at, rows in doubles:
        if at == moment:
            there = sorted(one.labels[row] for row in rows if one.present[row, moment])
            pairs.append((there[1], there[0]))
    second, first = min(pairs)
    names = frozenset(matching.labels)
    group = only(first, names) if matching.is_on else without(first, names | {METRIC_NAME})
    faults.add(
        moment,
        f"found duplicate series for the match group {shown(group)} on the {'left' if swaps else 'right'} "
        f"hand-side of the operation: [{shown(second)}, {shown(first)}]{_MANY}",
    )


def _signatures(vector: Block, matching: VectorMatching) -> list[Labels]:
    """Return what of each series' labels it is matched by."""
    key = ("signatures", matching.is_on, matching.labels)
    return derived(vector.labels, key, lambda: list(map(_signature(matching), vector.labels)))


def _signature(matching: VectorMatching) -> Callable[[Labels], Labels]:
    """Return what makes of a label set those labels by which it is matched."""
    names = frozenset(matching.labels)
    if matching.is_on:
        return lambda labels: only(labels, names)
    if not names:
        return _without_name
    names |= {METRIC_NAME}
    return lambda labels: without(labels, names)


def _without_name(labels: Labels) -> Labels:
    if labels and labels[0][0] == METRIC_NAME:
        return labels[1:]
    return tuple([pair for pair in labels if pair[0] != METRIC_NAME])


def _result_labels(
    matching: VectorMatching, *, drops_metadata: bool, returns_bool: bool
) -> Callable[[Labels, Labels], Labels]:
    """Return what makes the labels of a result, of those of the two series."""
    names = frozenset(matching.labels)
    is_one_to_one = matching.cardinality is Cardinality.ONE_TO_ONE

    def labels_of(many: Labels, one: Labels) -> Labels:
        found = without_metadata(many) if drops_metadata else many
        if is_one_to_one:
            found = only(found, names) if matching.is_on else without(found, names) if names else found
        for name in matching.include:
            found = with_label(found, name, value_of(one, name))
        return without(found, METADATA) if returns_bool else found

    return labels_of


def _present_by_key(keys: list[Labels], present: Flags, asked: list[Labels]) -> Flags:
    """Return for each key that is asked where a series with this key is there."""
    found = np.zeros((len(asked), present.shape[1]), dtype=np.bool_)
    rows_of: dict[Labels, list[int]] = {}
    for row, key in enumerate(keys):
        rows_of.setdefault(key, []).append(row)
    asking: dict[Labels, list[int]] = {}
    for row, key in enumerate(asked):
        if key in rows_of:
            asking.setdefault(key, []).append(row)
    singles = [(row, rows_of[key][0]) for key, rows in asking.items() if len(rows_of[key]) == 1 for row in rows]
    if singles:
        to, of = map(list, zip(*singles, strict=True))
        found[to] = present[of]
    for key, rows in asking.items():
        if len(rows_of[key]) > 1:
            found[rows] = present[rows_of[key]].any(axis=0)
    return found
