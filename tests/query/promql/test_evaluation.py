"""The walk over the tree: which moments an expression is worked out at, how often, and what it refuses."""

import math

import numpy as np
import pytest

from kobs.errors import LimitError, QueryError, QueryEvaluationError, UnsupportedQueryError
from kobs.query.promql.evaluation import Evaluation
from kobs.query.promql.notes import Notes
from kobs.query.promql.parser import parse
from kobs.query.promql.tree import Aggregation
from kobs.query.promql.values import Block, Moments, Points, Scalar, Text
from tests.query.promql.memory import LOOKBACK_MS, MemoryReads, Samples, evaluated, samples_of
from tests.query.promql.vectors import Row, labels, same, told

MINUTE = 60_000
SERIES = samples_of(
    {
        labels("g a=1"): [(minute * MINUTE, float(minute)) for minute in range(60)],
        labels("g a=2"): [(minute * MINUTE, 10.0 * minute) for minute in range(0, 60, 10)],
        labels("c_total"): [(minute * MINUTE, 60.0 * minute) for minute in range(60)],
    }
)


def block(query: str, start: int, end: int | None = None, step: int = 1) -> dict[str, list[float | None]]:
    """Return a vector at minutes."""
    end = start if end is None else end
    found, _ = evaluated(query, SERIES, start * MINUTE, end * MINUTE, step * MINUTE)
    assert isinstance(found, Block)
    return told(found)


def numbers(query: str, start: int, end: int, step: int = 1) -> list[float]:
    """Return a number at minutes."""
    found, _ = evaluated(query, SERIES, start * MINUTE, end * MINUTE, step * MINUTE)
    assert isinstance(found, Scalar)
    values: list[float] = found.values.tolist()
    return values


class CountingReads(MemoryReads):
    """Reads that note at which moments they were asked."""

    def __init__(self, start_ms: int, end_ms: int, aggregate: Block | None = None) -> None:
        super().__init__(SERIES, start_ms=start_ms, end_ms=end_ms)
        self.asked: list[Moments] = []
        self.aggregated = aggregate

    def instant(self, selector, moments: Moments, *, lookback_ms: int) -> Block:  # type: ignore[no-untyped-def]
        self.asked.append(moments)
        return super().instant(selector, moments, lookback_ms=lookback_ms)

    def aggregate(self, node: Aggregation, moments: Moments) -> Block | None:
        del node, moments
        return self.aggregated


def walk(query: str, moments: Moments, reads: CountingReads | None = None) -> tuple[CountingReads, Block, Notes]:
    """Return the reads of an evaluation and its answer."""
    reads = reads if reads is not None else CountingReads(moments.start_ms, moments.end_ms)
    notes = Notes(query)
    evaluation = Evaluation(query, moments.start_ms, moments.end_ms, reads, notes, LOOKBACK_MS, 10_000)
    return reads, evaluation.block(parse(query), moments), notes


def test_what_is_the_same_at_every_moment_is_worked_out_once() -> None:
    moments = Moments(10 * MINUTE, 20 * MINUTE, MINUTE)
    reads, found, _ = walk("sum(g @ end()) + sum(g @ 300)", moments)
    assert [each.count() for each in reads.asked] == [1, 1]
    assert same(told(found), {"": [225.0] * 11})
    reads, _, _ = walk("sum(g @ end()) + sum(g)", moments)
    assert [each.count() for each in reads.asked] == [1, 11]
    reads, _, _ = walk("sum(abs(g @ 300) * time())", moments)
    assert [each.count() for each in reads.asked] == [1]


def test_functions_of_the_moment_are_worked_out_at_each() -> None:
    assert numbers("time()", 1, 3) == [60.0, 120.0, 180.0]
    assert block("minute()", 1, 3) == {"": [1.0, 2.0, 3.0]}
    assert block("timestamp(g{a='1'} @ 300)", 10, 12) == {" a=1": [300.0, 300.0, 300.0]}
    assert block("timestamp(-(g{a='1'} @ 300))", 10, 12) == {" a=1": [600.0, 660.0, 720.0]}
    assert block("predict_linear(c_total[5m] @ 600, 60)", 10, 12) == {"": [660.0, 720.0, 780.0]}


