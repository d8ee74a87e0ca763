"""Selectors become trees that know their places; everything else is refused by name and place."""

import pytest

from kobs.errors import QueryError, QuerySyntaxError, UnsupportedQueryError
from kobs.query.promql.parser import parse
from kobs.query.promql.tree import AtAnchor, AtModifier, Matcher, MatchOperator, MatrixSelector, VectorSelector

EQUAL, NOT_EQUAL = MatchOperator.EQUAL, MatchOperator.NOT_EQUAL
REGEX, NOT_REGEX = MatchOperator.REGEX, MatchOperator.NOT_REGEX


def vector(text: str) -> VectorSelector:
    tree = parse(text)
    assert isinstance(tree, VectorSelector)
    return tree


def matchers(text: str) -> list[tuple[str, str, str]]:
    return [(matcher.name, matcher.operator.value, matcher.value) for matcher in vector(text).matchers]


def test_every_node_knows_its_place() -> None:
    text = ' up{job="a", b!~`c`}[5m] offset 1h @ 10'
    assert parse(text) == MatrixSelector(
        VectorSelector(
            (
                Matcher("__name__", EQUAL, "up", 1, 3),
                Matcher("job", EQUAL, "a", 4, 11),
                Matcher("b", NOT_REGEX, "c", 13, 19),
            ),
            3_600_000,
            AtModifier(AtAnchor.TIME, 10_000, 35, 39),
            1,
            20,
        ),
        300_000,
        1,
        39,
    )
    assert text[1:20] == 'up{job="a", b!~`c`}'
    assert text[35:39] == "@ 10"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("up", [("__name__", "=", "up")]),
        (":up:x9", [("__name__", "=", ":up:x9")]),
        ("up{}", [("__name__", "=", "up")]),
        ('node_cpu_seconds_total{mode="idle",cpu=~"0|1",}', [
            ("__name__", "=", "node_cpu_seconds_total"), ("mode", "=", "idle"), ("cpu", "=~", "0|1")]),
        ('{__name__=~"node_.*"}', [("__name__", "=~", "node_.*")]),
        ('{"my.metric", "a.b"="c"}', [("__name__", "=", "my.metric"), ("a.b", "=", "c")]),
        ('{a="b", "größe gesamt"}', [("a", "=", "b"), ("__name__", "=", "größe gesamt")]),
        ("up{a='\\x41\\u00e9\\U0001F600\\101\\'\\n'}", [("__name__", "=", "up"), ("a", "=", "Aé😀A'\n")]),
        ("up{a=`\\n`}", [("__name__", "=", "up"), ("a", "=", "\\n")]),
        ("sum", [("__name__", "=", "sum")]),
        ("offset", [("__name__", "=", "offset")]),
        ('by{sum!="a",offset!~"b",and="c"}', [
            ("__name__", "=", "by"), ("sum", "!=", "a"), ("offset", "!~", "b"), ("and", "=", "c")]),
        ('up{# why\n a="b"} # so', [("__name__", "=", "up"), ("a", "=", "b")]),
        ('up{__name__!="down"}', [("__name__", "=", "up"), ("__name__", "!=", "down")]),
        ('{a!="b"}', None),
        ('{a!="", b=""}', [("a", "!=", ""), ("b", "=", "")]),
    ],
    ids=str,
)  # fmt: skip  # one case a line or two
def test_selectors(text: str, expected: list[tuple[str, str, str]] | None) -> None:
    if expected is None:
        with pytest.raises(QuerySyntaxError, match="at least one non-empty matcher"):
            parse(text)
    else:
        assert matchers(text) == expected


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("up offset 5m", 300_000),
        ("up OFFSET -1h30m", -5_400_000),
        ("up offset 1.5", 1500),
        ("up offset 1_0", 10_000),
        ("up offset 0x10", 16_000),
        ("up offset 0s", 0),
        ("offset offset 1d", 86_400_000),
    ],
)
def test_offsets(text: str, milliseconds: int) -> None:
    assert vector(text).offset_ms == milliseconds


@pytest.mark.parametrize(
    ("text", "anchor", "time_ms"),
    [
        ("up @ 1609746000", AtAnchor.TIME, 1_609_746_000_000),
        ("up @ -1.5", AtAnchor.TIME, -1500),
        ("up @ +1e3", AtAnchor.TIME, 1_000_000),
        ("up @ 5m", AtAnchor.TIME, 300_000),
        ("up @ start() offset 5m", AtAnchor.START, 0),
        ("up offset 5m @ End ( )", AtAnchor.END, 0),
    ],
)
def test_at_modifiers(text: str, anchor: AtAnchor, time_ms: int) -> None:
    at = vector(text).at
    assert at is not None
    assert (at.anchor, at.time_ms) == (anchor, time_ms)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("up[5m]", 300_000), ("up [ 1d12h ]", 129_600_000), ("up[300]", 300_000), ("up[.5]", 500), ("up[1e3]", 1_000_000)],
)
def test_ranges(text: str, milliseconds: int) -> None:
    tree = parse(text)
    assert isinstance(tree, MatrixSelector)
    assert tree.range_ms == milliseconds


