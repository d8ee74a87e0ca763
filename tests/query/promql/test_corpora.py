"""All expressions of the compliance queries and of kube-prometheus are understood."""

from collections.abc import Callable
from pathlib import Path

from kobs.errors import QueryError
from kobs.query.promql.parser import parse
from kobs.query.promql.printing import canonical, pretty
from tests.query.promql import corpora

Recorded = Callable[[str], Path]


def test_the_compliance_queries_are_read(recorded: Recorded) -> None:
    queries = corpora.compliance(recorded("promql-compliance"))
    refused = []
    for query, _ in queries:
        try:
            parse(query)
        except QueryError:
            refused.append(query)
    assert len(queries) == 539
    # two more must fail, but only where they are evaluated
    assert refused == ['{__name__=~".*"}']
    assert refused[0] in [query for query, must_fail in queries if must_fail]


def test_the_expressions_of_kube_prometheus_are_read(recorded: Recorded) -> None:
    expressions = corpora.kube_prometheus(recorded("kube-prometheus"))
    assert len(expressions) == 814
    for expression in expressions:
        parse(expression)


def test_what_is_printed_is_read_as_the_same(recorded: Recorded) -> None:
    for expression in corpora.kube_prometheus(recorded("kube-prometheus")):
        text = canonical(parse(expression))
        assert canonical(parse(text)) == text
        assert canonical(parse(pretty(parse(expression)))) == text


def error_of(text: str) -> QueryError | None:
    try:
        parse(text)
    except QueryError as error:
        return error
    return None


def test_what_is_cut_is_refused_with_a_place(recorded: Recorded) -> None:
    """Whatever part of an expression is missing, the answer is a tree or an error at a place in the text."""
    expressions = sorted(set(corpora.kube_prometheus(recorded("kube-prometheus"))))[:50]
    texts = [expression[:end] for expression in expressions for end in range(1, len(expression), 7)]
    errors = {text: error for text in texts if (error := error_of(text)) is not None}
    assert len(errors) > len(texts) / 2
    for text, error in errors.items():
        assert error.start is not None
        assert 0 <= error.start <= len(text)
        assert str(error)[0].isdigit()
