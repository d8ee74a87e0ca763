"""`label_replace` and `label_join`: templates, names, what matches, and label sets that come to be equal."""

import pytest

from kobs.errors import QueryEvaluationError
from kobs.query.promql.functions.relabelling import label_join, label_replace
from tests.query.promql.vectors import told, vector


def replaced(source: str, pattern: str, replacement: str, *, value: str = "a-b", target: str = "new") -> str:
    """Return the new label of a series whose label `src` has a value."""
    block = vector({f"m {source}={value}": [1.0]})
    return dict(label_replace(block, target, replacement, source, pattern).labels[0]).get(target, "")


@pytest.mark.parametrize(
    ("pattern", "replacement", "expected"),
    [
        ("(.*)-(.*)", "$2/$1", "b/a"),
        ("(.*)-(.*)", "${2}x$1", "bxa"),
        ("(.*)-(.*)", "$2x", ""),
        ("(?P<one>.*)-(?P<two>.*)", "$two.${one}", "b.a"),
        ("(.*)", "$0|$1", "a-b|a-b"),
        ("(.*)", "$$1 $", "$1 $"),
        ("(.*)", "${1", "${1"),
        ("(.*)", "${}$-${1}", "${}$-a-b"),
        ("(.*)", "$01$2$nothing", ""),
        ("(.*)", "$1_$ä", ""),
        ("(x)?a-b", "[$1]", "[]"),
        ("a", "never", ""),
        (".*", "fixed", "fixed"),
        ("a.b", "", ""),
        ("(?i)A-B", "any case", "any case"),
    ],
    ids=str,
)
def test_a_template_of_a_match(pattern: str, replacement: str, expected: str) -> None:
    assert replaced("src", pattern, replacement) == expected


def test_a_label_that_is_not_there_is_empty() -> None:
    found = label_replace(vector({"m a=1": [1.0]}), "b", "was[$1]", "c", "(.*)")
    assert list(told(found)) == ["m a=1 b=was[]"]


def test_an_empty_value_removes_the_label_and_the_name_can_be_set() -> None:
    assert list(told(label_replace(vector({"m a=1": [1.0]}), "a", "", "a", ".*"))) == ["m"]
    assert list(told(label_replace(vector({"m a=1": [1.0]}), "__name__", "n_$1", "a", "(.*)"))) == ["n_1 a=1"]
    assert list(told(label_replace(vector({"m Z=1": [1.0]}), "Y.y", "2", "", ""))) == ["m Y.y=2 Z=1"]


def test_a_pattern_sees_the_whole_value_with_its_line_breaks() -> None:
    assert replaced("src", "a.b", "yes", value="a\nb") == "yes"


def test_label_sets_that_come_to_be_equal_are_an_error_even_at_different_moments() -> None:
    block = vector({"m a=1": [1.0, None], "m a=2": [None, 1.0]})
    with pytest.raises(QueryEvaluationError, match="vector cannot contain metrics with the same labelset"):
        label_replace(block, "a", "x", "a", ".*")
    with pytest.raises(QueryEvaluationError, match="vector cannot contain metrics with the same labelset"):
        label_join(block, "a", "")
    assert list(told(label_join(vector({"m a=1": [1.0], "m a=2": [None]}), "a", "-", ("a", "a")))) == ["m a=1-1"]


def test_values_are_joined() -> None:
    block = vector({"m a=1 b=2": [1.0]})
    assert list(told(label_join(block, "c", "-", ("b", "nothing", "a")))) == ["m a=1 b=2 c=2--1"]
    assert list(told(label_join(block, "a", "-", ()))) == ["m b=2"]


def test_names_and_patterns_that_cannot_be_are_errors() -> None:
    block = vector({"m": [1.0]})
    with pytest.raises(QueryEvaluationError, match=r"invalid regular expression in label_replace\(\): \(\.\*"):
        label_replace(block, "a", "", "b", "(.*")
    with pytest.raises(QueryEvaluationError, match=r"invalid destination label name in label_replace\(\): "):
        label_replace(block, "", "", "b", ".*")
    with pytest.raises(QueryEvaluationError, match=r"invalid destination label name in label_join\(\): "):
        label_join(block, "", "", ("a",))
    with pytest.raises(QueryEvaluationError, match=r"invalid source label name in label_join\(\): "):
        label_join(block, "a", "", ("",))