def test_a_subquery_has_steps_at_multiples_of_its_step() -> None:
    assert block("count_over_time(g{a='1'}[10m:3m])", 20) == {" a=1": [3.0]}
    assert block("sum_over_time(g{a='1'}[10m:3m])", 20) == {" a=1": [12.0 + 15 + 18]}
    assert block("sum_over_time(g{a='1'}[9m:3m])", 21, 24, 3) == {" a=1": [15.0 + 18 + 21, 18.0 + 21 + 24]}
    # without a step one a minute
    assert block("count_over_time(g{a='1'}[10m:])", 20) == {" a=1": [10.0]}
    assert block("sum_over_time(g{a='1'}[2m:1m] offset 5m)", 20) == {" a=1": [14.0 + 15]}
    assert block("sum_over_time(g{a='1'}[2m:1m] @ 600)", 20, 22) == {" a=1": [19.0, 19.0, 19.0]}
    assert block("sum_over_time(g{a='1'}[2m:1m] @ start())", 20, 22) == {" a=1": [39.0, 39.0, 39.0]}
    # no step lies in the window
    assert block("sum_over_time(g[1m:10m])", 25) == {}
    assert block("absent_over_time(g[1m:10m])", 25) == {"": [1.0]}
    assert block("max_over_time(sum_over_time(g{a='1'}[2m:1m])[3m:1m])", 20) == {" a=1": [39.0]}


def test_a_subquery_of_too_many_steps_is_refused() -> None:
    assert block("count_over_time(vector(1)[9999s:1s])", 0) == {"": [9999.0]}
    with pytest.raises(LimitError, match=r"1:17: a subquery has 10000001 steps: the limit is 10000000 points"):
        evaluated("count_over_time(vector(1)[10000001ms:1ms])", SERIES, 0)
    with pytest.raises(LimitError, match=r"a subquery has 922337203685\d steps"):
        evaluated("count_over_time(vector(1)[9223372036854ms:1ms])", SERIES, 0)


def test_a_vector_of_too_many_points_is_refused() -> None:
    series = samples_of({labels(f"m a={number}"): [(0, 1.0)] for number in range(60)})
    reads = MemoryReads(series, start_ms=0, end_ms=100)

    def size(query: str, most_points: int) -> int:
        evaluation = Evaluation(query, 0, 100, reads, Notes(query), LOOKBACK_MS, most_points)
        return evaluation.block(parse(query), Moments(0, 100, 10)).values.size

    assert size("m or on (a, __name__) m * 2", 1320) == 1320
    with pytest.raises(LimitError, match="1:7: an expression has 120 series at 11 moments, 1320 points: the limit"):
        size("sum(  (m) or on (a, __name__) m * 2)", 1319)


def test_the_values_of_range_vectors() -> None:
    expression = "g{a='1'}[4m:2m]"
    reads = CountingReads(10 * MINUTE, 10 * MINUTE)
    evaluation = Evaluation(expression, 0, 0, reads, Notes(expression), LOOKBACK_MS, 10_000)
    found = evaluation.points(parse(f"({expression})"), 10 * MINUTE)
    assert isinstance(found, Points)
    assert (found.times_ms.tolist(), found.values.tolist()) == ([8 * MINUTE, 10 * MINUTE], [8.0, 10.0])
    assert found.bounds.tolist() == [0, 2]
    raw = evaluation.points(parse("g[2m] offset 1m"), 10 * MINUTE)
    assert raw.times_ms.tolist() == [8 * MINUTE, 9 * MINUTE]


def test_names_go_where_a_value_is_no_longer_the_metrics() -> None:
    assert list(block("last_over_time(g{a='1'}[5m])", 10)) == ["g a=1"]
    assert list(block("max_over_time(g{a='1'}[5m])", 10)) == [" a=1"]
    assert list(block("-g{a='1'}", 10)) == [" a=1"]
    assert list(block("+g{a='1'}", 10)) == ["g a=1"]
    assert list(block("g{a='1'} > 0", 10)) == ["g a=1"]
    assert list(block("topk(1, g)", 10)) == ["g a=2"]


def test_strings_and_numbers() -> None:
    assert evaluated('("text")', SERIES, 0)[0] == Text("text")
    assert numbers("-(1 + 2) ^ 2 / 0", 0, 1) == [-math.inf, -math.inf]
    assert numbers("scalar(g{a='2'})", 10, 11) == [100.0, 100.0]
    assert np.isnan(numbers("scalar(g)", 10, 10)[0])


