"""What a query reads of a store is what a real Prometheus reads of the same samples, however they lie in the store."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from kobs.errors import LimitError
from kobs.model.samples import STALE_NAN_BITS, Sample
from kobs.model.scope import Scope, Signal
from kobs.query.interruption import Interruption
from kobs.query.promql import leaves as leaves_module
from kobs.query.promql import ranges
from kobs.query.promql.leaves import Leaves
from kobs.query.promql.limits import QueryLimits, QueryTimeoutError, Statistics
from kobs.query.promql.series import SeriesMemory
from kobs.query.promql.tree import (
    Aggregation,
    AtAnchor,
    AtModifier,
    Call,
    Expression,
    Matcher,
    MatchOperator,
    MatrixSelector,
    NumberLiteral,
    VectorSelector,
)
from kobs.query.promql.values import Block, Moments
from kobs.storage.clickhouse import Store
from tests.metric_frames import BASE_MS
from tests.prometheus import Prometheus, running_prometheus
from tests.query.promql import adversarial
from tests.query.promql.storing import store_all

pytestmark = pytest.mark.clickhouse

SERIES = 45
LOOKBACK_MS = 300_000
EVERYTHING = Scope.all()
ALIGNED = Moments(BASE_MS - 60_000, BASE_MS + adversarial.SPAN_MS + 400_000, 60_000)
BETWEEN = Moments(BASE_MS + 7_301, BASE_MS + adversarial.SPAN_MS, 41_003)
SPARSE = Moments(BASE_MS, BASE_MS + adversarial.SPAN_MS + 400_000, 720_000)


def matcher(name: str, value: str, operator: MatchOperator = MatchOperator.EQUAL) -> Matcher:
    return Matcher(name, operator, value, 0, 0)


def selector(
    *matchers: Matcher, metric: str = "adversarial", offset_ms: int = 0, at: AtModifier | None = None
) -> VectorSelector:
    return VectorSelector((matcher("__name__", metric), *matchers), offset_ms, at, 0, 0)


def over(vector: VectorSelector, range_ms: int) -> MatrixSelector:
    return MatrixSelector(vector, range_ms, 0, 0)


def samples() -> list[tuple[dict[str, str], list[int], list[float]]]:
    """Return adversarial series with stale markers, at times from BASE_MS on."""
    found = []
    for number in range(SERIES):
        times, values = adversarial.samples_of(number, seed=2, stale=True)
        found.append((dict(adversarial.labels_of(number)), (times + BASE_MS).tolist(), values.tolist()))
    return found


@pytest.fixture(scope="module")
def filled_store(shared_store: Store) -> Store:
    """The samples in several parts that overlap in time, many of them twice, some with lesser values before them."""
    series = samples()
    store_all(shared_store, [(labels, times[::2], values[::2]) for labels, times, values in series])
    store_all(shared_store, [(labels, times[1::2], values[1::2]) for labels, times, values in series if times[1::2]])
    store_all(shared_store, [(labels, times[3:40], values[3:40]) for labels, times, values in series if times[3:40]])
    # of different values at one time the greatest counts
    lesser = []
    for labels, times, values in series:
        if labels["shape"] in ("counter", "gauge", "steps"):
            numbers = [(at, value) for at, value in zip(times[::3], values[::3], strict=True) if np.isfinite(value)]
            lesser.append((labels, [at for at, _ in numbers], [value - 1e6 for _, value in numbers]))
    store_all(shared_store, lesser)
    return shared_store


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with running_prometheus(tmp_path_factory.mktemp("prometheus")) as server:
        server.write(
            [
                Sample(labels, at, value)
                for labels, times, values in samples()
                for at, value in zip(times, values, strict=True)
            ]
        )
        yield server


def reading(
    store: Store,
    moments: Moments = ALIGNED,
    *,
    scope: Scope = EVERYTHING,
    limits: QueryLimits | None = None,
    timeout_seconds: float | None = None,
    memory: SeriesMemory | None = None,
) -> Leaves:
    return Leaves(
        store,
        scope,
        limits if limits is not None else QueryLimits(),
        Interruption(),
        bounds=moments,
        timeout_seconds=timeout_seconds,
        memory=memory,
    )


def points_of(block: Block, moments: Moments) -> dict[str, dict[int, float]]:
    """Return a block's points by the label `number`, those without any left out."""
    times = moments.times_ms().tolist()
    found = {}
    for labels, values, present in zip(block.labels, block.values.tolist(), block.present.tolist(), strict=True):
        points = {at: value for at, value, is_there in zip(times, values, present, strict=True) if is_there}
        if points:
            found[dict(labels).get("number", dict(labels).get("shape", ""))] = points
    return found


