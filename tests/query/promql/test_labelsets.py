"""Label sets, and series of equal ones."""

import math

import pytest

from kobs.errors import QueryEvaluationError
from kobs.query.promql.labelsets import (
    compact,
    distinct,
    in_order,
    merged,
    metrics_of,
    nameless,
    only,
    value_of,
    with_label,
    without_metadata,
)
from kobs.query.promql.values import Block, LabelSets, derived
from tests.query.promql.vectors import Row, labels, same, told, vector

NAN = math.nan


def test_what_a_metric_is_goes_wherever_it_stands() -> None:
    assert without_metadata(labels("m a=1")) == labels(" a=1")
    assert without_metadata(labels("m __type__=gauge __unit__=s a=1")) == labels(" a=1")
    assert without_metadata(labels("m A=0 __unit__=s a=1")) == labels(" A=0 a=1")
    assert without_metadata(labels("m __a=0")) == labels(" __a=0")
    assert without_metadata(()) == ()


def test_labels_are_set_in_the_order_of_names() -> None:
    assert with_label(labels("m b=2"), "a", "1") == labels("m a=1 b=2")
    assert with_label(labels("m b=2"), "b", "3") == labels("m b=3")
    assert with_label(labels("m b=2"), "b", "") == labels("m")
    assert only(labels("m a=1 b=2"), frozenset({"b", "c"})) == labels(" b=2")
    assert value_of(labels("m a=1"), "a") == "1"
    assert value_of(labels("m a=1"), "b") == ""


def doubled(rows: dict[str, Row]) -> Block:
    """Return a vector whose series have equal labels in pairs: those of the names before a dash."""
    found = vector(rows)
    names = tuple(labels(dict(own)["__name__"].partition("-")[0]) for own in found.labels)
    return Block(names, found.values, found.present)


def test_series_of_equal_labels_are_one_where_they_do_not_meet() -> None:
    rows: dict[str, Row] = {"a-1": [1.0, None, None, -0.0], "b-1": [5.0] * 4, "a-2": [None, NAN, None, None]}
    assert same(told(merged(doubled(rows))), {"a": [1.0, NAN, None, -0.0], "b": [5.0] * 4})
    with pytest.raises(QueryEvaluationError, match="vector cannot contain metrics with the same labelset"):
        merged(doubled({"a-1": [1.0, None], "a-2": [1.0, 2.0]}))
    with pytest.raises(QueryEvaluationError, match="vector cannot contain metrics with the same labelset"):
        distinct(doubled({"a-1": [1.0, None], "a-2": [None, 2.0]}))
    assert same(told(distinct(doubled({"a-1": [1.0, None], "a-2": [None, None]}))), {"a": [1.0, None]})


def test_series_that_are_never_there_go() -> None:
    assert compact(vector({"a": [None, None], "b": [None, 1.0]})).labels == (labels("b"),)


def test_what_was_worked_out_from_label_sets_is_remembered_with_them_and_only_there() -> None:
    rows: dict[str, Row] = {"m b=2": [2.0], "m a=1": [1.0], "n c=3": [3.0]}
    plain = vector(rows)
    remembering = Block(LabelSets(plain.labels), plain.values, plain.present)
    for _ in range(2):
        for block in (plain, remembering):
            assert told(nameless(block)) == {" b=2": [2.0], " a=1": [1.0], " c=3": [3.0]}
            assert list(told(in_order(block))) == ["m a=1", "m b=2", "n c=3"]
            assert told(in_order(block)) == told(block)
            assert metrics_of(block.labels) == {"m", "n"}
    assert nameless(remembering).labels is nameless(remembering).labels
    assert in_order(remembering).labels is in_order(remembering).labels
    # Other values of the same series: only labels are remembered.
    other = Block(remembering.labels, plain.values * 10, plain.present)
    assert told(in_order(other)) == {"m a=1": [10.0], "m b=2": [20.0], "n c=3": [30.0]}
    # What is in order already stays as it is.
    sorted_block = in_order(remembering)
    assert in_order(sorted_block) is sorted_block


def test_few_things_are_remembered_of_label_sets() -> None:
    label_sets = LabelSets([labels("m a=1")])
    made = []

    def make(number: int) -> int:
        made.append(number)
        return number

    for _ in range(2):
        for number in range(1000):
            assert derived(label_sets, number % 40, lambda number=number: make(number % 40)) == number % 40
    assert len(label_sets._derived) <= 16
    assert len(made) > 40
