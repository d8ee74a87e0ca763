"""Texts become trees that know their places; what is wrong is refused at its line and column, in Prometheus' words."""

import pytest

from kobs.errors import LimitError, QueryError, QuerySyntaxError, UnsupportedQueryError
from kobs.query.promql.parser import parse
from kobs.query.promql.printing import canonical
from kobs.query.promql.tree import (
    Aggregation,
    AtAnchor,
    AtModifier,
    Binary,
    Call,
    Cardinality,
    Expression,
    Matcher,
    MatchOperator,
    MatrixSelector,
    NumberLiteral,
    Parentheses,
    StringLiteral,
    Subquery,
    Unary,
    VectorMatching,
    VectorSelector,
)

EQUAL, NOT_EQUAL = MatchOperator.EQUAL, MatchOperator.NOT_EQUAL
REGEX, NOT_REGEX = MatchOperator.REGEX, MatchOperator.NOT_REGEX


def vector(text: str) -> VectorSelector:
    tree = parse(text)
    assert isinstance(tree, VectorSelector)
    return tree


def binary(text: str) -> Binary:
    tree = parse(text)
    assert isinstance(tree, Binary)
    return tree


def matchers(text: str) -> list[tuple[str, str, str]]:
    return [(matcher.name, matcher.operator.value, matcher.value) for matcher in vector(text).matchers]


def grouped(expression: Expression) -> str:
    """Return an expression with parentheses around every operation, which shows how it was read."""
    match expression:
        case Binary():
            return f"({grouped(expression.left)} {expression.operator} {grouped(expression.right)})"
        case Unary():
            return f"({expression.operator}{grouped(expression.expression)})"
        case Parentheses():
            return grouped(expression.expression)
    return canonical(expression)


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
            "up",
        ),
        300_000,
        1,
        39,
    )
    assert text[1:20] == 'up{job="a", b!~`c`}'
    assert text[35:39] == "@ 10"


def test_the_nodes_of_a_rule() -> None:
    text = "sum by (job) (rate(a[5m])) / on (job) group_left (x) -(b) >= bool 1 or topk(2, c[1h:5m] offset 1m)"
    with pytest.raises(QueryError, match="1:80: parse error: expected type instant vector in aggregation expression"):
        parse(text)
    tree = parse(text.replace("c[1h:5m] offset 1m", "max_over_time(c[1h:5m] offset 1m)"))
    assert isinstance(tree, Binary)
    left, right = tree.left, tree.right
    assert isinstance(left, Binary)
    assert (left.operator, left.returns_bool, left.matching) == (">=", True, None)
    assert left.right == NumberLiteral(1.0, 66, 67)
    ratio = left.left
    assert isinstance(ratio, Binary)
    assert ratio.matching == VectorMatching(Cardinality.MANY_TO_ONE, ("job",), is_on=True, include=("x",))
    assert isinstance(ratio.left, Aggregation)
    assert (ratio.left.operator, ratio.left.labels, ratio.left.is_without) == ("sum", ("job",), False)
    assert (ratio.left.start, ratio.left.end) == (0, 26)
    assert isinstance(ratio.left.expression, Call)
    assert (ratio.left.expression.start, ratio.left.expression.end) == (14, 25)
    assert isinstance(ratio.right, Unary)
    assert isinstance(ratio.right.expression, Parentheses)
    assert tree.matching == VectorMatching(Cardinality.MANY_TO_MANY, (), is_on=False, include=())
    assert isinstance(right, Aggregation)
    assert right.parameter == NumberLiteral(2.0, 76, 77)
    assert isinstance(right.expression, Call)
    subquery = right.expression.arguments[0]
    assert isinstance(subquery, Subquery)
    assert (subquery.range_ms, subquery.step_ms, subquery.offset_ms) == (3_600_000, 300_000, 60_000)
    assert (tree.start, tree.end) == (0, 113)


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
        ('{"a","b"}', [("__name__", "=", "a"), ("__name__", "=", "b")]),
        ("up{a='\\x41\\u00e9\\U0001F600\\101\\'\\n'}", [("__name__", "=", "up"), ("a", "=", "Aé😀A'\n")]),
        ("up{a=`\\n`}", [("__name__", "=", "up"), ("a", "=", "\\n")]),
        ("sum", [("__name__", "=", "sum")]),
        ("offset", [("__name__", "=", "offset")]),
        ("START{end='x'}", [("__name__", "=", "START"), ("end", "=", "x")]),
        ("anchored", [("__name__", "=", "anchored")]),
        ('by{sum!="a",offset!~"b",and="c",bool="d",inf="e",nan="f",on="g"}', [
            ("__name__", "=", "by"), ("sum", "!=", "a"), ("offset", "!~", "b"), ("and", "=", "c"),
            ("bool", "=", "d"), ("inf", "=", "e"), ("nan", "=", "f"), ("on", "=", "g")]),
        ('up{# why\n a="b"} # so', [("__name__", "=", "up"), ("a", "=", "b")]),
        ('{a!="", b=""}', [("a", "!=", ""), ("b", "=", "")]),
    ],
    ids=str,
)  # fmt: skip  # one case a line or two
def test_selectors(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert matchers(text) == expected


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("up offset 5m", 300_000),
        ("up OFFSET -1h30m", -5_400_000),
        ("up offset - -5m", 300_000),
        ("up offset 1.5", 1500),
        ("up offset 1_0", 10_000),
        ("up offset 0x10", 16_000),
        ("up offset 0s", 0),
        ("up offset 0s offset 1m", 60_000),
        ("offset offset 1d", 86_400_000),
        ("up offset 1y2w3d4h5m6s7ms", 33_019_506_007),
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
        ("up @ 0.0005", AtAnchor.TIME, 1),
        ("up @ -0.0025", AtAnchor.TIME, -3),
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
    [
        ("up[5m]", 300_000),
        ("up [ 1d12h ]", 129_600_000),
        ("up[300]", 300_000),
        ("up[.5]", 500),
        ("up[1e3]", 1_000_000),
        ("up[+5m]", 300_000),
        ("up[1.0006]", 1000),
        ("up @ start() [5m]", 300_000),
    ],
)
def test_ranges(text: str, milliseconds: int) -> None:
    tree = parse(text)
    assert isinstance(tree, MatrixSelector)
    assert tree.range_ms == milliseconds