def of_prometheus(server: Prometheus, text: str, moments: Moments) -> dict[str, dict[int, float]]:
    data = server.range(text, moments.start_ms, moments.end_ms, moments.step_ms)
    return {
        series["metric"].get("number", series["metric"].get("shape", "")): {
            round(at * 1000): float(value) for at, value in series["values"]
        }
        for series in data["result"]
    }


def assert_same(
    found: dict[str, dict[int, float]], expected: dict[str, dict[int, float]], *, rtol: float = 0, atol: float = 0
) -> None:
    assert expected, "the comparison would be empty"
    assert found.keys() == expected.keys()
    for name, points in expected.items():
        assert found[name].keys() == points.keys(), name
        mine = [found[name][at] for at in points]
        np.testing.assert_allclose(mine, list(points.values()), rtol=rtol, atol=atol, err_msg=name)


@pytest.mark.parametrize("moments", [ALIGNED, BETWEEN, SPARSE], ids=["aligned", "between", "sparse"])
def test_an_instant_selector_has_the_newest_values(
    filled_store: Store, prometheus: Prometheus, moments: Moments
) -> None:
    block = reading(filled_store).instant(selector(), moments, lookback_ms=LOOKBACK_MS)
    assert_same(points_of(block, moments), of_prometheus(prometheus, "adversarial", moments))
    times = reading(filled_store).timestamps(selector(), moments, lookback_ms=LOOKBACK_MS)
    assert_same(points_of(times, moments), of_prometheus(prometheus, "timestamp(adversarial)", moments))


@pytest.mark.parametrize("function", sorted(ranges.FUNCTIONS - {"double_exponential_smoothing"}))
@pytest.mark.parametrize("moments", [ALIGNED, SPARSE], ids=["aligned", "sparse"])
def test_a_range_function_reads_its_windows(
    filled_store: Store, prometheus: Prometheus, function: str, moments: Moments
) -> None:
    text = {"quantile_over_time": "(0.3, adversarial[5m])", "predict_linear": "(adversarial[5m], 0.3)"}
    parameters = (np.full(moments.count(), 0.3),) if function in text else ()
    block = reading(filled_store).range_function(function, over(selector(), 300_000), moments, parameters)
    expected = of_prometheus(prometheus, function + text.get(function, "(adversarial[5m])"), moments)
    assert_same(points_of(block, moments), expected)


@pytest.mark.parametrize(
    ("text", "offset_ms", "anchor"),
    [
        ("offset 90s", 90_000, None),
        ("offset -45s", -45_000, None),
        ("@ start() offset -10m", -600_000, AtAnchor.START),
        ("@ end() offset 10m", 600_000, AtAnchor.END),
        (f"@ {BASE_MS // 1000 + 700}", 0, AtAnchor.TIME),
    ],
    ids=["offset", "negative-offset", "start", "end", "time"],
)
def test_modifiers_move_windows(
    filled_store: Store, prometheus: Prometheus, text: str, offset_ms: int, anchor: AtAnchor | None
) -> None:
    at = None if anchor is None else AtModifier(anchor, BASE_MS + 700_000, 0, 0)
    vector = selector(offset_ms=offset_ms, at=at)
    block = reading(filled_store).instant(vector, ALIGNED, lookback_ms=LOOKBACK_MS)
    assert_same(points_of(block, ALIGNED), of_prometheus(prometheus, f"adversarial {text}", ALIGNED))
    block = reading(filled_store).range_function("rate", over(vector, 300_000), ALIGNED)
    assert_same(points_of(block, ALIGNED), of_prometheus(prometheus, f"rate(adversarial[5m] {text})", ALIGNED))


@pytest.mark.parametrize(
    ("text", "matchers"),
    [
        ('number=~"1|2.*"', [matcher("number", "1|2.*", MatchOperator.REGEX)]),
        (
            'number!~".*1",shape!="nan"',
            [matcher("number", ".*1", MatchOperator.NOT_REGEX), matcher("shape", "nan", MatchOperator.NOT_EQUAL)],
        ),
        ('nothing="",shape="gauge"', [matcher("nothing", ""), matcher("shape", "gauge")]),
        (
            'shape=~".+",nothing=~"|x"',
            [matcher("shape", ".+", MatchOperator.REGEX), matcher("nothing", "|x", MatchOperator.REGEX)],
        ),
    ],
    ids=["pattern", "negative", "empty", "matches-empty"],
)
def test_matchers_select_as_in_prometheus(
    filled_store: Store, prometheus: Prometheus, text: str, matchers: list[Matcher]
) -> None:
    block = reading(filled_store).instant(selector(*matchers), ALIGNED, lookback_ms=LOOKBACK_MS)
    assert_same(points_of(block, ALIGNED), of_prometheus(prometheus, f"adversarial{{{text}}}", ALIGNED))
    nameless = VectorSelector((matcher("__name__", "adv.*", MatchOperator.REGEX), *matchers), 0, None, 0, 0)
    assert_same(
        points_of(reading(filled_store).instant(nameless, ALIGNED, lookback_ms=LOOKBACK_MS), ALIGNED),
        points_of(block, ALIGNED),
    )


