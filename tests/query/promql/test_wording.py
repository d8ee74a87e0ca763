"""Numbers and label sets are written as Go writes them."""

import math

import pytest

from kobs.query.promql.notes import Notes
from kobs.query.promql.wording import shortest, shown


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (2.0, "2"),
        (-0.1, "-0.1"),
        (123456.0, "123456"),
        (1234567.0, "1.234567e+06"),
        (1e6, "1e+06"),
        (100000.0, "100000"),
        (0.0001, "0.0001"),
        (0.00012345, "0.00012345"),
        (1e-05, "1e-05"),
        (-1.5e300, "-1.5e+300"),
        (5e-324, "5e-324"),
        (math.nan, "NaN"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
    ],
    ids=str,
)
def test_the_shortest_text_of_a_number(number: float, text: str) -> None:
    assert shortest(number) == text


def test_label_sets() -> None:
    assert shown(()) == "{}"
    assert shown((("__name__", "up"), ("a.b", 'c"\n\u00a0é'))) == '{__name__="up", "a.b"="c\\"\\n\\u00a0é"}'


def test_places_are_lines_and_bytes() -> None:
    notes = Notes('é +\n"é" + x')
    notes.invalid_quantile(2.0, at=11)
    assert list(notes.annotations().warnings) == [
        "PromQL warning: quantile value should be between 0 and 1, got 2 (2:9)"
    ]


def test_the_same_words_are_told_once_with_their_last_place() -> None:
    notes = Notes("a + b")
    notes.invalid_quantile(2.0, at=0)
    notes.invalid_quantile(3.0, at=0)
    notes.invalid_quantile(2.0, at=4)
    assert [text[-11:] for text in notes.annotations().warnings] == ["got 2 (1:5)", "got 3 (1:1)"]