@pytest.mark.parametrize(
    ("text", "range_ms", "step_ms", "offset_ms"),
    [
        ("up[1h:]", 3_600_000, None, 0),
        ("up[1h:30]", 3_600_000, 30_000, 0),
        ("(a + b)[60:1m] offset -1m @ 5", 60_000, 60_000, -60_000),
        ("up[5m:1m][1h:]", None, None, 0),
        ("rate(up[5m])[1h : 5m]", 3_600_000, 300_000, 0),
    ],
)
def test_subqueries(text: str, range_ms: int | None, step_ms: int | None, offset_ms: int) -> None:
    if range_ms is None:
        with pytest.raises(
            QueryError, match="1:1: parse error: subquery is only allowed on instant vector, got matrix"
        ):
            parse(text)
        return
    tree = parse(text)
    assert isinstance(tree, Subquery)
    assert (tree.range_ms, tree.step_ms, tree.offset_ms) == (range_ms, step_ms, offset_ms)
    assert (tree.start, tree.end) == (0, len(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("1e-3", 0.001),
        ("1_000.5", 1000.5),
        ("0x1F", 31.0),
        ("0X_ff", 255.0),
        ("017", 15.0),
        ("08", 8.0),
        ("Inf", float("inf")),
        ("-iNF", float("-inf")),
        ("5m", 300.0),
        ("-1h30m", -5400.0),
        ("1ms", 0.001),
        ("+ - 2", -2.0),
    ],
)
def test_numbers(text: str, value: float) -> None:
    assert parse(text) == NumberLiteral(value, 0, len(text), is_duration="m" in text)


def test_what_is_no_number_is_a_number() -> None:
    tree = parse("NaN")
    assert isinstance(tree, NumberLiteral)
    assert tree.value != tree.value


