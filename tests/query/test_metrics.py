"""Queries on the store are answered as Prometheus does: values of every type, their order, limits and costs."""

import asyncio
import itertools
import struct

import numpy as np
import pytest

from kobs.errors import LimitError, QueryEvaluationError, QueryTypeError, UnsupportedQueryError
from kobs.model.samples import STALE_NAN_BITS, Sample
from kobs.model.scope import Scope, Signal
from kobs.query.metrics import Answer, Metrics, ResolutionError
from kobs.query.promql.limits import QueryLimits, QueryTimeoutError
from kobs.query.promql.ranges import FUNCTIONS
from kobs.query.promql.values import Block, Labels, Scalar, Text
from kobs.query.promql.values import Points as RangeVector
from kobs.storage.clickhouse import Store
from tests.metric_frames import BASE_MS, store_samples

pytestmark = pytest.mark.clickhouse

STALE = struct.unpack("<d", struct.pack("<Q", STALE_NAN_BITS))[0]
EVERYTHING = Scope.all()
Points = dict[str, list[tuple[int, float]]]


def cpu(cpu: str) -> dict[str, str]:
    return {"__name__": "cpu_seconds", "cpu": cpu}


def series(labels: dict[str, str], *points: tuple[int, float]) -> list[Sample]:
    """Return samples at seconds after BASE_MS."""
    return [Sample(labels, BASE_MS + seconds * 1000, value) for seconds, value in points]


def instant(store: Store, query: str, seconds: float = 0, scope: Scope = EVERYTHING) -> Answer:
    return asyncio.run(Metrics(store).instant(query, BASE_MS + round(seconds * 1000), scope))


def vector(answer: Answer) -> dict[Labels, float]:
    """Return an instant vector's values by the labels, in the order of the answer."""
    block = answer.value
    assert isinstance(block, Block)
    assert block.present.all()
    return dict(zip(block.labels, block.values[:, 0].tolist(), strict=True))


def values(store: Store, query: str, seconds: float = 0) -> dict[str, float]:
    """Return an instant vector's values by the label `cpu`."""
    found = vector(instant(store, query, seconds))
    return {dict(labels).get("cpu", ""): value for labels, value in found.items()}


def over(store: Store, query: str, start: float, end: float, step: float) -> Points:
    """Return a matrix's points by the label `cpu`, at seconds after BASE_MS."""
    times = (BASE_MS + round(start * 1000), BASE_MS + round(end * 1000), round(step * 1000))
    return points(asyncio.run(Metrics(store).range(query, *times, EVERYTHING)))


