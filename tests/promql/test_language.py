"""Scripts are read as Prometheus' description of their language says, and what is not as expected is told."""

import math
import struct
from pathlib import Path

import pytest

from kobs.model.samples import STALE_NAN_BITS, Sample
from kobs.query.promql.signatures import FUNCTIONS
from tests.promql.answers import Answer, is_near
from tests.promql.running import run
from tests.promql.script import Clear, Eval, Expectation, Kind, Load, ScriptError, commands
from tests.promql.series import STALE, Series, series
from tests.promql.test_scripts import SCRIPTS


@pytest.mark.parametrize(
    ("text", "labels", "points"),
    [
        ("m 1 2.5 -3e2", {"__name__": "m"}, [1, 2.5, -300]),
        ("m{a=\"b\", c='d',} 1", {"__name__": "m", "a": "b", "c": "d"}, [1]),
        ('{a="}"} 1', {"a": "}"}, [1]),
        ("{} 1", {}, [1]),
        ('{"a.b", "c.d"="e\\n"} 1', {"__name__": "a.b", "c.d": "e\n"}, [1]),
        ("m 1x3", {"__name__": "m"}, [1, 1, 1, 1]),
        ("m 1+2x3", {"__name__": "m"}, [1, 3, 5, 7]),
        ("m -2-0.5x2", {"__name__": "m"}, [-2, -2.5, -3]),
        ("m 1 _ _x2 4", {"__name__": "m"}, [1, None, None, None, 4]),
        ("m Inf -Inf +Inf", {"__name__": "m"}, [math.inf, -math.inf, math.inf]),
        ("m", {"__name__": "m"}, []),
        ("m:n{} 1\t2", {"__name__": "m:n"}, [1, 2]),
    ],
)
def test_series(text: str, labels: dict[str, str], points: list[float | None]) -> None:
    assert series(text) == Series(labels, points)


def test_a_stale_marker_is_told_from_another_nan() -> None:
    stale, other = series("m stale NaN").points
    assert stale is not None
    assert other is not None
    assert stale.hex() == other.hex()
    assert int.from_bytes(struct.pack(">d", stale)) == STALE_NAN_BITS
    assert int.from_bytes(struct.pack(">d", other)) != STALE_NAN_BITS


@pytest.mark.parametrize("text", ["m x", "m 1+2", "{a} 1", 'm{a="b" 1', "m {{schema:1}}", "1", "m 1x"])
def test_what_is_no_series_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^no |^native histograms"):
        series(text)


def test_commands() -> None:
    script = """
# a comment
load 5m
  m{a="b"} 1+1x2

clear
eval instant at 10m sum(m) # not a comment of the script
  expect warn regex: quantile .* between
  expect no_info
  {} 3

eval instant at 0 1 + 1
  2

eval instant "a"
  expect string "a"

eval instant at 1m m[1m]
  expect range vector from 10s to 1m step 10s
  m 1 2

eval range from 0 to 10m step 5m m
  expect fail msg: it failed
"""
    load, clear, instant, scalar, string, points, ranged = commands(script)
    assert load == Load(3, 300_000, [Series({"__name__": "m", "a": "b"}, [1, 2, 3])])
    assert clear == Clear(6)
    assert instant == Eval(
        7,
        "sum(m) # not a comment of the script",
        600_000,
        600_000,
        None,
        [Expectation(Kind.WARN, pattern="quantile .* between"), Expectation(Kind.NO_INFO)],
        [Series({}, [3])],
    )
    assert scalar == Eval(12, "1 + 1", 0, 0, None, scalar=2.0)
    assert string == Eval(15, '"a"', 0, 0, None, string="a")
    assert points == Eval(
        18,
        "m[1m]",
        60_000,
        60_000,
        None,
        series=[Series({"__name__": "m"}, [1, 2])],
        point_times=(10_000, 60_000, 10_000),
    )
    assert ranged == Eval(22, "m", 0, 600_000, 300_000, [Expectation(Kind.FAIL, "it failed")])


