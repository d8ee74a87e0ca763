"""Selectors are answered as Prometheus does: look-back, stale markers, offsets and moments, whole or not at all."""

import asyncio
import struct

import pytest

from kobs.errors import LimitError, QueryTypeError, UnsupportedQueryError
from kobs.model.samples import STALE_NAN_BITS, Sample
from kobs.model.scope import Scope, Signal
from kobs.query.metrics import Matrix, MetricLimits, Metrics, QueryTimeoutError, ResolutionError, Vector
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


def instant(store: Store, query: str, seconds: float = 0, scope: Scope = EVERYTHING) -> Vector | Matrix:
    return asyncio.run(Metrics(store).instant(query, BASE_MS + round(seconds * 1000), scope))


def values(store: Store, query: str, seconds: float = 0) -> dict[str, float]:
    """Return an instant vector's values by the label `cpu`."""
    vector = instant(store, query, seconds)
    assert isinstance(vector, Vector)
    return {sample.labels.get("cpu", ""): sample.value for sample in vector.samples}


def over(store: Store, query: str, start: float, end: float, step: float) -> Points:
    """Return a matrix's points by the label `cpu`, at seconds after BASE_MS."""
    times = (BASE_MS + round(start * 1000), BASE_MS + round(end * 1000), round(step * 1000))
    return points(asyncio.run(Metrics(store).range(query, *times, EVERYTHING)))


def points(matrix: Vector | Matrix) -> Points:
    assert isinstance(matrix, Matrix)
    return {
        each.labels.get("cpu", ""): [((at - BASE_MS) // 1000, value) for at, value in each.points()]
        for each in matrix.series
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
    vector = instant(store, '{__name__=~"l|m"}')
    assert isinstance(vector, Vector)
    assert [list(sample.labels.items()) for sample in vector.samples] == [
        [("__name__", "l"), ("z", "3")],
        [("__name__", "m")],
        [("__name__", "m"), ("a", "2")],
        [("__name__", "m"), ("b", "1")],
    ]
    assert vector.time_ms == BASE_MS


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


def test_what_is_no_instant_vector_has_no_range(store: Store) -> None:
    with pytest.raises(QueryTypeError, match='invalid expression type "range vector" for range query'):
        over(store, "up[5m]", 0, 1, 1)
    with pytest.raises(UnsupportedQueryError, match="only selectors are supported"):
        instant(store, "rate(up[5m])")


def test_a_scope_narrows_an_answer(store: Store) -> None:
    store_samples(store, [Sample({"__name__": "up", "namespace": name}, BASE_MS, 1.0) for name in ("shop", "bank")])
    scope = Scope(None, frozenset({"shop"}), frozenset({Signal.METRICS}))
    vector = instant(store, "up", 0, scope)
    assert isinstance(vector, Vector)
    assert [sample.labels["namespace"] for sample in vector.samples] == ["shop"]


def test_limits_are_told_and_nothing_is_cut(store: Store) -> None:
    store_samples(store, [sample for n in range(3) for sample in series(cpu(str(n)), (0, 1.0), (1, 2.0))])

    def asked(limits: MetricLimits, query: str, end: int | None = None) -> Vector | Matrix:
        metrics = Metrics(store, limits=limits)
        if end is None:
            return asyncio.run(metrics.instant(query, BASE_MS + 1000, EVERYTHING))
        return asyncio.run(metrics.range(query, BASE_MS, BASE_MS + end * 1000, 1000, EVERYTHING))

    assert len(points(asked(MetricLimits(series=3), "cpu_seconds[1m]"))) == 3
    with pytest.raises(LimitError, match="more than 2 series, which is the limit"):
        asked(MetricLimits(series=2), "cpu_seconds")
    assert sum(map(len, points(asked(MetricLimits(samples=6), "cpu_seconds[1m]")).values())) == 6
    with pytest.raises(LimitError, match="more than 5 samples, which is the limit"):
        asked(MetricLimits(samples=5), "cpu_seconds[1m]")
    assert sum(map(len, points(asked(MetricLimits(points=33), "cpu_seconds", 10)).values())) == 33
    with pytest.raises(LimitError, match="3 series of 11 points: the limit is 32 points"):
        asked(MetricLimits(points=32), "cpu_seconds", 10)


def test_a_resolution_is_limited_as_in_prometheus(store: Store) -> None:
    assert over(store, "up", 0, 11_000, 1) == {}
    with pytest.raises(ResolutionError, match="exceeded maximum resolution of 11,000 points per timeseries"):
        over(store, "up", 0, 11_001, 1)


def test_a_query_that_takes_too_long_says_so(store: Store) -> None:
    store_samples(store, [Sample(cpu(str(n)), BASE_MS + m * 15_000, 1.0) for n in range(300) for m in range(50)])
    metrics = Metrics(store)
    with pytest.raises(QueryTimeoutError, match="timed out"):
        asyncio.run(metrics.range("cpu_seconds", BASE_MS, BASE_MS + 9_000_000, 1000, EVERYTHING, timeout_seconds=0.001))
