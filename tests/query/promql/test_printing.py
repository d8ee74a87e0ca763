"""Trees become text again: on one line, laid out, and as the JSON that draws them."""

import pytest

from kobs.query.promql.describing import describe
from kobs.query.promql.parser import parse
from kobs.query.promql.printing import canonical, pretty


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e3", "1000"),
        ("1e-7", "0.0000001"),
        ("1.5e20", "150000000000000000000"),
        ("0x1F", "31"),
        ("-Inf", "-Inf"),
        ("inf", "+Inf"),
        ("nan", "NaN"),
        ("90m", "1h30m"),
        ("-5m", "-5m"),
        ("0s", "0s"),
        ("7d", "1w"),
        ("8d", "8d"),
        ("365d", "1y"),
        ("'a\"\\n\\u00e9\\x07'", '"a\\"\\né\\a"'),
        ("up{b='1', a!=`2`}", 'up{a!="2",b="1"}'),
        ('{"m.x", b="1"}', '{__name__="m.x",b="1"}'),
        ('{"x.y"=~"1"}', '{"x.y"=~"1"}'),
        ("up offset -5m @ 1.5", "up @ 1.500 offset -5m"),
        ("up @ END()", "up @ end()"),
        ("up[300] offset 1h", "up[5m] offset 1h"),
        ("(a+b)[1h:]@start()", "(a + b)[1h:] @ start()"),
        ("a[1h:1m]  offset 1m", "a[1h:1m] offset 1m"),
        ("- a", "-a"),
        ("a+on()b", "a + on () b"),
        ("a / ignoring(x) group_left(y,z) b", "a / ignoring (x) group_left (y, z) b"),
        ("a >bool b", "a > bool b"),
        ("a AND on(x) b", "a and on (x) b"),
        ("SUM(a) by(b,c)", "sum by (b, c) (a)"),
        ('sum without() (a)', "sum without () (a)"),
        ('sum by ("x.y", a:b) (a)', 'sum by ("x.y", a:b) (a)'),
        ("sum by () (a)", "sum(a)"),
        ('count_values("v", a)', 'count_values("v", a)'),
        ("topk(3,a)", "topk(3, a)"),
        ("label_replace(a,'b','c','d','e')", 'label_replace(a, "b", "c", "d", "e")'),
        ("time ( )", "time()"),
    ],
)  # fmt: skip  # one case a line
def test_one_line(text: str, expected: str) -> None:
    assert canonical(parse(text)) == expected


def test_what_is_long_is_laid_out() -> None:
    text = (
        'histogram_quantile(0.99, sum by (le, verb) (rate(apiserver_request_duration_seconds_bucket{job="apiserver",'
        'verb=~"LIST|GET"}[5m] offset 1h))) > on (verb) group_left () -(some_limit_of_seconds + 1)'
        " or topk(3, max_over_time(another_metric_with_a_long_name[1h:5m]))"
    )
    expected = """    histogram_quantile(
      0.99,
      sum by (le, verb) (
        rate(apiserver_request_duration_seconds_bucket{job="apiserver",verb=~"LIST|GET"}[5m] offset 1h)
      )
    )
  > on (verb) group_left ()
    -(some_limit_of_seconds + 1)
or
  topk(3, max_over_time(another_metric_with_a_long_name[1h:5m]))"""
    assert pretty(parse(text)) == expected
    assert canonical(parse(expected)) == text


def test_the_json_of_a_tree() -> None:
    assert describe(parse('sum by (a) (rate(b{c="d"}[5m] @ 1 offset 1m)) > bool on (a) -e[1h:]'[:-5] + " ")) == {
        "type": "binaryExpr",
        "op": ">",
        "bool": True,
        "matching": {"card": "one-to-one", "labels": ["a"], "on": True, "include": []},
        "lhs": {
            "type": "aggregation",
            "op": "sum",
            "grouping": ["a"],
            "without": False,
            "param": None,
            "expr": {
                "type": "call",
                "func": {"name": "rate", "argTypes": ["matrix"], "variadic": 0, "returnType": "vector"},
                "args": [
                    {
                        "type": "matrixSelector",
                        "name": "b",
                        "range": 300_000,
                        "offset": 60_000,
                        "timestamp": 1000,
                        "startOrEnd": None,
                        "matchers": [
                            {"name": "c", "type": "=", "value": "d"},
                            {"name": "__name__", "type": "=", "value": "b"},
                        ],
                        "anchored": False,
                        "smoothed": False,
                    }
                ],
            },
        },
        "rhs": {
            "type": "unaryExpr",
            "op": "-",
            "expr": {
                "type": "vectorSelector",
                "name": "e",
                "offset": 0,
                "timestamp": None,
                "startOrEnd": None,
                "matchers": [{"name": "__name__", "type": "=", "value": "e"}],
                "anchored": False,
                "smoothed": False,
            },
        },
    }
