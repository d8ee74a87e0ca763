"""Range functions on arrays give what a plain reference gives, and exactly what a real Prometheus gives."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from kobs.errors import QueryError
from kobs.model.samples import Sample
from kobs.query.promql import ranges
from kobs.query.promql.ranges import sums
from kobs.query.promql.values import Block, Moments, Points
from tests.prometheus import Prometheus, running_prometheus
from tests.query.promql import adversarial
from tests.query.promql.ranges import slowly

SERIES = 36
START_MS = 1_700_000_000_000
ALIGNED = Moments(0, adversarial.SPAN_MS + 400_000, 60_000)
BETWEEN = Moments(7_301, adversarial.SPAN_MS, 41_003)
PARAMETERS = {
    "quantile_over_time": ("0.9",),
    "predict_linear": ("3600",),
    "double_exponential_smoothing": ("0.3", "0.7"),
}
SUMS = {"sum_over_time", "avg_over_time", "stdvar_over_time", "stddev_over_time", "deriv", "predict_linear"}
"""Those whose rounding is not that of exact arithmetic."""
CANCELLING = ("cancelling", "huge", "zeros")
"""Shapes on which Prometheus' own sums are not the exact ones, or overflow on the way."""


def numbers(function: str, width: int) -> tuple[NDArray[np.float64], ...]:
    return tuple(np.full(width, float(each)) for each in PARAMETERS.get(function, ()))


def shifted(points: Points, by_ms: int) -> Points:
    return Points(points.labels, points.bounds, points.times_ms + by_ms, points.values)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with running_prometheus(tmp_path_factory.mktemp("prometheus")) as server:
        samples = []
        for number in range(SERIES):
            times, values = adversarial.samples_of(number, seed=1)
            labels = dict(adversarial.labels_of(number))
            samples += [
                Sample(labels, START_MS + at, value) for at, value in zip(times.tolist(), values.tolist(), strict=True)
            ]
        server.write(samples)
        yield server


@pytest.mark.parametrize("function", sorted(ranges.FUNCTIONS))
@pytest.mark.parametrize("moments", [ALIGNED, BETWEEN], ids=["aligned", "between"])
@pytest.mark.parametrize("range_ms", [15_000, 60_000, 300_000])
def test_a_function_means_what_its_documentation_says(function: str, moments: Moments, range_ms: int) -> None:
    points = adversarial.points(SERIES)
    given = numbers(function, moments.count())
    block = ranges.apply(function, points, moments, range_ms=range_ms, parameters=given)

    for number, labels in enumerate(points.labels):
        shape = dict(labels)["shape"]
        if function in SUMS | {"rate", "increase"} and shape in CANCELLING:
            continue
        start, end = points.bounds[number], points.bounds[number + 1]
        samples = list(zip(points.times_ms[start:end].tolist(), points.values[start:end].tolist(), strict=True))
        for column, end_ms in enumerate(moments.times_ms().tolist()):
            inside = [(at, value) for at, value in samples if end_ms - range_ms < at <= end_ms]
            window = slowly.Window(inside, end_ms - range_ms, end_ms)
            expected = slowly.FUNCTIONS[function](window, *(float(each[column]) for each in given))
            assert block.present[number, column] == (expected is not None)
            if expected is not None:
                scale = max((abs(value) for value in window.values() if math.isfinite(value)), default=0.0)
                assert block.values[number, column] == pytest.approx(
                    expected, rel=1e-9, abs=scale * 1e-9 if function in SUMS else 0.0, nan_ok=True
                ), (labels, end_ms, window)


@pytest.mark.parametrize("function", sorted(ranges.FUNCTIONS))
@pytest.mark.parametrize("moments", [ALIGNED, BETWEEN], ids=["aligned", "between"])
@pytest.mark.parametrize("range_ms", [15_000, 60_000, 300_000])
def test_a_function_gives_what_prometheus_gives(
    prometheus: Prometheus, function: str, moments: Moments, range_ms: int
) -> None:
    points = shifted(adversarial.points(SERIES), START_MS)
    asked = Moments(START_MS + moments.start_ms, START_MS + moments.end_ms, moments.step_ms)
    block = ranges.apply(function, points, asked, range_ms=range_ms, parameters=numbers(function, asked.count()))

    assert_equal(block, asked, of_prometheus(prometheus, query(function, f"adversarial[{range_ms}ms]"), asked))


@pytest.mark.parametrize("function", ["rate", "predict_linear", "quantile_over_time", "last_over_time"])
@pytest.mark.parametrize(
    ("modifier", "offset_ms", "at_ms"),
    [
        ("offset 90s", 90_000, None),
        ("offset -45s", -45_000, None),
        (f"@ {START_MS // 1000 + 900}", 0, START_MS + 900_000),
        (f"@ {START_MS // 1000 + 900} offset 1m", 60_000, START_MS + 900_000),
    ],
    ids=["offset", "negative-offset", "at", "at-and-offset"],
)
def test_modifiers_move_windows_as_in_prometheus(
    prometheus: Prometheus, function: str, modifier: str, offset_ms: int, at_ms: int | None
) -> None:
    points = shifted(adversarial.points(SERIES), START_MS)
    asked = Moments(START_MS + ALIGNED.start_ms, START_MS + ALIGNED.end_ms, ALIGNED.step_ms)
    given = numbers(function, asked.count())
    block = ranges.apply(function, points, asked, range_ms=300_000, parameters=given, offset_ms=offset_ms, at_ms=at_ms)

    assert_equal(block, asked, of_prometheus(prometheus, query(function, f"adversarial[5m] {modifier}"), asked))