@pytest.mark.parametrize(
    ("text", "construct", "place"),
    [
        ("rate(up[5m])", "the function rate", (0, 4)),
        ("  start()", "the function start", (2, 7)),
        ("sum(up)", "the aggregation sum", (0, 3)),
        ("SUM by (a) (up)", "the aggregation sum", (0, 3)),
        ("up + 1", r"the operator \+", (3, 4)),
        ("up == 1", "the operator ==", (3, 5)),
        ("up / 2", "the operator /", (3, 4)),
        ("up > 2", "the operator >", (3, 4)),
        ("up{a='b'} ^ 2", r"the operator \^", (10, 11)),
        ("up[5m] * 2", r"the operator \*", (7, 8)),
        ("up and down", "the operator and", (3, 6)),
        ("up UNLESS down", "the operator unless", (3, 9)),
        ("up offset 5m atan2 x", "the operator atan2", (13, 18)),
        ("-up", "the sign - before an expression", (0, 1)),
        ("(up)", "an expression in parentheses", (0, 1)),
        ("1", "a number as expression", (0, 1)),
        ("1e-3", "a number as expression", (0, 4)),
        ("5m", "a number as expression", (0, 2)),
        ("Inf", "a number as expression", (0, 3)),
        ('"x"', "a string as expression", (0, 3)),
        ("up[1h:1m]", "a subquery", (2, 9)),
        ("up[1h:]", "a subquery", (2, 7)),
        ('up{a="\\xff"}', "a string whose bytes are not UTF-8", (5, 11)),
    ],
    ids=str,
)
def test_what_is_not_a_selector_is_refused_by_its_name(text: str, construct: str, place: tuple[int, int]) -> None:
    with pytest.raises(UnsupportedQueryError, match=f"1:{place[0] + 1}: {construct} is not supported") as raised:
        parse(text)
    assert (raised.value.start, raised.value.end) == place


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no expression found in input"),
        (" # nothing", "no expression found in input"),
        ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ('{a=~".*",b!~".+"}', "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("up{", "1:4: parse error: unexpected end of input, expected a label name, a string or }"),
        ("up{a}", "1:5: parse error: unexpected }, expected one of = != =~ !~"),
        ("up{a=}", "1:6: parse error: unexpected }, expected a string"),
        ('up{a="b"', "1:9: parse error: unexpected end of input, expected , or }"),
        ("up\n  x", "2:3: parse error: unexpected x, expected @, [, offset, the end or {"),
        ("up $", "1:4: parse error: unexpected $, expected @, [, offset, the end or {"),
        ('up{__name__="x"}', '1:1: parse error: metric name must not be set twice: "up" or "x"'),
        ('{"a", "b"}', '1:1: parse error: metric name must not be set twice: "a" or "b"'),
        ("up offset 5m offset 1m", "1:14: parse error: offset may not be set multiple times"),
        ("up @ 1 @ 2", "1:8: parse error: @ <timestamp> may not be set multiple times"),
        ("up offset 5m[1m]", "1:13: parse error: no offset modifiers allowed before range"),
        ("up[5m][5m]", "1:7: parse error: ranges only allowed for vector selectors"),
        ("up[0s]", "1:3: parse error: duration must be greater than 0"),
        ("up[30s5m]", "1:3: parse error: duration '30s5m': expected numbers with units in this order"),
        ("up[300y]", "1:3: parse error: duration out of range"),
        ("up[5x]", "1:4: parse error: unexpected 5, expected a duration or a number"),
        ("up offset inf", "1:4: parse error: duration out of range"),
        ("up @ -inf", "1:4: parse error: timestamp out of bounds for @ modifier: -inf"),
        ("up @ nan", "1:4: parse error: timestamp out of bounds for @ modifier: nan"),
        ("up @ foo", "1:6: parse error: unexpected foo, expected a duration, a number or start() or end()"),
        ('up{a=~"("}', "1:4: parse error: error parsing regexp: missing ): ("),
        ('up{a=~"x)|(y"}', "1:4: parse error: error parsing regexp"),
        (f'up{{a=~"{"a" * 4097}"}}', "1:4: parse error: pattern of 4097 characters: the limit is 4096"),
        ('up{a="b', "1:6: parse error: unterminated quoted string"),
        ('up{a="b\nc"}', "1:6: parse error: unterminated quoted string"),
        ('up{a="\\q"}', "1:7: parse error: wrong escape \\q in a string"),
        ('up{a="\\ud800"}', "1:7: parse error: wrong escape \\ud800 in a string"),
        ('{a:b="c"}', "1:3: parse error: unexpected :b, expected one of = != =~ !~"),
        ("up{,}", "1:4: parse error: unexpected ,, expected a label name, a string or }"),
        ("3x", '1:1: parse error: bad number or duration syntax: "3x"'),
        ("ünder", "1:1: parse error: unexpected ü, expected a metric name or {"),
        ("bool", "1:1: parse error: unexpected bool, expected an expression"),
    ],
    ids=lambda text: text[:30],
)
def test_syntax_errors_name_place_and_what_was_expected(text: str, message: str) -> None:
    with pytest.raises(QuerySyntaxError) as raised:
        parse(text)
    assert message in str(raised.value)
    assert raised.value.start is not None
    assert raised.value.end is not None
    assert 0 <= raised.value.start <= raised.value.end <= len(text)


def test_an_endless_query_is_refused() -> None:
    with pytest.raises(QueryError, match="100001 characters: the limit is 100000"):
        parse("u" * 100_001)
