"""The package `promql-parser` accepts nothing that kobs refuses, and refuses something of the rest for four reasons."""

from collections.abc import Callable
from pathlib import Path

import promql_parser
import pytest
from hypothesis import HealthCheck, given, settings

from kobs.errors import QueryError
from kobs.query.promql.parser import parse
from tests.query.promql import corpora
from tests.query.promql.texts import damaged, expressions

DIFFERENCES = {
    "unknown escape sequence": "it looks for escapes between backquotes, which have none",
    "unexpected character inside brackets": "it knows no signs between brackets: foo[+5m]",
    "is not valid label in grouping opts": "it takes no colon in a label's name, which Prometheus 3 takes",
    "bad number or duration syntax": "it knows no numbers with _ between digits",
}
"""A part of its error, and why Prometheus 3.8 accepts nevertheless."""

many = settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def refusal(read: Callable[[str], object], text: str) -> str | None:
    try:
        read(text)
    except (QueryError, ValueError) as error:
        return str(error)
    return None


def compare(text: str) -> None:
    ours = refusal(lambda query: parse(query, experimental_functions=True), text)
    other = refusal(promql_parser.parse, text)
    if ours is not None:
        assert other is not None
    elif other is not None:
        assert any(difference in other for difference in DIFFERENCES), other


@many
@given(text=expressions)
def test_on_right_texts(text: str) -> None:
    compare(text)


@many
@given(text=damaged())
def test_on_damaged_texts(text: str) -> None:
    compare(text)


def test_on_the_compliance_queries(recorded: Callable[[str], Path]) -> None:
    for query, _ in corpora.compliance(recorded("promql-compliance")):
        compare(query)


@pytest.mark.parametrize(
    ("text", "difference"),
    [
        ("a{b=`\\d`}", "unknown escape sequence"),
        ("a[+5m]", "unexpected character inside brackets"),
        ("sum by (a:b) (c)", "is not valid label in grouping opts"),
        ("1_000", "bad number or duration syntax"),
    ],
)
def test_every_difference_is_still_there(text: str, difference: str) -> None:
    """One that goes away in a new release goes from the list."""
    assert refusal(parse, text) is None
    assert difference in (refusal(promql_parser.parse, text) or "")