@pytest.mark.parametrize(
    ("text", "value"),
    [('"a"', "a"), ("'a\"'", 'a"'), ("`\\n\n`", "\\n\n"), ('"\\"\\t\\u20ac"', '"\t€'), ('("x")', None)],
)
def test_strings(text: str, value: str | None) -> None:
    tree = parse(text)
    if value is None:
        assert tree == Parentheses(StringLiteral("x", 1, 4), 0, 5)
    else:
        assert tree == StringLiteral(value, 0, len(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + b * c", "(a + (b * c))"),
        ("a - b - c", "((a - b) - c)"),
        ("a ^ b ^ c", "(a ^ (b ^ c))"),
        ("-a ^ b", "(-(a ^ b))"),
        ("-a * b", "((-a) * b)"),
        ("a ^ -b ^ c * d", "((a ^ (-(b ^ c))) * d)"),
        ("a * -b + c", "((a * (-b)) + c)"),
        ("-1 ^ 2", "(-(1 ^ 2))"),
        ("a == b + c", "(a == (b + c))"),
        ("a < b > c", "((a < b) > c)"),
        ("a or b and c unless d or e", "((a or ((b and c) unless d)) or e)"),
        ("a atan2 b * c % d / e", "((((a atan2 b) * c) % d) / e)"),
        ("-a or -b", "((-a) or (-b))"),
        ("--a", "(-(-a))"),
        ("-a offset 5m", "(-a offset 5m)"),
        ("a ^ b offset 5m", "(a ^ b offset 5m)"),
        ("a offset 5m + b", "(a offset 5m + b)"),
        ("a offset -2^2", "(a offset -2s ^ 2)"),
        ("-sum(a)[5m:]", "(-sum(a)[5m:])"),
        ("sum + by", "(sum + by)"),
        ("or or or", "(or or or)"),
        ("A AND B Unless C", "((A and B) unless C)"),
    ],
)
def test_operators_bind_as_in_prometheus(text: str, expected: str) -> None:
    if text == "-sum(a)[5m:]":
        with pytest.raises(QueryError, match=r'1:1: .* of type scalar or instant vector, got "range vector"'):
            parse(text)
    else:
        assert grouped(parse(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + b", VectorMatching(Cardinality.ONE_TO_ONE, (), is_on=False, include=())),
        ("a + on() b", VectorMatching(Cardinality.ONE_TO_ONE, (), is_on=True, include=())),
        ("a + ignoring(x, y,) b", VectorMatching(Cardinality.ONE_TO_ONE, ("x", "y"), is_on=False, include=())),
        ("a + on(x) group_left b", VectorMatching(Cardinality.MANY_TO_ONE, ("x",), is_on=True, include=())),
        ("a + on(x) group_left() b", VectorMatching(Cardinality.MANY_TO_ONE, ("x",), is_on=True, include=())),
        ("a > bool on(x) group_right(y) b", VectorMatching(
            Cardinality.ONE_TO_MANY, ("x",), is_on=True, include=("y",))),
        ('a + on("x.y", by, bool, a:b) b', VectorMatching(
            Cardinality.ONE_TO_ONE, ("x.y", "by", "bool", "a:b"), is_on=True, include=())),
        ("a and on(x) b", VectorMatching(Cardinality.MANY_TO_MANY, ("x",), is_on=True, include=())),
        ("a + 1", None),
        ("1 + on() a", None),
        ("a / (b)", VectorMatching(Cardinality.ONE_TO_ONE, (), is_on=False, include=())),
    ],
)  # fmt: skip  # one case a line or two
def test_matchings(text: str, expected: VectorMatching | None) -> None:
    assert binary(text).matching == expected


@pytest.mark.parametrize(
    ("text", "labels", "is_without", "end"),
    [
        ("sum(a)", (), False, 6),
        ("sum by (x) (a)", ("x",), False, 14),
        ("SUM(a) WITHOUT (x, y)", ("x", "y"), True, 21),
        ('sum by ("x.y", start,) (a)', ("x.y", "start"), False, 26),
        ("sum by () (a)", (), False, 13),
        ("(sum(a) )", (), False, 7),
    ],
)
def test_aggregations(text: str, labels: tuple[str, ...], is_without: bool, end: int) -> None:  # noqa: FBT001
    tree = parse(text)
    if isinstance(tree, Parentheses):
        tree = tree.expression
    assert isinstance(tree, Aggregation)
    assert (tree.operator, tree.labels, tree.is_without, tree.end) == ("sum", labels, is_without, end)