def test_an_aggregation_is_pushed_down_where_the_reads_take_it() -> None:
    answer = Block((labels(" a=9"),), np.array([[7.0]]), np.array([[True]]))
    moments = Moments(10 * MINUTE, 10 * MINUTE, 1)
    for query, info in (
        ("sum by (a) (g)", False),
        ("sum by (a) (rate(g[5m]))", True),
        ("sum(rate(c_total[5m]))", False),
    ):
        reads, found, notes = walk(query, moments, CountingReads(0, 0, answer))
        assert told(found) == {" a=9": [7.0]}
        assert not reads.asked
        assert bool(notes.annotations().infos) == info
    # where the name of each series counts, or a parameter is warned of, or the inner expression is another
    for query in ('sum(rate({a="1"}[5m]))', "sum(quantile_over_time(2, g[5m]))", "quantile(0.5, g)", "sum(abs(g))"):
        _, found, _ = walk(query, moments, CountingReads(0, 0, answer))
        assert told(found) != {" a=9": [7.0]}


def test_the_place_of_a_rate_that_might_be_none() -> None:
    said = "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "
    for query, place in (("1 + rate(( g[5m] ))", "1:12"), ("sum(\n increase(g[5m]))", "2:11"), ("rate(g[5m:])", "1:1")):
        _, notes = evaluated(query, SERIES, 10 * MINUTE)
        assert list(notes.annotations().infos) == [f'{said}"g" ({place})']
    for query in ("rate(c_total[5m])", "delta(g[5m])", "rate(nothing[5m])", "rate(abs(g)[5m:])"):
        assert not evaluated(query, SERIES, 10 * MINUTE)[1].annotations().infos


def test_wrong_quantiles_are_warned_of_where_there_are_samples() -> None:
    _, notes = evaluated("quantile_over_time(2, g[5m])", SERIES, 10 * MINUTE)
    assert list(notes.annotations().warnings) == [
        "PromQL warning: quantile value should be between 0 and 1, got 2 (1:20)"
    ]
    assert not evaluated("quantile_over_time(2, g[5m])", SERIES, 1000 * MINUTE)[1].annotations().warnings
    assert len(evaluated("histogram_quantile(-1, g)", SERIES, 10 * MINUTE)[1].annotations().warnings) == 2


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("histogram_avg(g)", "1:1"),
        ("sum(\n histogram_stddev(g))", "2:2"),
        ("1 + info(g)", "1:5"),
        ("ts_of_max_over_time(g[5m])", "1:1"),
        ("first_over_time(g[5m])", "1:1"),
    ],
)
def test_functions_that_are_not_answered_are_named_with_their_place(query: str, place: str) -> None:
    with pytest.raises(UnsupportedQueryError, match=rf"{place}: the function \w+ is not supported"):
        evaluated(query, SERIES, 10 * MINUTE)


def test_series_that_come_to_have_equal_labels() -> None:
    series: dict[tuple[tuple[str, str], ...], Samples] = samples_of(
        {labels("a x=1"): [(0, 1.0)], labels("b x=1"): [(10 * MINUTE, 2.0)]}
    )
    names = '{__name__=~"a|b"}'
    joined, _ = evaluated(f"abs({names})", series, 0, 10 * MINUTE, 10 * MINUTE)
    assert isinstance(joined, Block)
    expected: dict[str, Row] = {" x=1": [1.0, 2.0]}
    assert same(told(joined), expected)
    for query in (f"-{names}", f"max_over_time({names}[1m])", f'label_replace({names}, "__name__", "c", "", "")'):
        with pytest.raises(QueryEvaluationError, match="vector cannot contain metrics with the same labelset"):
            evaluated(query, series, 0, 10 * MINUTE, 10 * MINUTE)


def test_a_query_that_has_to_end_does() -> None:
    class Ended(Exception):  # noqa: N818 - it is no error
        pass

    def end() -> None:
        raise Ended

    evaluation = Evaluation("1 + 1", 0, 0, CountingReads(0, 0), Notes(""), LOOKBACK_MS, 10, end)
    with pytest.raises(Ended):
        evaluation.value(parse("1 + 1"), Moments(0, 0, 1))


def test_wrong_factors_are_errors_of_evaluation() -> None:
    with pytest.raises(QueryError, match=r"invalid smoothing factor\. Expected: 0 < sf < 1, got: 2\.0") as raised:
        evaluated("double_exponential_smoothing(g[5m], 2, 0.5)", SERIES, 10 * MINUTE)
    assert isinstance(raised.value, QueryEvaluationError)