def points(answer: Answer) -> Points:
    """Return the points of a range query or of a range vector by the label `cpu`, at seconds after BASE_MS."""
    value = answer.value
    if isinstance(value, RangeVector):
        bounds = value.bounds.tolist()
        rows = [
            (value.times_ms[first:last].tolist(), value.values[first:last].tolist())
            for first, last in itertools.pairwise(bounds)
        ]
    else:
        assert isinstance(value, Block)
        times = answer.moments.times_ms()
        rows = [
            (times[there].tolist(), values[there].tolist())
            for values, there in zip(value.values, value.present, strict=True)
        ]
    return {
        dict(labels).get("cpu", ""): [((at - BASE_MS) // 1000, number) for at, number in zip(*row, strict=True)]
        for labels, row in zip(value.labels, rows, strict=True)
    }


def test_a_value_counts_for_less_than_five_minutes(store: Store) -> None:
    store_samples(store, series(cpu("0"), (0, 1.0)))
    assert values(store, "cpu_seconds", -0.001) == {}
    assert values(store, "cpu_seconds", 0) == {"0": 1.0}
    assert values(store, "cpu_seconds", 299.999) == {"0": 1.0}
    assert values(store, "cpu_seconds", 300) == {}


def test_a_range_query_has_points_where_there_are_values(store: Store) -> None:
    store_samples(store, series(cpu("0"), (0, 1.0), (30, 2.0), (400, 3.0)) + series(cpu("1"), (60, 5.0), (90, STALE)))
    assert over(store, "cpu_seconds", -60, 420, 60) == {
        "0": [(0, 1.0), (60, 2.0), (120, 2.0), (180, 2.0), (240, 2.0), (300, 2.0), (420, 3.0)],
        "1": [(60, 5.0)],
    }
    assert over(store, "cpu_seconds", 500, 530, 7.5)["0"] == [
        (500, 3.0),
        (507, 3.0),
        (515, 3.0),
        (522, 3.0),
        (530, 3.0),
    ]
    assert over(store, "cpu_seconds", 1000, 2000, 10) == {}
    assert over(store, "cpu_seconds", 0, 59, 3600) == {"0": [(0, 1.0)]}


def test_offset_and_at_move_the_moment(store: Store) -> None:
    store_samples(store, series(cpu("0"), (0, 1.0), (600, 2.0)))
    at = BASE_MS // 1000
    assert values(store, "cpu_seconds offset 10m", 600) == {"0": 1.0}
    assert values(store, "cpu_seconds offset -10m", 0) == {"0": 2.0}
    assert values(store, f"cpu_seconds @ {at}", 5000) == {"0": 1.0}
    assert values(store, f"cpu_seconds @ {at + 600} offset 10m", -5000) == {"0": 1.0}
    assert over(store, "cpu_seconds offset 10m", 600, 1200, 300) == {"0": [(600, 1.0), (1200, 2.0)]}
    assert over(store, f"cpu_seconds @ {at}", 7000, 7020, 10) == {"0": [(7000, 1.0), (7010, 1.0), (7020, 1.0)]}
    assert over(store, "cpu_seconds @ end()", 0, 600, 300) == {"0": [(0, 2.0), (300, 2.0), (600, 2.0)]}
    assert over(store, "cpu_seconds @ start()", 0, 600, 300) == {"0": [(0, 1.0), (300, 1.0), (600, 1.0)]}


def test_a_range_selector_has_the_samples_themselves(store: Store) -> None:
    store_samples(store, series(cpu("0"), (0, 1.0), (30, STALE), (60, 2.0)) + series(cpu("1"), (60, 5.0)))
    assert points(instant(store, "cpu_seconds[1m]", 60)) == {"0": [(60, 2.0)], "1": [(60, 5.0)]}
    assert points(instant(store, "cpu_seconds[61]", 60)) == {"0": [(0, 1.0), (60, 2.0)], "1": [(60, 5.0)]}
    assert points(instant(store, "cpu_seconds[1m] offset 1m", 60)) == {"0": [(0, 1.0)]}
    assert points(instant(store, f"cpu_seconds[1m] @ {BASE_MS // 1000 + 60}", 5000))["1"] == [(60, 5.0)]


def test_series_are_in_the_order_of_their_labels(store: Store) -> None:
    names = [{"__name__": "m", "b": "1"}, {"__name__": "m", "a": "2"}, {"__name__": "l", "z": "3"}, {"__name__": "m"}]
    store_samples(store, [Sample(labels, BASE_MS, 1.0) for labels in names])
    in_order = [
        (("__name__", "l"), ("z", "3")),
        (("__name__", "m"),),
        (("__name__", "m"), ("a", "2")),
        (("__name__", "m"), ("b", "1")),
    ]
    answer = instant(store, '{__name__=~"l|m"}')
    assert list(vector(answer)) == in_order
    assert answer.moments.start_ms == BASE_MS
    for ranged in (instant(store, '{__name__=~"l|m"}[1m]'), asyncio.run(ranged_names(store))):
        assert isinstance(ranged.value, Block | RangeVector)
        assert list(ranged.value.labels) == in_order


async def ranged_names(store: Store) -> Answer:
    return await Metrics(store).range('{__name__=~"l|m"}', BASE_MS, BASE_MS + 1000, 1000, EVERYTHING)


def test_names_in_utf_8_and_all_matchers(store: Store) -> None:
    store_samples(
        store, [Sample({"__name__": "my.metric", "a.b": "c", "cpu": n}, BASE_MS, 1.0) for n in ("0", "1", "2")]
    )
    assert set(values(store, '{"my.metric", "a.b"="c"}')) == {"0", "1", "2"}
    assert set(values(store, '{"my.metric", cpu=~"0|1", cpu!~"1"}')) == {"0"}
    assert set(values(store, '{"my.metric", cpu!="2", nothing=""}')) == {"0", "1"}


@pytest.mark.parametrize("seconds", [-1e15, -1e10, 1e12, 9e15], ids=str)
def test_moments_without_samples_have_no_answer(store: Store, seconds: float) -> None:
    store_samples(store, series(cpu("0"), (0, 1.0)))
    assert values(store, "cpu_seconds", seconds) == {}
    assert points(instant(store, "cpu_seconds[5m]", seconds)) == {}


def test_a_range_from_before_1970_to_after_2100_has_what_is_there(store: Store) -> None:
    store_samples(store, series(cpu("0"), (0, 1.0)))
    step = 10_000_000_000
    start = BASE_MS // 1000 % step - 5 * step - BASE_MS // 1000
    assert over(store, "cpu_seconds", start, start + 10 * step, step) == {"0": [(0, 1.0)]}
    assert points(instant(store, "cpu_seconds[200y]", 0)) == {"0": [(0, 1.0)]}


def test_what_is_no_vector_has_no_range(store: Store) -> None:
    for query, kind in (("up[5m]", "range vector"), ("up[5m:1m]", "range vector"), ('"text"', "string")):
        with pytest.raises(QueryTypeError, match=f'invalid expression type "{kind}" for range query, must be Scalar'):
            over(store, query, 0, 1, 1)


@pytest.mark.parametrize("query", ["histogram_sum(up)", "1 + info(up)", "first_over_time(up[5m])"])
def test_what_cannot_be_answered_is_refused_with_its_place(store: Store, query: str) -> None:
    column = 5 if query.startswith("1") else 1
    with pytest.raises(UnsupportedQueryError, match=f"1:{column}: the function .* is not supported") as raised:
        instant(store, query)
    assert raised.value.start == column - 1


def test_values_of_every_type(store: Store) -> None:
    store_samples(store, series(cpu("0"), (0, 1.0), (60, 4.0)) + series(cpu("1"), (0, 2.0)))
    assert values(store, "sum(cpu_seconds)", 0) == {"": 3.0}
    assert values(store, "delta(cpu_seconds[2m]) * 2", 60) == {"0": 12.0}
    number = instant(store, "scalar(sum(cpu_seconds))", 0).value
    assert isinstance(number, Scalar)
    assert number.values.tolist() == [3.0]
    assert instant(store, '"text"', 0).value == Text("text")
    assert points(instant(store, "cpu_seconds[90s:30s]", 60)) == {
        "0": [(0, 1.0), (30, 1.0), (60, 4.0)],
        "1": [(0, 2.0), (30, 2.0), (60, 2.0)],
    }
    assert over(store, "1 + time() - time()", 0, 60, 30) == {"": [(0, 1.0), (30, 1.0), (60, 1.0)]}
    assert over(store, "timestamp(cpu_seconds) - time()", 0, 60, 30) == {
        "0": [(0, 0.0), (30, -30.0), (60, 0.0)],
        "1": [(0, 0.0), (30, -30.0), (60, -60.0)],
    }
    assert over(store, "max_over_time(sum(cpu_seconds)[1m:30s])", 30, 90, 30) == {"": [(30, 3.0), (60, 6.0), (90, 6.0)]}


def test_an_instant_query_may_order_its_series(store: Store) -> None:
    store_samples(
        store, [sample for n, value in enumerate((3.0, 1.0, 2.0)) for sample in series(cpu(str(n)), (0, value))]
    )
    assert list(values(store, "sort_desc(cpu_seconds) * 2")) == ["0", "2", "1"]
    assert list(values(store, "topk(2, cpu_seconds)")) == ["0", "2"]
    assert list(values(store, "sort(cpu_seconds) + on (cpu) cpu_seconds")) == ["1", "2", "0"]
    assert list(values(store, "sum by (cpu) (sort(cpu_seconds))")) == ["0", "1", "2"]
    assert list(over(store, "sort(cpu_seconds)", 0, 1, 1)) == ["0", "1", "2"]


def test_the_asker_sets_the_look_back_and_how_many_series(store: Store) -> None:
    store_samples(store, [sample for n in range(3) for sample in series(cpu(str(n)), (0, 1.0))])
    metrics = Metrics(store)

    def asked(query: str, seconds: int, **options: int) -> Answer:
        return asyncio.run(metrics.instant(query, BASE_MS + seconds * 1000, EVERYTHING, **options))

    assert len(vector(asked("cpu_seconds", 20, lookback_ms=21_000))) == 3
    assert vector(asked("cpu_seconds", 20, lookback_ms=20_000)) == {}
    assert vector(asked("timestamp(cpu_seconds)", 20, lookback_ms=20_000)) == {}
    cut = asked("cpu_seconds", 0, limit=2)
    assert list(points(asked("cpu_seconds[1m]", 0, limit=2))) == ["0", "1"]
    assert [dict(labels)["cpu"] for labels in vector(cut)] == ["0", "1"]
    assert list(cut.annotations.warnings) == ["results truncated due to limit"]
    whole = asked("cpu_seconds", 0, limit=3)
    assert len(vector(whole)) == 3
    assert not whole.annotations.warnings
    ranged = asyncio.run(metrics.range("cpu_seconds", BASE_MS, BASE_MS, 1000, EVERYTHING, limit=1))
    assert list(points(ranged)) == ["0"]


def test_annotations_and_costs_come_with_the_answer(store: Store) -> None:
    store_samples(store, series(cpu("0"), (0, 1.0), (30, 2.0), (60, 3.0)))
    answer = instant(store, "rate(cpu_seconds[2m])\n + quantile(2, cpu_seconds)", 60)
    (info,) = answer.annotations.infos
    assert info.startswith(
        "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket"
    )
    assert info.endswith(': "cpu_seconds" (1:6)')
    (warning,) = answer.annotations.warnings
    assert warning == "PromQL warning: quantile value should be between 0 and 1, got 2 (2:13)"
    costs = answer.statistics
    assert costs.samples == 6
    assert costs.peak_samples >= 3
    assert 0 < costs.evaluation_seconds < costs.total_seconds


def test_two_series_of_one_label_set_are_an_error_of_evaluation(store: Store) -> None:
    store_samples(store, [Sample({"__name__": name}, BASE_MS, 1.0) for name in ("a", "b")])
    with pytest.raises(QueryEvaluationError, match="vector cannot contain metrics with the same labelset"):
        instant(store, 'abs({__name__=~"a|b"})')


def test_a_scope_narrows_an_answer(store: Store) -> None:
    store_samples(store, [Sample({"__name__": "up", "namespace": name}, BASE_MS, 1.0) for name in ("shop", "bank")])
    scope = Scope(None, frozenset({"shop"}), frozenset({Signal.METRICS}))
    found = vector(instant(store, "up", 0, scope))
    assert [dict(labels)["namespace"] for labels in found] == ["shop"]


def test_limits_are_told_and_nothing_is_cut(store: Store) -> None:
    store_samples(store, [sample for n in range(3) for sample in series(cpu(str(n)), (0, 1.0), (1, 2.0))])

    def asked(limits: QueryLimits, query: str, end: int | None = None) -> Answer:
        metrics = Metrics(store, limits=limits)
        if end is None:
            return asyncio.run(metrics.instant(query, BASE_MS + 1000, EVERYTHING))
        return asyncio.run(metrics.range(query, BASE_MS, BASE_MS + end * 1000, 1000, EVERYTHING))

    assert len(points(asked(QueryLimits(series=3), "cpu_seconds[1m]"))) == 3
    with pytest.raises(LimitError, match="3 series or more: the limit is 2"):
        asked(QueryLimits(series=2), "1 + cpu_seconds")
    assert sum(map(len, points(asked(QueryLimits(samples=6), "cpu_seconds[1m]")).values())) == 6
    with pytest.raises(LimitError, match="6 samples or more: the limit is 5"):
        asked(QueryLimits(samples=5), "cpu_seconds[1m]")
    assert sum(map(len, points(asked(QueryLimits(points=33), "cpu_seconds", 10)).values())) == 33
    with pytest.raises(LimitError, match="3 series at 11 moments, 33 points: the limit is 32"):
        asked(QueryLimits(points=32), "cpu_seconds", 10)
    with pytest.raises(LimitError, match="count_values finds 13 values of 11 points: the limit is 100 points"):
        asked(QueryLimits(points=100), 'count_values("v", time() + vector(1) or cpu_seconds)', 10)


def test_a_resolution_is_limited_as_in_prometheus(store: Store) -> None:
    assert over(store, "up", 0, 11_000, 1) == {}
    with pytest.raises(ResolutionError, match="exceeded maximum resolution of 11,000 points per timeseries"):
        over(store, "up", 0, 11_001, 1)


def test_a_query_that_takes_too_long_says_so(store: Store) -> None:
    store_samples(store, [Sample(cpu(str(n)), BASE_MS + m * 15_000, 1.0) for n in range(300) for m in range(50)])
    metrics = Metrics(store)
    with pytest.raises(QueryTimeoutError, match="timed out"):
        asyncio.run(metrics.range("cpu_seconds", BASE_MS, BASE_MS + 9_000_000, 1000, EVERYTHING, timeout_seconds=0.001))


def test_every_function_of_ranges_leaves_what_is_remembered_as_it_is(store: Store) -> None:
    """Each is asked twice of one Metrics, all of the same samples, and by a Metrics that remembers nothing."""
    values = [1.0, 5.0, 2.0, float("nan"), 7.0, STALE, 3.0, 3.0, float("inf"), 4.0]
    store_samples(
        store,
        [each for name in "ab" for each in series(cpu(name), *((10 * at, value) for at, value in enumerate(values)))],
    )
    remembering, forgetful = Metrics(store), Metrics(store, remembered_bytes=0)
    others = {
        "quantile_over_time": "quantile_over_time(0.3, cpu_seconds[40s])",
        "predict_linear": "predict_linear(cpu_seconds[40s], 60)",
        "double_exponential_smoothing": "double_exponential_smoothing(cpu_seconds[40s], 0.3, 0.6)",
    }
    queries = [others.get(name, f"{name}(cpu_seconds[40s])") for name in sorted(FUNCTIONS)] + ["cpu_seconds"]

    def answered(metrics: Metrics, query: str) -> list[tuple[int, ...]]:
        found = asyncio.run(metrics.range(query, BASE_MS, BASE_MS + 100_000, 5000, EVERYTHING)).value
        assert isinstance(found, Block)
        assert found.present.any()
        return [tuple(row) for row in np.where(found.present, found.values.view(np.uint64), 0).tolist()]

    wanted = [answered(forgetful, query) for query in queries]
    for _ in range(2):
        assert [answered(remembering, query) for query in queries] == wanted