@pytest.mark.parametrize(
    ("script", "expectations"),
    [
        ("eval_fail instant at 0 m", [Expectation(Kind.FAIL)]),
        ("eval_fail instant at 0 m\n expected_fail_message why not", [Expectation(Kind.FAIL, "why not")]),
        ("eval_fail range from 0 to 1m step 1m m\n expected_fail_regexp wh.", [Expectation(Kind.FAIL, pattern="wh.")]),
        ("eval_warn instant at 0 m\n m 1", [Expectation(Kind.WARN)]),
        ("eval_info range from 0 to 1m step 1m m\n m 1", [Expectation(Kind.INFO)]),
        ("eval_ordered instant at 0 m\n m 1", [Expectation(Kind.ORDERED)]),
    ],
)
def test_older_forms(script: str, expectations: list[Expectation]) -> None:
    (found,) = commands(script)
    assert isinstance(found, Eval)
    assert found.expectations == expectations


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("\nevaluate instant at 0 m", "line 2: no command: 'evaluate instant at 0 m'"),
        ("load 5m\n m x", "line 1: no points: 'x'"),
        ("load 5x\n m 1", "line 1: duration '5x'"),
        ("eval instant at 0 m\n expect nothing", "line 1: no expectation: 'expect nothing'"),
    ],
)
def test_what_is_not_in_the_language_is_refused_by_its_line(script: str, message: str) -> None:
    with pytest.raises(ScriptError, match=message):
        list(commands(script))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (1.0, 1.0000001, True),
        (1.0, 1.00001, False),
        (math.nan, math.nan, True),
        (math.nan, 1.0, False),
        (math.inf, math.inf, True),
        (math.inf, -math.inf, False),
        (math.inf, 1e308, False),
        (0.0, -0.0, True),
        (0.0, 1e-300, False),
        (1e308, 1.0000001e308, True),
    ],
)
def test_how_near_numbers_are(one: float, other: float, expected: bool) -> None:  # noqa: FBT001
    assert is_near(one, other) is expected
    assert is_near(other, one) is expected


class Told:
    """An engine that gives one answer: no real one gives those that a script must not accept."""

    def __init__(self, answer: Answer, ranged: Answer | None = None) -> None:
        self.answer = answer
        self.ranged = ranged if ranged is not None else answer
        self.samples: list[Sample] = []

    def write(self, samples: list[Sample]) -> None:
        self.samples.extend(samples)

    def clear(self) -> None:
        self.samples.clear()

    def instant(self, query: str, time_ms: int) -> Answer:  # noqa: ARG002 - the answer is the same
        return self.answer

    def range(self, query: str, start_ms: int, end_ms: int, step_ms: int) -> Answer:  # noqa: ARG002 - the same
        return self.ranged


def vector(*values: tuple[str, float], warnings: tuple[str, ...] = (), infos: tuple[str, ...] = ()) -> Answer:
    series = [({"a": name}, [(0, value)]) for name, value in values]
    return Answer("vector", series, warnings=list(warnings), infos=list(infos))


def told(tmp_path: Path, script: str, engine: Told) -> list[str]:
    path = tmp_path / "x.test"
    path.write_text(script)
    return run(path, engine)


AS_A_RANGE = Answer("matrix", [({"a": "1"}, [(-60_000, 9.0), (0, 1.0)])])


@pytest.mark.parametrize(
    ("expectations", "answer", "message"),
    [
        ('{a="1"} 1', vector(("1", 1.0)), None),
        ('{a="1"} 1', vector(("1", 2.0)), "{'a': '1'}: expected"),
        ('{a="1"} 1', vector(), "is missing"),
        ("", vector(("1", 1.0)), "not expected: {'a': '1'}"),
        ('{a="1"} 1', vector(("1", 1.0), ("2", 1.0)), "not expected: {'a': '2'}"),
        ('{a="1"} 1', vector(("1", 1.0), ("1", 1.0)), "a label set comes twice"),
        ('expect ordered\n{a="2"} 2\n{a="1"} 1', vector(("1", 1.0), ("2", 2.0)), "the order is"),
        ('{a="1"} 1', Answer(error="no"), "error: no"),
        ("expect fail", Answer(error="no"), None),
        ("expect fail msg: no", Answer(error="no"), None),
        ("expect fail msg: yes", Answer(error="no"), "got 'no'"),
        ("expect fail regex: ^n", Answer(error="no"), None),
        ("expect fail", vector(), "expected an error"),
        ('expect warn\n{a="1"} 1', vector(("1", 1.0)), "got []"),
        ('expect warn msg: careful\n{a="1"} 1', vector(("1", 1.0), warnings=("careful (1:2)",)), None),
        (
            'expect warn msg: careful (1:3)\n{a="1"} 1',
            vector(("1", 1.0), warnings=("careful (1:2)", "careful (1:3)")),
            "not expected: 'careful (1:2)'",
        ),
        ('expect warn msg: a\n{a="1"} 1', vector(("1", 1.0), warnings=("a", "b")), "not expected: 'b'"),
        ('{a="1"} 1', vector(("1", 1.0), warnings=("a",), infos=("b",)), None),
        ('expect no_warn\n{a="1"} 1', vector(("1", 1.0), warnings=("a",)), "expected no_warn"),
        ('expect no_info\n{a="1"} 1', vector(("1", 1.0), infos=("a",)), "expected no_info"),
        ('expect info regex: b\n{a="1"} 1', vector(("1", 1.0), infos=("abc",)), None),
        ("5", Answer("scalar", [({}, [(0, 5.0)])]), None),
        ("5", vector(("1", 5.0)), "expected 5.0, got vector"),
        ('expect string "x"', Answer("string", string="x"), None),
        ('expect string "x"', Answer("string", string="y"), "expected the string 'x'"),
    ],
)
def test_what_is_not_as_expected_is_told(
    tmp_path: Path, expectations: str, answer: Answer, message: str | None
) -> None:
    script = "eval instant at 0 query\n" + expectations
    is_scalar = answer.kind == "scalar"
    found = told(tmp_path, script, Told(answer, Answer("matrix", answer.series) if is_scalar else AS_A_RANGE))
    if message is None:
        assert found == []
    else:
        assert len(found) == 1
        assert found[0].startswith("x.test:1: query: ")
        assert message in found[0]


