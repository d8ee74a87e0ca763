"""Label sets, and series of equal ones."""

import math

import pytest

from kobs.errors import QueryEvaluationError
from kobs.query.promql.labelsets import compact, distinct, merged, only, value_of, with_label, without_metadata
from kobs.query.promql.values import Block
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