def test_a_range_selector_has_its_samples(filled_store: Store, prometheus: Prometheus) -> None:
    time_ms = BASE_MS + 1_000_000
    points = reading(filled_store).points(over(selector(), 400_000), time_ms)
    expected = {
        series["metric"]["number"]: [(round(at * 1000), float(value)) for at, value in series["values"]]
        for series in prometheus.instant("adversarial[400s]", time_ms)["result"]
    }
    assert {dict(labels)["number"] for labels in points.labels} == expected.keys()
    for number, labels in enumerate(points.labels):
        start, end = points.bounds[number : number + 2]
        wanted = expected[dict(labels)["number"]]
        assert points.times_ms[start:end].tolist() == [at for at, _ in wanted]
        np.testing.assert_array_equal(points.values[start:end], [value for _, value in wanted])


@pytest.mark.parametrize("memory_bytes", [128 * 300, 128 * 1000, 128 * 2500], ids=str)
def test_a_large_reading_is_done_in_slices(filled_store: Store, memory_bytes: int) -> None:
    """However little memory there is, the answer is the same."""
    whole = reading(filled_store).range_function("rate", over(selector(), 300_000), ALIGNED)
    leaves = reading(filled_store, limits=QueryLimits(memory_bytes=memory_bytes))
    sliced = leaves.range_function("rate", over(selector(), 300_000), ALIGNED)

    assert leaves.statistics.peak_samples < memory_bytes // 128 + sliced.values.size + 1
    assert_same(points_of(sliced, ALIGNED), points_of(whole, ALIGNED))


def call(function: str, *numbers: float) -> Call:
    arguments: list[Expression] = [over(selector(), 300_000)]
    literals: list[Expression] = [NumberLiteral(number, 0, 0) for number in numbers]
    ordered = literals + arguments if function == "quantile_over_time" else arguments + literals
    return Call(function, tuple(ordered), 0, 0)


@pytest.mark.parametrize("operator", ["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"])
@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("adversarial", selector()),
        ("rate(adversarial[5m])", call("rate")),
        ("quantile_over_time(0.3, adversarial[5m])", call("quantile_over_time", 0.3)),
        (
            "adversarial{shape=~'gauge|counter|steps|constant'}",
            selector(matcher("shape", "gauge|counter|steps|constant", MatchOperator.REGEX)),
        ),
    ],
    ids=["instant", "rate", "quantile", "finite"],
)
@pytest.mark.parametrize(
    ("grouping", "labels", "is_without"),
    [("by (shape)", ("shape",), False), ("without (number)", ("number",), True), ("", (), False)],
    ids=["by", "without", "all"],
)
def test_a_large_aggregation_is_folded(
    filled_store: Store,
    prometheus: Prometheus,
    monkeypatch: pytest.MonkeyPatch,
    *,
    operator: str,
    text: str,
    expression: Expression,
    grouping: str,
    labels: tuple[str, ...],
    is_without: bool,
) -> None:
    monkeypatch.setattr(leaves_module, "_MANY_POINTS", 1)
    node = Aggregation(operator, expression, None, labels, is_without, 0, 0)
    block = reading(filled_store).aggregate(node, ALIGNED)
    expected = of_prometheus(prometheus, f"{operator} {grouping} ({text})", ALIGNED)

    if block is None:  # a sum was infinite on the way to a mean
        assert operator == "avg"
        assert "finite" not in text
        return
    is_sum = operator in ("sum", "avg", "stddev", "stdvar")
    found = points_of(block, ALIGNED)
    if is_sum:
        # series that cancel each other have sums that depend on their order
        for points in (found, expected):
            for name in {"cancelling", "infinite", "huge", ""} & points.keys():
                del points[name]
        if not expected:
            return
    # where values around 1e9 are equal but for their last bit
    noise = 1e-6 if operator in ("stddev", "stdvar") else 0
    assert_same(found, expected, rtol=1e-9 if is_sum else 0, atol=noise)


