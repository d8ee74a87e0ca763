"""What is there: absent series and their labels, and the one value of a vector."""

import math

import pytest

from kobs.query.promql.functions.presence import absent, absent_labels, only_value
from kobs.query.promql.tree import Matcher, MatchOperator, MatrixSelector, NumberLiteral, VectorSelector
from tests.query.promql.vectors import Row, same, told, vector

EQUAL, NOT_EQUAL, REGEX = MatchOperator.EQUAL, MatchOperator.NOT_EQUAL, MatchOperator.REGEX


def selector(*matchers: tuple[str, MatchOperator, str]) -> VectorSelector:
    return VectorSelector(tuple(Matcher(name, how, value, 0, 0) for name, how, value in matchers), 0, None, 0, 0)


def test_absent_is_one_where_nothing_is_there() -> None:
    asked = selector(("__name__", EQUAL, "up"), ("job", EQUAL, "a"))
    assert same(
        told(absent(vector({"up job=a": [1.0, None], "up job=b": [None, None]}), asked)), {" job=a": [None, 1.0]}
    )
    assert same(told(absent(vector({"up": [None, None]}), NumberLiteral(1.0, 0, 0))), {"": [1.0, 1.0]})
    assert told(absent(vector({"up": [math.nan]}), asked)) == {}


@pytest.mark.parametrize(
    ("matchers", "labels"),
    [
        ([("a", EQUAL, "1"), ("b", EQUAL, "2")], (("a", "1"), ("b", "2"))),
        ([("b", EQUAL, "2"), ("a", NOT_EQUAL, "1"), ("c", REGEX, "x")], (("b", "2"),)),
        ([("a", EQUAL, "1"), ("a", EQUAL, "1"), ("b", EQUAL, "2")], (("b", "2"),)),
        ([("a", EQUAL, "1"), ("a", REGEX, ".+")], ()),
        ([("a", REGEX, ".+"), ("a", EQUAL, "1")], (("a", "1"),)),
        ([("a", EQUAL, "")], ()),
        ([("__name__", EQUAL, "up")], ()),
    ],
    ids=str,
)
def test_the_labels_of_what_is_absent(
    matchers: list[tuple[str, MatchOperator, str]], labels: tuple[tuple[str, str], ...]
) -> None:
    asked = selector(*matchers)
    assert absent_labels(asked) == absent_labels(MatrixSelector(asked, 1000, 0, 0)) == labels


def test_a_vector_of_one_series_has_a_number() -> None:
    rows: dict[str, Row] = {"a": [1.0, None, None, -0.0], "b": [2.0, 3.0, None, None]}
    assert repr(only_value(vector(rows)).tolist()) == "[nan, 3.0, nan, -0.0]"
