"""What is accepted, what is refused and in which words is the same as in a real Prometheus, on texts made at random."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from kobs.errors import QueryError, UnsupportedQueryError
from kobs.query.promql.describing import describe
from kobs.query.promql.parser import parse
from kobs.query.promql.printing import pretty
from kobs.query.promql.tree import Expression
from tests.prometheus import Prometheus, running_prometheus
from tests.query.promql.texts import damaged, expressions

many = settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with running_prometheus(tmp_path_factory.mktemp("prometheus")) as server:
        yield server


def read(text: str) -> Expression | QueryError:
    try:
        return parse(text, experimental_functions=True)
    except QueryError as error:
        return error


def compare(prometheus: Prometheus, text: str) -> None:
    """Compare the tree, the laid out text or the error with Prometheus'."""
    answer: Any = prometheus.get("/api/v1/parse_query", query=text)
    tree = read(text)
    if isinstance(tree, UnsupportedQueryError):
        return
    if isinstance(tree, QueryError):
        assert answer["status"] == "error", f"kobs refuses: {tree}"
        said = answer["error"].removeprefix('invalid parameter "query": ')
        assert str(tree) == said or str(tree).startswith(f"{said}, expected ")
    else:
        assert answer["status"] == "success", answer["error"]
        assert describe(tree) == answer["data"]
        assert pretty(tree) == prometheus.get("/api/v1/format_query", query=text)["data"]


@many
@given(text=expressions)
def test_right_texts_are_read_as_by_prometheus(prometheus: Prometheus, text: str) -> None:
    compare(prometheus, text)


@many
@given(text=damaged())
def test_damaged_texts_are_refused_as_by_prometheus(prometheus: Prometheus, text: str) -> None:
    compare(prometheus, text)
