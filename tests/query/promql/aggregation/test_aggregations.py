"""Every aggregation, moment by moment: which series it takes together, what it makes of NaN and of what is absent."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from kobs.errors import LimitError, QueryEvaluationError
from kobs.query.promql.aggregation import aggregated, count_values
from kobs.query.promql.notes import Notes
from kobs.query.promql.tree import Aggregation, Expression, NumberLiteral, Parentheses, VectorSelector
from kobs.query.promql.values import Block
from tests.query.promql.vectors import Row, same, told, vector

INF, NAN = math.inf, math.nan
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
SELECTOR = VectorSelector((), 0, None, 0, 1)


def node(operator: str, by: Sequence[str] = (), *, without: bool = False, parameter: bool = False) -> Aggregation:
    number: Expression | None = Parentheses(NumberLiteral(0.0, 5, 6), 4, 7) if parameter else None
    return Aggregation(operator, SELECTOR, number, tuple(by), without, 0, 20)


def work(
    operator: str,
    block: Block,
    by: Sequence[str] = (),
    *,
    without: bool = False,
    parameter: Sequence[float] | None = None,
    notes: Notes | None = None,
) -> dict[str, list[float | None]]:
    numbers = None if parameter is None else np.array(parameter, dtype=float)
    asked = node(operator, by, without=without, parameter=numbers is not None)
    return told(aggregated(asked, block, numbers, notes if notes is not None else Notes("")))


GAPS = {
    "m g=1 n=1": [1.0, None, NAN, INF],
    "m g=1 n=2": [3.0, None, 2.0, None],
    "m g=2 n=1": [None, 5.0, NAN, -INF],
    "m g=2 n=2 p=x": [-0.5, 7.0, NAN, None],
}
ANSWERS: dict[str, dict[str, Row]] = {
    "sum": {" g=1": [4.0, None, NAN, INF], " g=2": [-0.5, 12.0, NAN, -INF]},
    "avg": {" g=1": [2.0, None, NAN, INF], " g=2": [-0.5, 6.0, NAN, -INF]},
    "count": {" g=1": [2, None, 2, 1], " g=2": [1, 2, 2, 1]},
    "group": {" g=1": [1, None, 1, 1], " g=2": [1, 1, 1, 1]},
    "min": {" g=1": [1.0, None, 2.0, INF], " g=2": [-0.5, 5.0, NAN, -INF]},
    "max": {" g=1": [3.0, None, 2.0, INF], " g=2": [-0.5, 7.0, NAN, -INF]},
    "stddev": {" g=1": [1.0, None, NAN, NAN], " g=2": [0.0, 1.0, NAN, NAN]},
    "stdvar": {" g=1": [1.0, None, NAN, NAN], " g=2": [0.0, 1.0, NAN, NAN]},
}


@pytest.mark.parametrize("operator", ANSWERS)
def test_an_aggregation_takes_what_is_there(operator: str) -> None:
    assert same(work(operator, vector(GAPS), ["g"]), ANSWERS[operator])


@pytest.mark.parametrize(
    ("by", "without", "expected"),
    [
        ([], False, {"": [3.5]}),
        (["n", "g", "nothing"], False, {" g=1 n=1": [1.0], " g=1 n=2": [3.0], " g=2 n=2": [-0.5]}),
        (["__name__"], False, {"m": [3.5]}),
        (["n", "p"], True, {" g=1": [4.0], " g=2": [-0.5]}),
        ([], True, {" g=1 n=1": [1.0], " g=1 n=2": [3.0], " g=2 n=2 p=x": [-0.5]}),
    ],
    ids=["all", "by", "by name", "without", "without nothing"],
)
def test_series_are_taken_together_by_labels(by: list[str], without: bool, expected: dict[str, Row]) -> None:  # noqa: FBT001 - a case
    first = {key: row[:1] for key, row in GAPS.items()}
    assert same(work("sum", vector(first), by, without=without), expected)


@pytest.mark.parametrize("operator", [*ANSWERS, "topk", "bottomk", "limitk", "limit_ratio", "quantile"])
def test_nothing_gives_nothing(operator: str) -> None:
    parameter = None if operator in ANSWERS else [1.0, 1.0]
    nothing = vector({})
    empty = Block((), np.empty((0, 2)), np.empty((0, 2), dtype=bool))
    assert nothing.labels == empty.labels
    assert work(operator, empty, parameter=parameter) == {}
    assert work(operator, vector({"m": [None, None]}), parameter=parameter) == {}


# -- quantiles ---------------------------------------------------------------------------------------------------------


def plain_quantile(q: float, values: list[float]) -> float:
    if not values or math.isnan(q):
        return NAN
    if q < 0 or q > 1:
        return -INF if q < 0 else INF
    values = sorted(values, key=lambda value: (not math.isnan(value), value))
    rank = q * (len(values) - 1)
    lower = max(0, math.floor(rank))
    upper = min(len(values) - 1, lower + 1)
    weight = rank - math.floor(rank)
    return values[lower] * (1 - weight) + values[upper] * weight


def test_quantiles_are_those_of_the_values_in_order_with_nan_first() -> None:
    random = np.random.default_rng(3)
    values = random.choice([1.0, 2.5, -3.0, NAN, INF, -INF, 0.0, 7.25], (9, 200))
    present = random.random((9, 200)) < 0.6
    quantile = random.choice([0.0, 0.1, 0.5, 0.9, 1.0, 0.333, -1.0, 2.0, NAN], 200)
    block = Block(tuple((("n", str(n)),) for n in range(9)), values, present)
    found = aggregated(node("quantile", parameter=True), block, quantile, Notes(""))
    for moment in range(200):
        there = values[present[:, moment], moment].tolist()
        assert found.present[0, moment] == bool(there)
        if there:
            expected = plain_quantile(quantile[moment].item(), there)
            assert repr(found.values[0, moment].item()) == repr(expected), (quantile[moment], there)


def test_quantiles_out_of_range_are_warned_of_at_the_parameter() -> None:
    notes = Notes("quantile(2, m)\n")
    work("quantile", vector({"m": [1.0, 1.0, 1.0]}), parameter=[2.5, 0.5, -1.0], notes=notes)
    assert list(notes.annotations().warnings) == [
        "PromQL warning: quantile value should be between 0 and 1, got 2.5 (1:6)",
        "PromQL warning: quantile value should be between 0 and 1, got -1 (1:6)",
    ]
    notes = Notes("quantile(2, m)")
    work("quantile", vector({"m": [1.0, 1.0]}), parameter=[NAN, 0.5], notes=notes)
    assert list(notes.annotations().warnings) == [
        "PromQL warning: quantile value should be between 0 and 1, got NaN (1:6)"
    ]


# -- choosing series ---------------------------------------------------------------------------------------------------

MANY = {
    "m g=1 n=1": [1.0, 5.0, NAN, None],
    "m g=1 n=2": [2.0, 5.0, 3.0, None],
    "m g=1 n=3": [3.0, 4.0, NAN, -INF],
    "m g=2 n=1": [9.0, None, NAN, 1.0],
}


def test_topk_and_bottomk_keep_labels_and_choose_at_each_moment() -> None:
    assert same(
        work("topk", vector(MANY), ["g"], parameter=[2, 1, 2, 5]),
        {
            "m g=1 n=1": [None, 5.0, NAN, None],
            "m g=1 n=2": [2.0, None, 3.0, None],
            "m g=1 n=3": [3.0, None, None, -INF],
            "m g=2 n=1": [9.0, None, NAN, 1.0],
        },
    )
    assert same(
        work("bottomk", vector(MANY), parameter=[2, 1, 1, 1.9]),
        {
            "m g=1 n=1": [1.0, None, None, None],
            "m g=1 n=2": [2.0, None, 3.0, None],
            "m g=1 n=3": [None, 4.0, None, -INF],
        },
    )


def test_an_instant_topk_is_in_the_order_of_values() -> None:
    block = vector({"a": [2.0], "b": [NAN], "c": [7.0], "d": [5.0], "e": [None], "f": [INF]})
    assert list(work("topk", block, parameter=[9])) == ["f", "c", "d", "a", "b"]
    assert list(work("bottomk", block, parameter=[3])) == ["a", "d", "c"]


def test_topk_agrees_with_sorting_on_random_vectors() -> None:
    random = np.random.default_rng(8)
    values = random.choice([1.0, 2.0, 3.0, NAN, INF, -INF, 0.5], (12, 100))
    present = random.random((12, 100)) < 0.7
    numbers = random.integers(0, 14, 100).astype(float)
    block = Block(tuple((("n", f"{n:02}"),) for n in range(12)), values, present)
    for operator, direction in (("topk", -1), ("bottomk", 1)):
        found = aggregated(node(operator, parameter=True), block, numbers, Notes(""))
        for moment in range(100):
            rows = np.flatnonzero(present[:, moment]).tolist()
            rows.sort(key=lambda row: (math.isnan(values[row, moment]), direction * values[row, moment]))
            kept = np.flatnonzero(found.present[:, moment]).tolist()
            told_values = sorted(map(repr, found.values[kept, moment].tolist()))
            expected = rows[: int(numbers[moment])]
            assert told_values == sorted(repr(values[row, moment].item()) for row in expected)


@pytest.mark.parametrize("number", [1, 3, 7])
def test_topk_of_many_series_agrees_with_sorting(number: int) -> None:
    """Most series are ruled out by blocks: those that are chosen are the same, the first of equal ones."""
    random = np.random.default_rng(number)
    values = np.round(random.normal(0, 3, (5000, 6)), 2)
    values[random.random(values.shape) < 0.001] = NAN
    present = random.random(values.shape) < 0.9
    present[:, 4] = False
    present[7::1000, 4] = True
    values[:, 5] = 1.0
    block = Block(tuple((("n", f"{n:04}"),) for n in range(5000)), values, present)
    found = aggregated(node("topk", parameter=True), block, np.full(6, float(number)), Notes(""))
    for moment in range(6):
        rows = np.flatnonzero(present[:, moment]).tolist()
        rows.sort(key=lambda row: (math.isnan(values[row, moment]), -values[row, moment], row))
        chosen = [found.labels[row][0][1] for row in np.flatnonzero(found.present[:, moment])]
        assert sorted(chosen) == sorted(f"{row:04}" for row in rows[:number])


def test_limitk_takes_the_first_series_that_are_there() -> None:
    assert same(
        work("limitk", vector(MANY), ["g"], parameter=[2, 0, 1, 1]),
        {
            "m g=1 n=1": [1.0, None, NAN, None],
            "m g=1 n=2": [2.0, None, None, None],
            "m g=1 n=3": [None, None, None, -INF],
            "m g=2 n=1": [9.0, None, NAN, 1.0],
        },
    )


def test_limit_ratio_and_its_complement_are_all_series() -> None:
    block = vector({f"m n={number}": [1.0] for number in range(200)})
    some = set(work("limit_ratio", block, parameter=[0.3]))
    rest = set(work("limit_ratio", block, parameter=[-0.7]))
    assert some | rest == set(told(block))
    assert not some & rest
    assert 30 < len(some) < 90
    assert work("limit_ratio", block, parameter=[0.0]) == {}
    notes = Notes("limit_ratio(3, m)")
    assert set(work("limit_ratio", block, parameter=[3.0], notes=notes)) == set(told(block))
    assert list(notes.annotations().warnings) == [
        "PromQL warning: ratio value should be between -1 and 1, got 3, capping to 1 (1:6)"
    ]


@pytest.mark.parametrize(
    ("operator", "parameter", "message"),
    [
        ("topk", [NAN, 1.0], "Parameter value is NaN"),
        ("limitk", [NAN], "Parameter value is NaN"),
        ("limit_ratio", [NAN], "Ratio value is NaN"),
        ("bottomk", [1e30], r"Scalar value 1e\+30 overflows int64"),
        ("topk", [1.0, -INF], "Scalar value -Inf underflows int64"),
    ],
    ids=str,
)
def test_numbers_of_series_that_cannot_be_are_errors(operator: str, parameter: list[float], message: str) -> None:
    with pytest.raises(QueryEvaluationError, match=message):
        work(operator, vector({"m": [1.0] * len(parameter)}), parameter=parameter)


def test_less_than_one_series_is_none() -> None:
    assert work("topk", vector({"m": [1.0]}), parameter=[0.9]) == {}
    assert work("topk", vector({"m": [1.0]}), parameter=[-INF]) == {}


# -- count_values ------------------------------------------------------------------------------------------------------


def counted(
    rows: dict[str, Row], label: str, by: Sequence[str] = (), *, without: bool = False
) -> dict[str, list[float | None]]:
    return told(count_values(node("count_values", by, without=without), vector(rows), label, most_points=1000))


def test_count_values_has_a_series_for_each_value() -> None:
    rows: dict[str, Row] = {
        "m g=1 n=1": [1.0, NAN, 0.0],
        "m g=1 n=2": [1.0, NAN, -0.0],
        "m g=2 n=1": [1e21, None, INF],
    }
    assert same(
        counted(rows, "v"),
        {
            " v=1": [2.0, None, None],
            " v=NaN": [None, 2.0, None],
            " v=0": [None, None, 1.0],
            " v=-0": [None, None, 1.0],
            " v=1000000000000000000000": [1.0, None, None],
            " v=+Inf": [None, None, 1.0],
        },
    )
    assert same(counted({"m g=1": [0.001], "m g=2": [0.001]}, "v", ["g"]), {" g=1 v=0.001": [1], " g=2 v=0.001": [1]})


def test_count_values_sets_its_label_over_another() -> None:
    rows: dict[str, Row] = {"m g=1": [2.0], "m g=2": [2.0]}
    assert same(counted(rows, "g"), {" g=2": [2.0]})
    assert same(counted(rows, "g", ["g"]), {" g=2": [2.0]})
    assert same(counted(rows, "v", without=True), {" g=1 v=2": [1.0], " g=2 v=2": [1.0]})
    assert same(counted(rows, "v", ["v"], without=True), {" g=1": [1.0], " g=2": [1.0]})
    assert same(counted({"m": [1.0], "l": [3.0]}, "__name__", without=True), {"": [2.0]})
    assert same(counted({"m": [1.0], "l": [1.0]}, "__name__"), {"1": [2.0]})


def test_count_values_has_its_limits() -> None:
    with pytest.raises(QueryEvaluationError, match='invalid label name ""'):
        counted({"m": [1.0]}, "")
    with pytest.raises(LimitError, match="finds 1001 values of 1 points: the limit is 1000"):
        counted({f"m n={n}": [float(n)] for n in range(1001)}, "v")
    assert counted({"m": [None]}, "v") == {}
