"""Functions that take instant vectors, numbers and strings: a table from the name to what works it out.

Functions of range vectors are `kobs.query.promql.ranges`' and the store's; which of them there are is told here.

Source: Prometheus 3, `promql/functions.go`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kobs.query.promql.functions import histograms, ordering, presence, relabelling
from kobs.query.promql.functions.dates import DATES
from kobs.query.promql.functions.mathematics import ELEMENTWISE, greater, lesser, rounded
from kobs.query.promql.labelsets import merged, nameless
from kobs.query.promql.notes import Notes
from kobs.query.promql.tree import Expression
from kobs.query.promql.values import Block, Moments, Scalar

Floats = NDArray[np.float64]

RANGE_FUNCTIONS = frozenset(
    {
        *("absent_over_time", "avg_over_time", "changes", "count_over_time", "delta", "deriv", "idelta", "increase"),
        *("double_exponential_smoothing", "irate", "last_over_time", "mad_over_time", "max_over_time", "min_over_time"),
        *("predict_linear", "present_over_time", "quantile_over_time", "rate", "resets", "stddev_over_time"),
        *("stdvar_over_time", "sum_over_time"),
    }
)
NAME_KEEPING = frozenset({"first_over_time", "last_over_time"})
"""Range functions whose values are still those of the metric."""
NATIVE_HISTOGRAM_FUNCTIONS = frozenset(
    {"histogram_avg", "histogram_count", "histogram_stddev", "histogram_stdvar", "histogram_sum"}
)


class Evaluating(Protocol):
    """What works out arguments; the evaluation, and a test's stand-in."""

    @property
    def notes(self) -> Notes:
        """Where annotations go."""

    def block(self, expression: Expression, moments: Moments) -> Block:
        """Return an instant vector."""

    def scalar(self, expression: Expression, moments: Moments) -> Floats:
        """Return a number at each moment."""

    def text(self, expression: Expression) -> str:
        """Return a string."""

    def sample_times(self, expression: Expression, moments: Moments) -> Block:
        """Return the times of an instant vector's values, in seconds."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """A call's arguments, without parentheses around them, at some moments."""

    expressions: tuple[Expression, ...]
    moments: Moments
    evaluating: Evaluating

    def block(self, index: int) -> Block:
        """Return an instant vector."""
        return self.evaluating.block(self.expressions[index], self.moments)

    def scalar(self, index: int) -> Floats:
        """Return a number at each moment. Shape: (T,)."""
        return self.evaluating.scalar(self.expressions[index], self.moments)

    def text(self, index: int) -> str:
        """Return a string."""
        return self.evaluating.text(self.expressions[index])

    def seconds(self) -> Floats:
        """Return the moments in seconds. Shape: (T,)."""
        return self.moments.times_ms() / 1000


def _each(function: Callable[[Floats], Floats]) -> Callable[[Arguments], Block]:
    """Return a function of vectors that works on each value by itself."""

    def work(arguments: Arguments) -> Block:
        block = arguments.block(0)
        return merged(nameless(Block(block.labels, function(block.values), block.present)))

    return work