def test_a_parameter_may_change_from_moment_to_moment(prometheus: Prometheus) -> None:
    points = shifted(adversarial.points(SERIES), START_MS)
    asked = Moments(START_MS, START_MS + adversarial.SPAN_MS, 60_000)
    level = (asked.times_ms() / 1000 - START_MS / 1000) / 1500 - 0.1
    text = f"((time() - {START_MS // 1000}) / 1500 - 0.1)"
    at = START_MS // 1000 + 900
    block = ranges.apply("quantile_over_time", points, asked, range_ms=300_000, parameters=(level,))
    assert_equal(block, asked, of_prometheus(prometheus, f"quantile_over_time({text}, adversarial[5m])", asked))
    block = ranges.apply("predict_linear", points, asked, range_ms=300_000, parameters=(level,), at_ms=at * 1000)
    assert_equal(block, asked, of_prometheus(prometheus, f"predict_linear(adversarial[5m] @ {at}, {text})", asked))


@pytest.mark.parametrize("function", ["sum_over_time", "avg_over_time"])
def test_running_sums_equal_added_ones(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows for which running sums are not exact enough are added up term by term."""
    points = adversarial.points(SERIES)
    moments = Moments(0, adversarial.SPAN_MS, 5_000)
    added = ranges.apply(function, points, moments, range_ms=600_000)
    monkeypatch.setattr(sums, "_FEW_TERMS", 0)
    ran = ranges.apply(function, points, moments, range_ms=600_000)

    np.testing.assert_array_equal(ran.present, added.present)
    np.testing.assert_allclose(ran.values, added.values, rtol=2e-13, atol=0)


def test_many_series_are_computed_in_pieces() -> None:
    """Each series has its own windows, wherever the pieces are cut."""
    points = adversarial.points(200)
    moments = Moments(0, adversarial.SPAN_MS, 1_000)
    whole = ranges.apply("rate", points, moments, range_ms=300_000)
    for number in (0, 35, 36, 37, 72, 199):
        start, end = points.bounds[number : number + 2]
        alone = Points(
            points.labels[number : number + 1],
            np.array([0, end - start]),
            points.times_ms[start:end],
            points.values[start:end],
        )
        block = ranges.apply("rate", alone, moments, range_ms=300_000)
        np.testing.assert_array_equal(block.present[0], whole.present[number])
        np.testing.assert_array_equal(
            np.where(block.present[0], block.values[0], 0), np.where(block.present[0], whole.values[number], 0)
        )


@pytest.mark.parametrize("function", sorted(ranges.FUNCTIONS))
def test_no_series_and_series_without_samples_have_no_points(function: str) -> None:
    nothing = Points((), np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(0))
    empty = Points(((("a", "1"),), (("a", "2"),)), np.zeros(3, np.int64), np.zeros(0, np.int64), np.zeros(0))
    moments = Moments(0, 60_000, 15_000)
    given = numbers(function, moments.count())

    assert ranges.apply(function, nothing, moments, range_ms=60_000, parameters=given).values.shape == (0, 5)
    block = ranges.apply(function, empty, moments, range_ms=60_000, parameters=given)
    assert block.labels == empty.labels
    assert block.present.shape == (2, 5)
    assert not block.present.any()


@pytest.mark.parametrize(
    ("factors", "text"),
    [
        ((0.0, 0.5), "invalid smoothing factor. Expected: 0 < sf < 1, got: 0.000000"),
        ((0.5, 1.0), "invalid trend factor. Expected: 0 < tf < 1, got: 1.000000"),
    ],
    ids=["smoothing", "trend"],
)
def test_factors_of_smoothing_lie_between_0_and_1(factors: tuple[float, float], text: str) -> None:
    moments = Moments(0, 60_000, 15_000)
    given = tuple(np.full(moments.count(), factor) for factor in factors)
    with pytest.raises(QueryError) as raised:
        ranges.apply("double_exponential_smoothing", adversarial.points(1), moments, range_ms=60_000, parameters=given)
    assert str(raised.value) == text


def query(function: str, selector: str) -> str:
    given = PARAMETERS.get(function, ())
    arguments = [*given, selector] if function == "quantile_over_time" else [selector, *given]
    return f"{function}({', '.join(arguments)})"


def of_prometheus(server: Prometheus, text: str, moments: Moments) -> dict[str, dict[int, float]]:
    """Return Prometheus' points (time in ms and value) by the label `number`."""
    data = server.range(text, moments.start_ms, moments.end_ms, moments.step_ms)
    return {
        series["metric"]["number"]: {round(at * 1000): float(value) for at, value in series["values"]}
        for series in data["result"]
    }


def assert_equal(block: Block, moments: Moments, expected: dict[str, dict[int, float]]) -> None:
    """Compare every point, the last bit included."""
    times = moments.times_ms().tolist()
    assert expected, "the comparison would be empty"
    for number, labels in enumerate(block.labels):
        present = block.present[number].tolist()
        values = block.values[number].tolist()
        found = {at: value for at, value, is_there in zip(times, values, present, strict=True) if is_there}
        wanted = expected.get(dict(labels)["number"], {})
        assert found.keys() == wanted.keys(), labels
        np.testing.assert_array_equal(list(found.values()), list(wanted.values()), err_msg=str(labels))
