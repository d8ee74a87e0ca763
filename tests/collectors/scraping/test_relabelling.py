"""Relabelling rules, one by one and in their order, as Prometheus documents them."""

import pytest

from kobs.collectors.scraping.relabelling import Relabelling, Rule
from kobs.errors import ConfigError

LABELS = {"a": "foo", "b": "bar", "__meta_x": "y", "empty": ""}


def apply(*rules: Rule, labels: dict[str, str] | None = None) -> dict[str, str] | None:
    return Relabelling(rules).apply(LABELS if labels is None else labels)


def changed(rule: Rule, labels: dict[str, str] | None = None) -> dict[str, str]:
    """Return what a rule adds or changes, with None for nothing."""
    before = LABELS if labels is None else labels
    after = apply(rule, labels=before)
    assert after is not None
    return {name: value for name, value in after.items() if before.get(name) != value}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Rule(source_labels=("a",), target_label="c"), {"c": "foo"}),
        (Rule(source_labels=("a", "b", "missing"), target_label="c"), {"c": "foo;bar;"}),
        (Rule(source_labels=("a", "b"), separator="", target_label="c"), {"c": "foobar"}),
        (Rule(source_labels=("a",), regex="f", target_label="c"), {}),
        (Rule(source_labels=("a",), regex="f(.*)", target_label="c", replacement="<$1>"), {"c": "<oo>"}),
        (Rule(source_labels=("a",), regex="(?P<x>f)(.*)", target_label="c", replacement="${x}-${2}"), {"c": "f-oo"}),
        (Rule(source_labels=("a",), regex="(f)(.*)", target_label="c", replacement="$1x"), {}),
        (Rule(source_labels=("a",), regex="(f)(.*)", target_label="c", replacement="${1}x"), {"c": "fx"}),
        (Rule(source_labels=("a",), regex="(f)(.*)", target_label="c", replacement="$$1 $3$"), {"c": "$1 $"}),
        (Rule(source_labels=("a",), regex="(f)(.*)", target_label="$1_$2", replacement="v"), {"oo": "v"}),
        (Rule(target_label="c", replacement="fixed"), {"c": "fixed"}),
        (Rule(source_labels=("a",), regex="(x)?foo", target_label="a", replacement="$1"), {}),
        (Rule(source_labels=("a",), regex="f.o|nothing", target_label="c", replacement="y"), {"c": "y"}),
        (Rule(action="lowercase", source_labels=("A",), target_label="c"), {}),
        (Rule(action="uppercase", source_labels=("a", "b"), target_label="c"), {"c": "FOO;BAR"}),
        (Rule(action="hashmod", source_labels=("b",), modulus=1000, target_label="c"), {"c": "922"}),
        (Rule(action="labelmap", regex="__meta_(.*)"), {"x": "y"}),
        (Rule(action="labelmap", regex="(a|b)", replacement="${1}_2"), {"a_2": "foo", "b_2": "bar"}),
    ],
)
def test_a_rule_sets_labels(rule: Rule, expected: dict[str, str]) -> None:
    assert changed(rule) == expected


def test_an_empty_result_takes_the_label_away() -> None:
    rule = Rule(source_labels=("a",), regex="(x)?foo", target_label="a", replacement="$1")
    assert apply(rule) == {"b": "bar", "__meta_x": "y"}


@pytest.mark.parametrize(
    ("rule", "is_kept"),
    [
        (Rule(action="keep", source_labels=("a",), regex="foo"), True),
        (Rule(action="keep", source_labels=("a",), regex="fo"), False),
        (Rule(action="drop", source_labels=("a",), regex="fo"), True),
        (Rule(action="drop", source_labels=("a", "b"), regex="foo;b.*"), False),
        (Rule(action="keep", source_labels=("a",), regex="(?s:.*)\\n?"), True),
        (Rule(action="keepequal", source_labels=("a",), target_label="a"), True),
        (Rule(action="keepequal", source_labels=("a",), target_label="b"), False),
        (Rule(action="dropequal", source_labels=("missing",), target_label="empty"), False),
        (Rule(action="dropequal", source_labels=("a",), target_label="b"), True),
    ],
)
def test_a_rule_drops_or_keeps(rule: Rule, is_kept: object) -> None:
    assert (apply(rule) is not None) is is_kept


def test_rules_choose_labels_by_name() -> None:
    assert apply(Rule(action="labeldrop", regex="a|__.*")) == {"b": "bar"}
    assert apply(Rule(action="labelkeep", regex="a|__.*")) == {"a": "foo", "__meta_x": "y"}


def test_rules_follow_one_another_and_a_drop_ends_them() -> None:
    rules = [
        Rule(source_labels=("a",), target_label="__tmp"),
        Rule(source_labels=("__tmp", "b"), target_label="c"),
        Rule(action="labeldrop", regex="__.*"),
    ]
    assert apply(*rules) == {"a": "foo", "b": "bar", "c": "foo;bar"}
    assert apply(Rule(action="drop", source_labels=("a",)), *rules) is None


def test_a_name_of_the_legacy_form_is_demanded_where_the_job_says_so() -> None:
    rule = Rule(source_labels=("a",), target_label="$1.x", replacement="v")
    assert changed(rule) == {"foo.x": "v"}
    assert changed(Rule(source_labels=("a",), target_label="x_$1", only_legacy_names=True)) == {"x_foo": "foo"}
    with pytest.raises(ConfigError, match="invalid 'target_label'"):
        Relabelling([Rule(source_labels=("a",), target_label="a.b", only_legacy_names=True)])
    dotted = Rule(source_labels=("dots",), target_label="$1", replacement="v", only_legacy_names=True)
    assert changed(dotted, {"dots": "a.b"}) == {}


@pytest.mark.parametrize(
    ("text", "lower", "upper"),
    [
        ("Straße", "straße", "STRAßE"),
        ("\u03a3\u0391\u03a3", "\u03c3\u03b1\u03c3", "\u03a3\u0391\u03a3"),
        ("İx", "ix", "İX"),
    ],
)
def test_letters_are_mapped_one_by_one_as_go_does(text: str, lower: str, upper: str) -> None:
    rules = [Rule(action=action, source_labels=("t",), target_label=action) for action in ("lowercase", "uppercase")]
    assert apply(*rules, labels={"t": text}) == {"t": text, "lowercase": lower, "uppercase": upper}


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (Rule(action="repalce"), "unknown relabel action"),
        (Rule(action="hashmod", target_label="a"), "non-zero modulus"),
        (Rule(), "requires 'target_label' value"),
        (Rule(action="lowercase", target_label="a", replacement="x"), "'replacement' can not be set"),
        (Rule(action="keepequal", target_label="a", regex="x"), "requires only 'source_labels' and 'target_label'"),
        (Rule(action="labeldrop", source_labels=("a",)), "requires only 'regex'"),
        (Rule(action="keep", regex="("), "expected a regular expression in RE2's syntax"),
        (Rule(action="keep", regex="(?=x)"), "expected a regular expression in RE2's syntax"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(rule: Rule, reason: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Relabelling([rule])
    assert reason in str(raised.value)