def _date(function: Callable[[Floats], Floats]) -> Callable[[Arguments], Block]:
    """Return a function of vectors of times, or without an argument of the moment."""
    of_vector = _each(function)

    def work(arguments: Arguments) -> Block:
        if arguments.expressions:
            return of_vector(arguments)
        times_ms = arguments.moments.times_ms()
        # whole seconds, towards zero
        return _one_series(function((np.sign(times_ms) * (np.abs(times_ms) // 1000)).astype(np.float64)))

    return work


def _one_series(values: Floats) -> Block:
    return Block(((),), values[None], np.ones((1, len(values)), dtype=np.bool_))


def _clamp(arguments: Arguments, *, least: Floats, most: Floats) -> Block:
    block = arguments.block(0)
    values = greater(np.broadcast_to(least, block.values.shape), lesser(most, block.values))
    return merged(nameless(Block(block.labels, values, block.present & ~(most < least))))


def _unlimited(arguments: Arguments, limit: float) -> Floats:
    return np.full(arguments.moments.count(), limit)


def _round(arguments: Arguments) -> Block:
    nearest = arguments.scalar(1) if len(arguments.expressions) > 1 else _unlimited(arguments, 1.0)
    return _each(lambda values: rounded(values, nearest))(arguments)


def _timestamp(arguments: Arguments) -> Block:
    return merged(nameless(arguments.evaluating.sample_times(arguments.expressions[0], arguments.moments)))


def _sorted(order: Callable[[Block], Block]) -> Callable[[Arguments], Block]:
    """Return a function that orders an instant query's series; those of a range query have their own order."""

    def work(arguments: Arguments) -> Block:
        block = arguments.block(0)
        return order(block) if arguments.moments.count() == 1 else block

    return work


def _sort_by_label(arguments: Arguments, *, descending: bool) -> Block:
    names = tuple([arguments.text(index) for index in range(1, len(arguments.expressions))])
    return _sorted(lambda block: ordering.by_labels(block, names, descending=descending))(arguments)


def _label_replace(arguments: Arguments) -> Block:
    target, replacement, source, pattern = [arguments.text(index) for index in range(1, 5)]
    return relabelling.label_replace(arguments.block(0), target, replacement, source, pattern)


def _label_join(arguments: Arguments) -> Block:
    target, separator, *sources = [arguments.text(index) for index in range(1, len(arguments.expressions))]
    return relabelling.label_join(arguments.block(0), target, separator, tuple(sources))


def _histogram_quantile(arguments: Arguments) -> Block:
    quantile, notes = arguments.scalar(0), arguments.evaluating.notes
    for wrong in np.unique(quantile[~((quantile >= 0) & (quantile <= 1))]).tolist():
        notes.invalid_quantile(wrong, at=arguments.expressions[0].start)
    return histograms.quantiles(arguments.block(1), quantile, notes, at=arguments.expressions[1].start)


def _histogram_fraction(arguments: Arguments) -> Block:
    lower, upper = arguments.scalar(0), arguments.scalar(1)
    block, at = arguments.block(2), arguments.expressions[2].start
    return histograms.fractions(block, lower, upper, arguments.evaluating.notes, at=at)


FUNCTIONS: dict[str, Callable[[Arguments], Block | Scalar]] = {
    **{name: _each(function) for name, function in ELEMENTWISE.items()},
    **{name: _date(function) for name, function in DATES.items()},
    **{name: _sorted(order) for name, order in ordering.ORDERS.items()},
    "absent": lambda arguments: presence.absent(arguments.block(0), arguments.expressions[0]),
    "clamp": lambda arguments: _clamp(arguments, least=arguments.scalar(1), most=arguments.scalar(2)),
    "clamp_max": lambda arguments: _clamp(arguments, least=_unlimited(arguments, -np.inf), most=arguments.scalar(1)),
    "clamp_min": lambda arguments: _clamp(arguments, least=arguments.scalar(1), most=_unlimited(arguments, np.inf)),
    "histogram_fraction": _histogram_fraction,
    "histogram_quantile": _histogram_quantile,
    "label_join": _label_join,
    "label_replace": _label_replace,
    "pi": lambda arguments: Scalar(_unlimited(arguments, np.pi)),
    "round": _round,
    "scalar": lambda arguments: Scalar(presence.only_value(arguments.block(0))),
    "sort_by_label": lambda arguments: _sort_by_label(arguments, descending=False),
    "sort_by_label_desc": lambda arguments: _sort_by_label(arguments, descending=True),
    "time": lambda arguments: Scalar(arguments.seconds()),
    "timestamp": _timestamp,
    "vector": lambda arguments: _one_series(arguments.scalar(0)),
}