def test_a_label_in_a_grouping_may_be_a_keyword() -> None:
    words = [
        "avg",
        "bool",
        "by",
        "group_left",
        "ignoring",
        "and",
        "or",
        "unless",
        "offset",
        "on",
        "start",
        "end",
        "atan2",
    ]
    tree = parse(f"sum by ({', '.join(words)}) (a)")
    assert isinstance(tree, Aggregation)
    assert tree.labels == tuple(words)
    with pytest.raises(QuerySyntaxError, match="unexpected <without> in grouping opts, expected label"):
        parse("sum by (without) (a)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unknown position: parse error: no expression found in input"),
        (" # nothing", "1:1: parse error: no expression found in input"),
        ("up\n  x", '2:3: parse error: unexpected identifier "x", expected "(", "@", "[", "{", an operator, offset '),
        ("up $", "1:4: parse error: unexpected character: '$', expected "),
        ("é", "1:1: parse error: unexpected character: 'é', expected "),
        ('"é" x', '1:6: parse error: unexpected identifier "x"'),
        ("1 +", "1:4: parse error: unexpected end of input, expected "),
        ("a ! b", "1:3: parse error: unexpected character after '!': ' '"),
        ("a =~ b", "1:3: parse error: unexpected character after '=': '~'"),
        ("a = b", '1:3: parse error: unexpected "=", expected'),
        ("a }", "1:3: parse error: unexpected character: '}'"),
        ("(a", "1:3: parse error: unclosed left parenthesis"),
        ("a)", "1:3: parse error: unexpected right parenthesis ')'"),
        ("a]", "1:2: parse error: unexpected right bracket ']'"),
        ("bool", "1:1: parse error: unexpected <bool>, expected "),
        ("a and", "1:6: parse error: unexpected end of input, expected"),
        ("a == == b", "1:6: parse error: unexpected <op:==>, expected"),
        ("a bool b", "1:3: parse error: unexpected <bool>, expected"),
        # braces
        ("up{", "1:4: parse error: unexpected end of input inside braces"),
        ("up{a}", '1:5: parse error: unexpected "}" in label matching, expected label matching operator'),
        ("up{a=}", '1:6: parse error: unexpected "}" in label matching, expected string'),
        ('up{a="b" c="d"}', '1:10: parse error: unexpected identifier "c" in label matching, expected "," or "}"'),
        ("up{,}", '1:4: parse error: unexpected "," in label matching, expected identifier or "}"'),
        ("up{a=b}", '1:6: parse error: unexpected identifier "b" in label matching, expected string'),
        ("up{{", "1:4: parse error: unexpected left brace '{'"),
        ("up{a:b='c'}", "1:5: parse error: unexpected character inside braces: ':'"),
        ("up{a!b}", "1:5: parse error: unexpected character after '!' inside braces: 'b'"),
        ('up{a=~"("}', "1:4: parse error: error parsing regexp: missing closing ): `(`"),
        ('up{a=~"x)|(y"}', "1:4: parse error: error parsing regexp: unexpected ): `x)|(y`"),
        ('up{a=~"*"}', "1:4: parse error: error parsing regexp: missing argument to repetition operator: `*`"),
        (f'up{{a=~"{"a" * 4097}"}}', "1:4: parse error: pattern of 4097 characters: the limit is 4096"),
        # brackets
        ("up[", "1:4: parse error: unexpected end of input in duration expression"),
        ("up[]", '1:4: parse error: unexpected "]" in subquery or range selector, expected number, duration'),
        ("up[5m", "1:6: parse error: unclosed left bracket"),
        ("up[5m 5m]", '1:7: parse error: unexpected duration "5m" in subquery or range, expected ":" or "]"'),
        ("up[5m:5m 5m]", '1:10: parse error: unexpected duration "5m" in subquery selector, expected "]"'),
        ("up[5m:a]", "1:7: parse error: unexpected character: 'a', expected ':'"),
        ("up[a]", "1:4: parse error: unexpected character in duration expression: 'a'"),
        ("up[:5m]", "1:5: parse error: unexpected colon before duration in duration expression"),
        ("up[0s]", "1:4: parse error: duration must be greater than 0"),
        ("up[-5m]", "1:4: parse error: duration must be greater than 0"),
        ("up[1h:0s]", "1:7: parse error: duration must be greater than 0"),
        ("up[30s5m]", '1:4: parse error: not a valid duration string: "30s5m"'),
        ("up[1hs]", '1:4: parse error: unknown unit "hs" in duration "1hs"'),
        ("up[300y]", "1:4: parse error: duration out of range"),
        ("up[1e10]", "1:4: parse error: duration out of range"),
        ("up[5x]", '1:4: parse error: bad number or duration syntax: "5"'),
        ("(up)[5m]", "1:5: parse error: ranges only allowed for vector selectors"),
        ("up offset 5m[1m]", "1:13: parse error: no offset modifiers allowed before range"),
        ("up @ 5 [1m]", "1:8: parse error: no @ modifiers allowed before range"),
        ("up[5m][5m]", "1:7: parse error: ranges only allowed for vector selectors"),
        ("up[5m * 2]", "1:4: parse error: experimental duration expression is not enabled"),
        ("up[(5m)]", "1:5: parse error: experimental duration expression is not enabled"),
        # modifiers
        ("up offset", '1:10: parse error: unexpected end of input in offset, expected number, duration, or step()'),
        ("up offset x", '1:11: parse error: unexpected identifier "x" in offset, expected number, duration, or step()'),
        ("up offset 5m offset 1m", "1:1: parse error: offset may not be set multiple times"),
        ("a + rate(b) offset 5m", "1:5: parse error: offset modifier must be preceded by an instant vector selector"),
        ("1 offset 5m", "1:1: parse error: offset modifier must be preceded by"),
        ("up offset inf", "1:11: parse error: duration out of range"),
        ("up offset nan", "1:11: parse error: duration out of range"),
        ("up @ 1 @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times"),
        ("up @ start() @ end()", "1:1: parse error: @ <timestamp> may not be set multiple times"),
        ("sum(up) @ 1", "1:1: parse error: @ modifier must be preceded by an instant vector selector"),
        ("up @ -inf", "1:1: parse error: timestamp out of bounds for @ modifier: -Inf"),
        ("up @ nan", "1:1: parse error: timestamp out of bounds for @ modifier: NaN"),
        ("up @ 1e20", "1:1: parse error: timestamp out of bounds for @ modifier: 100000000000000000000.000000"),
        ("up @ foo", '1:6: parse error: unexpected identifier "foo" in @, expected timestamp'),
        ("up anchored", "1:1: parse error: anchored modifier is experimental and not enabled"),
        ("rate(up[5m] smoothed)", "1:6: parse error: smoothed modifier is experimental and not enabled"),
        # strings and numbers
        ('up{a="b', "1:6: parse error: unterminated quoted string"),
        ('up{a="b\nc"}', "1:6: parse error: unterminated quoted string"),
        ("`a", "1:1: parse error: unterminated raw string"),
        ('up{a="\\q"}', "1:6: parse error: unknown escape sequence U+0071 'q'"),
        ('"\\\'"', "1:1: parse error: unknown escape sequence U+0027 '''"),
        ('"\\x1g"', "1:1: parse error: illegal character U+0067 'g' in escape sequence"),
        ('"\\ud800"', "1:1: parse error: escape sequence is an invalid Unicode code point"),
        ('"\\400"', "1:1: parse error: escape sequence is an invalid Unicode code point"),
        ("3x", '1:1: parse error: bad number or duration syntax: "3"'),
        ("1__0", '1:1: parse error: bad number or duration syntax: "1__"'),
        ("1e", '1:1: parse error: bad number or duration syntax: "1e"'),
        ("0x", '1:1: parse error: error parsing number: strconv.ParseFloat: parsing "0x": invalid syntax'),
        ("1e400", '1:1: parse error: error parsing number: strconv.ParseFloat: parsing "1e400": value out of range'),
        # groupings and calls
        ("sum by x (y)", '1:8: parse error: unexpected identifier "x" in grouping opts, expected "("'),
        ("sum by (x y) (z)", '1:11: parse error: unexpected identifier "y" in grouping opts, expected "," or ")"'),
        ("sum by (1) (z)", '1:9: parse error: unexpected number "1" in grouping opts, expected label'),
        ('sum by ("") (z)', '1:9: parse error: invalid label name for grouping: ""'),
        ("sum(a b)", '1:7: parse error: unexpected identifier "b" in aggregation, expected '),
        ("sum x", '1:5: parse error: unexpected identifier "x", expected'),
        ("sum()", "1:1: parse error: no arguments for aggregate expression provided"),
        ("sum(a, b)", "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 1"),
        ("topk(a)", "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1"),
        ("a + limitk(1, b)", "1:5: parse error: limitk() is experimental and must be enabled with --enable-feature="),
        ("abs(a,)", "1:6: parse error: trailing commas not allowed in function call args"),
        ("nosuch(a)", '1:1: parse error: unknown function with name "nosuch"'),
        ("nosuch(a) $", '1:1: parse error: unknown function with name "nosuch"'),
        ("Rate(a[5m])", '1:1: parse error: unknown function with name "Rate"'),
        ("1 + mad_over_time(a[5m])", '1:5: parse error: function "mad_over_time" is not enabled'),
        ("a:b(c)", '1:4: parse error: unexpected "(", expected'),
    ],
    ids=lambda text: text[:30],
)  # fmt: skip  # one case a line
def test_syntax_errors_name_place_and_what_was_expected(text: str, message: str) -> None:
    with pytest.raises(QuerySyntaxError) as raised:
        parse(text)
    assert str(raised.value).startswith(message)
    assert raised.value.start is not None
    assert raised.value.end is not None
    assert 0 <= raised.value.start <= raised.value.end <= len(text)


