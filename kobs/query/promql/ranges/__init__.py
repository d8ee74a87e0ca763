"""Functions of range vectors: samples of many series and moments arrive, a value for each series and moment leaves.

All windows of all series are computed together (`windows` finds them). A point is absent where its window has too few
samples. Results are Prometheus' own, its order of additions included, but where `sums` says otherwise. What concerns
the whole answer is the caller's: the metric's name is still a label, annotations are not made here, and
`absent_over_time` is made of `present_over_time`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kobs.errors import QueryEvaluationError
from kobs.query.promql.ranges import counts, extremes, order, rates, sums, trends, windows
from kobs.query.promql.ranges.windows import Floats, Integers, Series, Windows
from kobs.query.promql.values import Block, Moments, Points


@dataclass(frozen=True, slots=True)
class _Function:
    """`compute` gets windows with at least `least_samples`, and each parameter as one number a window."""

    compute: Callable[..., Floats]
    least_samples: int = 1
    is_of_moment: bool = False
    """Whether the value depends on the moment itself, not only on its window."""


def _rate(series: Series, chosen: Windows) -> Floats:
    return rates.extrapolated(series, chosen, is_counter=True, is_rate=True)


def _increase(series: Series, chosen: Windows) -> Floats:
    return rates.extrapolated(series, chosen, is_counter=True, is_rate=False)


def _delta(series: Series, chosen: Windows) -> Floats:
    return rates.extrapolated(series, chosen, is_counter=False, is_rate=False)


def _irate(series: Series, chosen: Windows) -> Floats:
    return rates.of_last_two(series, chosen, is_rate=True)


def _idelta(series: Series, chosen: Windows) -> Floats:
    return rates.of_last_two(series, chosen, is_rate=False)


_FUNCTIONS = {
    "rate": _Function(_rate, 2),
    "increase": _Function(_increase, 2),
    "delta": _Function(_delta, 2),
    "irate": _Function(_irate, 2),
    "idelta": _Function(_idelta, 2),
    "deriv": _Function(trends.slope, 2),
    "predict_linear": _Function(trends.predicted, 2, is_of_moment=True),
    "double_exponential_smoothing": _Function(trends.smoothed, 2),
    "changes": _Function(counts.changes),
    "resets": _Function(counts.resets),
    "count_over_time": _Function(counts.samples),
    "present_over_time": _Function(counts.one),
    "last_over_time": _Function(counts.last),
    "sum_over_time": _Function(sums.total),
    "avg_over_time": _Function(sums.mean),
    "stdvar_over_time": _Function(sums.variance),
    "stddev_over_time": _Function(sums.deviation),
    "min_over_time": _Function(extremes.least),
    "max_over_time": _Function(extremes.greatest),
    "quantile_over_time": _Function(order.quantiles),
    "mad_over_time": _Function(order.median_deviations),
}

FUNCTIONS = frozenset(_FUNCTIONS)
"""The names that `apply` knows."""


def apply(
    function: str,
    points: Points,
    moments: Moments,
    *,
    range_ms: int,
    parameters: tuple[Floats, ...] = (),
    offset_ms: int = 0,
    at_ms: int | None = None,
) -> Block:
    """Return a function's values over the windows of `range_ms` before each moment, the earlier end excluded.

    A window ends `offset_ms` before its moment, with `at_ms` (the modifier `@`) as long before that time at every
    moment; `predict_linear` counts from the moment itself all the same. `parameters` are the function's other
    arguments, in their order, each with one number a moment.

    Shape: parameters (T,) each; the block has the series of `points`, in their order.
    Raises: QueryEvaluationError for smoothing and trend factors that are not between 0 and 1.
    """
    known = _FUNCTIONS[function]
    times_ms, step = moments.times_ms(), moments.step_ms
    if at_ms is None:
        return _values(known, points, times_ms - offset_ms, times_ms, parameters, step_ms=step, range_ms=range_ms)
    end_ms = np.full(1, at_ms - offset_ms, dtype=np.int64)
    if known.is_of_moment or not all((each == each[0]).all() for each in parameters):
        return _values(known, points, end_ms, times_ms, parameters, step_ms=step, range_ms=range_ms)
    found = _values(
        known, points, end_ms, times_ms[:1], tuple(each[:1] for each in parameters), step_ms=step, range_ms=range_ms
    )
    shape = (len(points.labels), len(times_ms))
    return Block(points.labels, np.broadcast_to(found.values, shape), np.broadcast_to(found.present, shape))


def _values(
    known: _Function,
    points: Points,
    ends_ms: Integers,
    moments_ms: Integers,
    given: tuple[Floats, ...],
    *,
    step_ms: int,
    range_ms: int,
) -> Block:
    """Return the values over windows that end at `ends_ms`; a single end is that of every moment."""
    count, width = len(points.labels), len(moments_ms)
    values = np.zeros((count, width))
    present = np.zeros((count, width), dtype=np.bool_)
    series = Series(points.bounds, points.times_ms, points.values)
    with np.errstate(all="ignore"):
        for start, end in windows.blocks(points.bounds, width):
            part = windows.part_of(series, start, end)
            if not len(part.values):
                continue
            found = windows.find(part, ends_ms, moments_ms, step_ms=step_ms, range_ms=range_ms)
            lengths = found.counts()
            if known.compute is trends.smoothed:
                _check_factors(given, found.column[lengths > 0])
            enough = lengths >= known.least_samples
            chosen = found.chosen(enough)
            if len(chosen.first):
                arguments = [each[chosen.column] for each in given]
                values[start:end].reshape(-1)[enough] = known.compute(part, chosen, *arguments)
            present[start:end] = enough.reshape(end - start, width)
    return Block(points.labels, values, present)


def _check_factors(given: tuple[Floats, ...], columns: Integers) -> None:
    """Refuse factors outside of 0 to 1 at moments of windows that have samples, the earliest one first."""
    for column in np.unique(columns).tolist():
        for name, factors in zip(("smoothing", "trend"), given, strict=True):
            factor = float(factors[column])
            if factor <= 0 or factor >= 1:
                sign = "s" if name == "smoothing" else "t"
                raise QueryEvaluationError(f"invalid {name} factor. Expected: 0 < {sign}f < 1, got: {factor:f}")