def test_small_and_other_aggregations_are_left_to_arrays(filled_store: Store) -> None:
    def aggregated(operator: str, expression: Expression, labels: tuple[str, ...] = ()) -> Block | None:
        return reading(filled_store).aggregate(
            Aggregation(operator, expression, None, labels, is_without=False, start=0, end=0), ALIGNED
        )

    assert aggregated("sum", selector()) is None
    assert aggregated("topk", selector()) is None
    assert aggregated("sum", NumberLiteral(1, 0, 0)) is None
    assert aggregated("sum", selector(), ("__name__",)) is None


def test_a_scope_narrows_what_is_read_and_remembered(store: Store) -> None:
    store_all(
        store,
        [
            ({"__name__": "up", "namespace": name, "number": str(number)}, [BASE_MS], [1.0])
            for number, name in enumerate(("shop", "bank", ""))
        ],
    )
    memory = SeriesMemory(store)
    moments = Moments(BASE_MS, BASE_MS, 1)

    def seen(scope: Scope) -> set[str]:
        leaves = reading(store, moments, scope=scope, memory=memory)
        return set(points_of(leaves.instant(selector(metric="up"), moments, lookback_ms=LOOKBACK_MS), moments))

    for _ in range(2):
        assert seen(EVERYTHING) == {"0", "1", "2"}
        assert seen(Scope(None, frozenset({"shop"}), frozenset({Signal.METRICS}))) == {"0"}
        assert seen(Scope(None, frozenset({"", "bank"}), frozenset({Signal.METRICS}))) == {"1", "2"}
        assert seen(Scope(None, None, frozenset({Signal.LOGS}))) == set()
        assert seen(Scope(frozenset({"c"}), None, frozenset({Signal.METRICS}))) == set()


def test_new_series_and_samples_are_seen_at_once(store: Store) -> None:
    memory = SeriesMemory(store)
    moments = Moments(BASE_MS, BASE_MS, 1)
    for count in range(1, 4):
        store_all(store, [({"__name__": "up", "number": str(count)}, [BASE_MS], [float(count)])])
        leaves = reading(store, moments, memory=memory)
        block = leaves.instant(selector(metric="up"), moments, lookback_ms=LOOKBACK_MS)
        assert points_of(block, moments) == {str(n): {BASE_MS: float(n)} for n in range(1, count + 1)}
        assert leaves.statistics.series == count


def test_a_metric_that_is_searched_again_and_again_gives_the_same_series(store: Store) -> None:
    """By the index of its labels from the third time on, also after new series and for who may see less."""
    limited = Scope(None, frozenset({"shop"}), frozenset({Signal.METRICS}))
    memory = SeriesMemory(store)
    statements: list[str] = []
    select = store.select

    def watched(sql: str, *arguments: Any, **named: Any) -> pa.Table:
        statements.append(sql)
        return select(sql, *arguments, **named)

    store.select = watched  # type: ignore[method-assign]
    number = 0
    unusual = {7: matcher("__name__", "down"), 8: matcher("none", ""), 9: matcher("pod", "x", MatchOperator.NOT_EQUAL)}
    for _ in range(3):
        new = []
        for _ in range(40):
            labels = {"pod": f"pod-{number % 13}", "namespace": ("shop", "bank")[number % 2], "number": str(number)}
            new.append(({"__name__": ("up", "down")[number % 5 == 0], **labels}, [BASE_MS], [1.0]))
            number += 1
        store_all(store, new)
        was_searched = []
        for pod in range(13):
            wanted = [matcher("pod", f"pod-{pod}"), matcher("namespace", "shop")][: 1 + pod % 2]
            wanted += [unusual[pod]] if pod in unusual else []
            vector = selector(*wanted, metric="up")
            for scope in (EVERYTHING, limited):
                statements.clear()
                found = memory.find(scope, vector, after_ms=BASE_MS - 1000, until_ms=BASE_MS, limit=1000)
                if scope is EVERYTHING and pod not in unusual:
                    was_searched.append(any("LIMIT 1 BY fp" in sql for sql in statements))
                other = SeriesMemory(store)
                plain = other.find(scope, vector, after_ms=BASE_MS - 1000, until_ms=BASE_MS, limit=1000)
                assert found.ids.tolist() == plain.ids.tolist()
                assert memory.labels(found) == other.labels(plain)
        # Others may write to a store by HTTP: there nothing tells that an index still holds.
        assert was_searched == ([True] * 2 + [False] * 8 if store.embedded else [True] * 10)


