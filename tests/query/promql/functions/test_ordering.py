"""The order of an instant query's series."""

import itertools
import math

import pytest

from kobs.query.promql.functions.ordering import by_labels, by_value, is_before
from tests.query.promql.vectors import told, vector

INF, NAN = math.inf, math.nan


def test_by_value_nan_is_last_either_way() -> None:
    block = vector({"a": [2.0], "b": [NAN], "c": [-INF], "d": [INF], "e": [None], "f": [0.5]})
    assert list(told(by_value(block, descending=False))) == ["c", "f", "a", "d", "b"]
    assert list(told(by_value(block, descending=True))) == ["d", "a", "f", "c", "b"]


def test_natural_order_takes_digits_as_numbers() -> None:
    texts = ["1", "2", "10", "a", "a1", "a2", "a2b", "a2b3", "a10", "b"]
    for (one, left), (other, right) in itertools.permutations(enumerate(texts), 2):
        assert is_before(left, right) == (one < other), (left, right)


def test_numbers_beyond_64_bits_are_texts() -> None:
    assert is_before("100000000000000000000", "9")
    assert is_before("9", "10")


@pytest.mark.parametrize("descending", [False, True])
def test_by_labels_then_by_all_labels(descending: bool) -> None:  # noqa: FBT001 - a case
    rows = ["m a=1 b=2", "m a=2 b=1", "m a=10 b=1", "n a=10 b=1"]
    block = vector({row: [1.0] for row in ("n a=10 b=1", "m a=10 b=1", "m a=2 b=1", "m a=1 b=2")})
    found = list(told(by_labels(block, ("a",), descending=descending)))
    assert found == (rows[::-1] if descending else rows)
    two = list(told(by_labels(block, ("b", "a"), descending=descending)))
    expected = ["m a=2 b=1", "m a=10 b=1", "n a=10 b=1", "m a=1 b=2"]
    assert two == (expected[::-1] if descending else expected)


def test_series_without_the_label_are_last_and_in_reverse_first() -> None:
    block = vector({row: [1.0] for row in ("m b=2", "m a=5", "m b=1", "m a=10")})
    assert list(told(by_labels(block, ("a",), descending=False))) == ["m a=5", "m a=10", "m b=1", "m b=2"]
    assert list(told(by_labels(block, ("a",), descending=True))) == ["m b=2", "m b=1", "m a=10", "m a=5"]