@pytest.mark.parametrize(
    ("text", "construct", "place"),
    [
        ('up{a="\\xff"}', "a string whose bytes are not UTF-8", (5, 11)),
        ("up[step()]", r"the experimental duration step\(\)", (3, 9)),
        ("up offset max(1m, 2m)", r"the experimental duration max\(\)", (10, 21)),
        ("up offset -step()", r"the experimental duration step\(\)", (11, 17)),
        ("up[0.0001]", "a range of less than a millisecond", (3, 9)),
        ("up[1m:.0001]", "a step of less than a millisecond", (6, 11)),
    ],
    ids=str,
)
def test_what_cannot_be_answered_is_refused_by_its_name(text: str, construct: str, place: tuple[int, int]) -> None:
    with pytest.raises(UnsupportedQueryError, match=f"1:{place[0] + 1}: {construct} is not supported") as raised:
        parse(text)
    assert (raised.value.start, raised.value.end) == place


@pytest.mark.parametrize(
    "text", ["limitk(1, a)", "limit_ratio(0.5, a)", "sort_by_label(a, 'x')", "mad_over_time(a[5m])"]
)
def test_experimental_functions_can_be_switched_on(text: str) -> None:
    assert canonical(parse(text, experimental_functions=True)) == text.replace("'", '"')
    with pytest.raises(QuerySyntaxError):
        parse(text)


def test_an_endless_query_is_refused() -> None:
    with pytest.raises(LimitError, match="100001 characters: the limit is 100000"):
        parse("u" * 100_001)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 50_000,
        "(" * 40_000 + "a" + ")" * 40_000,
        "-" * 99_999 + "a",
        "a" + "+a" * 49_000,
        "abs(" * 20_000 + "a" + ")" * 20_000,
        "a" + "[1m:]" * 19_000,
        "a" + "^-a" * 30_000,
        "a{" * 40_000,
        "sum by (" * 12_000,
        "a[" * 40_000,
        '"' + "\\" * 99_000,
    ],
    ids=lambda text: text[:8],
)
def test_what_is_nested_without_end_is_refused(text: str) -> None:
    with pytest.raises((LimitError, QueryError)):
        parse(text)


def test_nesting_may_be_200_deep() -> None:
    parse("(" * 199 + "a" + ")" * 199)
    with pytest.raises(LimitError, match="nested more than 200 deep"):
        parse("(" * 200 + "a" + ")" * 200)