def test_little_is_remembered_where_little_may_be(filled_store: Store) -> None:
    memory = SeriesMemory(filled_store, most_label_sets=3, most_ids=1)
    for _ in range(2):
        for shape in ("gauge", "counter"):
            vector = selector(matcher("shape", shape))
            leaves = reading(filled_store, memory=memory)
            block = leaves.instant(vector, ALIGNED, lookback_ms=LOOKBACK_MS)
            assert {dict(labels)["shape"] for labels in block.labels} == {shape}
            assert len(block.labels) == 5


def test_limits_name_themselves_and_cut_nothing(filled_store: Store) -> None:
    def instant(limits: QueryLimits) -> Block:
        return reading(filled_store, limits=limits).instant(selector(), ALIGNED, lookback_ms=LOOKBACK_MS)

    assert len(instant(QueryLimits(series=SERIES)).labels) == SERIES
    with pytest.raises(LimitError, match=rf"has {SERIES} series or more: the limit is {SERIES - 1} \(query.max_series"):
        instant(QueryLimits(series=SERIES - 1))
    points = SERIES * ALIGNED.count()
    assert instant(QueryLimits(points=points)).values.size == points
    with pytest.raises(LimitError, match=rf"{points} points: the limit is {points - 1} \(query.max_points"):
        instant(QueryLimits(points=points - 1))
    leaves = reading(filled_store)
    leaves.instant(selector(), ALIGNED, lookback_ms=LOOKBACK_MS)
    read = leaves.statistics.samples_read
    assert instant(QueryLimits(samples=read)).values.size == points
    with pytest.raises(LimitError, match=rf"reads {read} samples or more: the limit is {read - 1} \(query.max_samples"):
        instant(QueryLimits(samples=read - 1))
    with pytest.raises(LimitError, match=r"the limit is 9 \(query.max_points"):
        reading(filled_store, limits=QueryLimits(points=9)).points(over(selector(), 300_000), BASE_MS + 900_000)


def test_a_series_that_does_not_fit_into_memory_says_so(filled_store: Store) -> None:
    with pytest.raises(LimitError, match=r"one series has more than 10 samples.*query.max_memory_bytes"):
        reading(filled_store, limits=QueryLimits(memory_bytes=1280)).instant(
            selector(), ALIGNED, lookback_ms=LOOKBACK_MS
        )


def test_a_query_ends_when_its_time_is_over(filled_store: Store) -> None:
    with pytest.raises(QueryTimeoutError, match=r"timed out: it took longer than 1e-06 s"):
        reading(filled_store, timeout_seconds=1e-6).instant(selector(), ALIGNED, lookback_ms=LOOKBACK_MS)


def test_statistics_tell_what_was_read(filled_store: Store) -> None:
    statistics = Statistics()
    leaves = Leaves(filled_store, EVERYTHING, QueryLimits(), Interruption(), bounds=ALIGNED, statistics=statistics)
    block = leaves.instant(selector(), ALIGNED, lookback_ms=LOOKBACK_MS)
    stored = sum(len(times) for _, times, _ in samples())
    assert statistics == Statistics(SERIES, stored, stored + block.values.size)


@pytest.mark.parametrize("seconds", [-9e15, -1e10, 1e12, 9e15], ids=str)
def test_moments_without_samples_have_no_answer(filled_store: Store, seconds: float) -> None:
    moments = Moments(int(seconds * 1000), int(seconds * 1000), 1)
    leaves = reading(filled_store, moments)
    assert leaves.instant(selector(), moments, lookback_ms=LOOKBACK_MS).values.shape == (0, 1)
    assert leaves.range_function("rate", over(selector(), 300_000), moments).values.shape == (0, 1)
    assert leaves.points(over(selector(), 300_000), moments.start_ms).labels == ()


def test_a_range_from_before_1970_to_after_2100_has_what_is_there(filled_store: Store) -> None:
    step = 10_000_000_000_000
    start = BASE_MS - 5 * step + 600_000
    moments = Moments(start, start + 10 * step, step)
    block = reading(filled_store, moments).instant(selector(), moments, lookback_ms=LOOKBACK_MS)
    assert set(block.present.any(axis=0).nonzero()[0].tolist()) == {5}
    block = reading(filled_store, moments).range_function("count_over_time", over(selector(), 100 * step), moments)
    most = max(np.sum(np.array(values).view(np.uint64) != STALE_NAN_BITS) for _, _, values in samples())
    assert block.values.max() == most