def test_an_instant_query_is_also_tried_as_a_range(tmp_path: Path) -> None:
    wrong = Answer("matrix", [({"a": "1"}, [(0, 3.0)])])
    (found,) = told(tmp_path, 'eval instant at 0 q\n {a="1"} 1', Told(vector(("1", 1.0)), wrong))
    assert "as a range query" in found
    (found,) = told(tmp_path, 'eval instant at 0 q\n {a="1"} 1', Told(vector(("1", 1.0)), Answer(error="no")))
    assert "as a range query: error: no" in found


def test_a_matrix_has_an_order_and_its_times(tmp_path: Path) -> None:
    answer = Answer("matrix", [({"a": "1"}, [(0, 1.0), (60_000, 2.0)]), ({"a": "2"}, [(60_000, 2.0)])])
    script = 'eval range from 0 to 1m step 1m q\n {a="1"} 1 2\n {a="2"} _ 2'
    assert told(tmp_path, script, Told(answer)) == []
    assert "in the order" in told(tmp_path, script, Told(Answer("matrix", answer.series[::-1])))[0]
    assert "expected" in told(tmp_path, script.replace("_ 2", "2"), Told(answer))[0]


def test_loads_add_and_clear_removes(tmp_path: Path) -> None:
    engine = Told(vector())
    assert told(tmp_path, "load 1m\n m 1 _ stale\n\nload 10s\n n 2", engine) == []
    assert [(sample.labels["__name__"], sample.time_ms) for sample in engine.samples] == [
        ("m", 0),
        ("m", 120_000),
        ("n", 0),
    ]
    assert engine.samples[1].value.hex() == STALE.hex()
    assert told(tmp_path, "load 1m\n m 1\n\nclear", engine) == []
    assert engine.samples == []


NATIVE = {"histogram_avg", "histogram_count", "histogram_stddev", "histogram_stdvar", "histogram_sum"}
"""What says something of native histograms only, which kobs does not store."""

REFUSED = {"first_over_time", "info"} | {f"ts_of_{which}_over_time" for which in ("first", "last", "max", "min")}
"""Experimental functions that kobs does not answer."""


def test_the_scripts_have_every_function_and_operator() -> None:
    text = "\n".join(path.read_text() for path in SCRIPTS)
    functions = {name for name in FUNCTIONS if f"{name}(" not in text}
    assert functions == NATIVE | REFUSED
    words = ["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar", "topk", "bottomk", "quantile"]
    words += ["count_values", "limitk", "limit_ratio", "and", "or", "unless", "atan2", "bool", "on", "ignoring"]
    words += ["group_left", "group_right", "by", "without", "offset"]
    assert [word for word in words if f"{word} " not in text and f"{word}(" not in text] == []
    assert "@ start()" in text
    assert "@ end()" in text
    assert [
        sign for sign in ("+", "-", "*", "/", "%", "^", "==", "!=", ">", "<", ">=", "<=") if f" {sign} " not in text
    ] == []
