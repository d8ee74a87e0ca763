"""Types are checked in Prometheus' order and words, and decide whether an operation matches vectors."""

import pytest

from kobs.errors import QueryTypeError
from kobs.query.promql.checking import value_type
from kobs.query.promql.parser import parse
from kobs.query.promql.tree import ValueType


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", ValueType.SCALAR),
        ("-(1)", ValueType.SCALAR),
        ("1 + 2 == bool 3", ValueType.SCALAR),
        ("time()", ValueType.SCALAR),
        ("scalar(a) * pi()", ValueType.SCALAR),
        ('("a")', ValueType.STRING),
        ("a", ValueType.VECTOR),
        ("a > 1", ValueType.VECTOR),
        ("vector(1)", ValueType.VECTOR),
        ("-sum(a)", ValueType.VECTOR),
        ("a[5m]", ValueType.MATRIX),
        ("(a[5m])", ValueType.MATRIX),
        ("a[5m:]", ValueType.MATRIX),
        ("vector(1)[5m:1m] offset 1h", ValueType.MATRIX),
    ],
)
def test_the_type_of_an_expression(text: str, expected: ValueType) -> None:
    assert value_type(parse(text)) is expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ('{a=""}', "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ('{a!="b"}', "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ('1 + {a=~".*",b!~".+"}', "1:5: parse error: vector selector must contain at least one non-empty matcher"),
        ('{""}', "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ('up{__name__="x"}', '1:1: parse error: metric name must not be set twice: "up" or "x"'),
        ('up{__name__!="x"}', '1:1: parse error: metric name must not be set twice: "up" or "x"'),
        ('rate(up{"x"}[5m])', '1:6: parse error: metric name must not be set twice: "up" or "x"'),
        ("rate(up)", '1:6: parse error: expected type range vector in call to function "rate", got instant vector'),
        ("abs(up[5m])", '1:5: parse error: expected type instant vector in call to function "abs", got range vector'),
        ("abs(1)", '1:5: parse error: expected type instant vector in call to function "abs", got scalar'),
        ('vector("a")', '1:8: parse error: expected type scalar in call to function "vector", got string'),
        ('label_join(a, "b", c)', '1:20: parse error: expected type string in call to function "label_join", got'),
        ('label_join(a, "b", "c", 1)', '1:25: parse error: expected type string in call to function "label_join", got'),
        ("label_join(a)", '1:1: parse error: expected at least 3 argument(s) in call to "label_join", got 1'),
        ("abs()", '1:1: parse error: expected 1 argument(s) in call to "abs", got 0'),
        ("1 + clamp(a, 1)", '1:5: parse error: expected 3 argument(s) in call to "clamp", got 2'),
        ("hour(a, b)", '1:1: parse error: expected at most 1 argument(s) in call to "hour", got 2'),
        ("round(a, 1, 2)", '1:1: parse error: expected at most 2 argument(s) in call to "round", got 3'),
        ("round()", '1:1: parse error: expected at least 1 argument(s) in call to "round", got 0'),
        ("time(a)", '1:1: parse error: expected 0 argument(s) in call to "time", got 1'),
        ("sum(a[5m])", "1:5: parse error: expected type instant vector in aggregation expression, got range vector"),
        ("sum(1)", "1:5: parse error: expected type instant vector in aggregation expression, got scalar"),
        ("topk(a, b)", "1:6: parse error: expected type scalar in aggregation parameter, got instant vector"),
        ('topk("a", b)', "1:6: parse error: expected type scalar in aggregation parameter, got string"),
        ("count_values(1, b)", "1:14: parse error: expected type string in aggregation parameter, got scalar"),
        ("topk(a, 1)", "1:9: parse error: expected type instant vector in aggregation expression, got scalar"),
        ("-a[5m]", "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector"),
        ('-"a"', '1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector'),
        ("a[5m] + 1", "1:1: parse error: binary expression must contain only scalar and instant vector types"),
        ('1 + "a"', "1:5: parse error: binary expression must contain only scalar and instant vector types"),
        ("1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
        ("time()  < 1", "1:9: parse error: comparisons between scalars must use BOOL modifier"),
        ("a + bool b", "1:3: parse error: bool modifier can only be used on comparison operators"),
        ("a and bool b", "1:3: parse error: bool modifier can only be used on comparison operators"),
        ("a and 1", '1:1: parse error: set operator "and" not allowed in binary scalar expression'),
        ("1 or a", '1:1: parse error: set operator "or" not allowed in binary scalar expression'),
        ("a and on(x) group_left b", '1:1: parse error: no grouping allowed for "and" operation'),
        ("a + on(x) 1", "1:1: parse error: vector matching only allowed between instant vectors"),
        ("a + on(x, y) group_left(y) b", '1:3: parse error: label "y" must not occur in ON and GROUP clause at once'),
        ("1[5m:]", "1:1: parse error: subquery is only allowed on instant vector, got scalar instead"),
        ('"a"[5m:]', "1:1: parse error: subquery is only allowed on instant vector, got string instead"),
        ("a[5m][5m:]", "1:1: parse error: subquery is only allowed on instant vector, got matrix instead"),
        ("abs(a[5m]) + nosuch", '1:5: parse error: expected type instant vector in call to function "abs", got range'),
        ("sum(rate(a)) + abs(1)", '1:10: parse error: expected type range vector in call to function "rate", got'),
    ],
    ids=lambda text: text[:30],
)  # fmt: skip  # one case a line
def test_a_wrong_type_is_refused_at_its_place(text: str, message: str) -> None:
    with pytest.raises(QueryTypeError) as raised:
        parse(text)
    assert str(raised.value).startswith(message)
    assert raised.value.start is not None
    assert raised.value.end is not None
    assert 0 <= raised.value.start < raised.value.end <= len(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('info(a, b{c="d"})', "1:9: parse error: expected label selectors only, got vector selector instead"),
        ("info(a, sum(b))", "1:9: parse error: expected label selectors only"),
        ("info(a, 1)", '1:1: parse error: expected type instant vector in call to function "info", got scalar'),
        ("info(a, {c='d'}, b)", '1:1: parse error: expected at most 2 argument(s) in call to "info", got 3'),
    ],
)
def test_what_info_joins_is_said_by_labels_only(text: str, message: str) -> None:
    parse('info(a, {c=~".*"})', experimental_functions=True)
    with pytest.raises(QueryTypeError) as raised:
        parse(text, experimental_functions=True)
    assert str(raised.value).startswith(message)
