"""Walks the tree of an expression: moments arrive, a value at each of them leaves.

All moments of an evaluation are worked out at once, on arrays of series x moments. What is the same at every moment is
worked out once. Series of a vector have no order, but for those that an instant query sorts. Arrays are never changed
in place, as several values may share one.

Source: Prometheus 3, `promql/engine.go` (`eval`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from kobs.errors import LimitError, UnsupportedQueryError
from kobs.query.promql import arithmetic, binary, ranges
from kobs.query.promql.aggregation import aggregated, count_values
from kobs.query.promql.functions import (
    FUNCTIONS,
    NAME_KEEPING,
    NATIVE_HISTOGRAM_FUNCTIONS,
    RANGE_FUNCTIONS,
    Arguments,
    presence,
)
from kobs.query.promql.labelsets import compact, distinct, metrics_of, nameless
from kobs.query.promql.notes import Notes
from kobs.query.promql.parser import line_and_column
from kobs.query.promql.reads import SelectorReads
from kobs.query.promql.shape import is_invariant, unwrapped
from kobs.query.promql.tree import (
    Aggregation,
    AtAnchor,
    AtModifier,
    Binary,
    Call,
    Expression,
    MatrixSelector,
    NumberLiteral,
    Parentheses,
    StringLiteral,
    Subquery,
    Unary,
    VectorSelector,
)
from kobs.query.promql.values import Block, Moments, Points, Scalar, Text

Floats = NDArray[np.float64]
Value = Scalar | Text | Block

DEFAULT_STEP_MS = 60_000
"""The resolution of a subquery that says none: Prometheus' evaluation interval, unless it is configured."""
_SETS = frozenset({"and", "or", "unless"})


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The evaluation of one query from `start_ms` to `end_ms`.

    `check` is called again and again, and raises when the query has to end; `most_points` limits what comes up on
    the way.
    """

    query: str
    start_ms: int
    end_ms: int
    reads: SelectorReads
    notes: Notes
    lookback_ms: int
    most_points: int
    check: Callable[[], None] = field(default=lambda: None)

    def value(self, expression: Expression, moments: Moments) -> Value:
        """Return an expression's value at each moment.

        Raises: QueryEvaluationError; UnsupportedQueryError; what the reads and `check` raise.
        """
        self.check()
        expression = unwrapped(expression)
        if moments.count() > 1 and is_invariant(expression):
            once = Moments(moments.start_ms, moments.start_ms, 1)
            with np.errstate(all="ignore"):
                found = _repeated(self._value(expression, once), moments.count())
        else:
            with np.errstate(all="ignore"):
                found = self._value(expression, moments)
        self._check_points(expression, found)
        return found

    def block(self, expression: Expression, moments: Moments) -> Block:
        """Return an instant vector at each moment."""
        found = self.value(expression, moments)
        assert isinstance(found, Block)  # noqa: S101 - the parser checks types
        return found

    def scalar(self, expression: Expression, moments: Moments) -> Floats:
        """Return a number at each moment. Shape: (T,)."""
        found = self.value(expression, moments)
        assert isinstance(found, Scalar)  # noqa: S101 - the parser checks types
        return found.values

    def text(self, expression: Expression) -> str:
        """Return a string."""
        found = unwrapped(expression)
        assert isinstance(found, StringLiteral)  # noqa: S101 - the parser checks types
        return found.value

    def sample_times(self, expression: Expression, moments: Moments) -> Block:
        """Return the times of a vector's values in seconds: the samples' own for a selector, else the moments."""
        expression = unwrapped(expression)
        if not isinstance(expression, VectorSelector):
            block = self.block(expression, moments)
            seconds = np.broadcast_to(moments.times_ms() / 1000, block.values.shape)
            return Block(block.labels, seconds, block.present)
        if expression.at is None or moments.count() == 1:
            return self.reads.timestamps(expression, moments, lookback_ms=self.lookback_ms)
        once = Moments(moments.start_ms, moments.start_ms, 1)
        return _repeated_block(self.reads.timestamps(expression, once, lookback_ms=self.lookback_ms), moments.count())

    def points(self, expression: Expression, time_ms: int) -> Points:
        """Return the range vector that is an instant query's answer."""
        expression = unwrapped(expression)
        if isinstance(expression, MatrixSelector):
            return self.reads.points(expression, time_ms)
        assert isinstance(expression, Subquery)  # noqa: S101 - nothing else is a range vector
        with np.errstate(all="ignore"):
            return self._subquery(expression, Moments(time_ms, time_ms, 1))

    def _check_points(self, expression: Expression, found: Value) -> None:
        if isinstance(found, Block) and found.values.size > self.most_points:
            series, moments = found.values.shape
            place = line_and_column(self.query, expression.start)
            raise LimitError(
                f"{place}: an expression has {series} series at {moments} moments, {series * moments} points: the "
                f"limit is {self.most_points} (query.max_points); select fewer series, a shorter time or a greater step"
            )

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def _value(self, expression: Expression, moments: Moments) -> Value:
        match expression:
            case NumberLiteral():
                return Scalar(np.full(moments.count(), expression.value))
            case StringLiteral():
                return Text(expression.value)
            case VectorSelector():
                return self.reads.instant(expression, moments, lookback_ms=self.lookback_ms)
            case Unary():
                return self._unary(expression, moments)
            case Binary():
                return self._binary(expression, moments)
            case Aggregation():
                return self._aggregation(expression, moments)
            case Call():
                return self._call(expression, moments)
            case MatrixSelector() | Subquery() | Parentheses():
                raise AssertionError("the parser lets range vectors stand as arguments only")

    def _unary(self, node: Unary, moments: Moments) -> Value:
        found = self.value(node.expression, moments)
        if node.operator == "+":
            return found
        if isinstance(found, Scalar):
            return Scalar(-found.values)
        assert isinstance(found, Block)  # noqa: S101 - the parser checks types
        return distinct(nameless(Block(found.labels, -found.values, found.present)))

    def _binary(self, node: Binary, moments: Moments) -> Value:
        left, right = self.value(node.left, moments), self.value(node.right, moments)
        match left, right:
            case Scalar(), Scalar():
                return Scalar(arithmetic.of_numbers(node.operator, left.values, right.values))
            case Block(), Scalar():
                return binary.with_scalar(
                    node.operator, left, right.values, scalar_is_left=False, returns_bool=node.returns_bool
                )
            case Scalar(), Block():
                return binary.with_scalar(
                    node.operator, right, left.values, scalar_is_left=True, returns_bool=node.returns_bool
                )
        assert isinstance(left, Block)  # noqa: S101 - the parser checks types
        assert isinstance(right, Block)  # noqa: S101 - the parser checks types
        assert node.matching is not None  # noqa: S101 - the parser sets it
        if node.operator in _SETS:
            return binary.of_sets(node.operator, left, right, node.matching)
        return binary.of_vectors(node.operator, left, right, node.matching, returns_bool=node.returns_bool)

    def _aggregation(self, node: Aggregation, moments: Moments) -> Value:
        if node.operator == "count_values":
            assert node.parameter is not None  # noqa: S101 - the parser sees to it
            label = self.text(node.parameter)
            return count_values(node, self.block(node.expression, moments), label, most_points=self.most_points)
        parameter = None if node.parameter is None else self.scalar(node.parameter, moments)
        if parameter is None and (found := self._pushed_down(node, moments)) is not None:
            return found
        block = self.block(node.expression, moments)
        self.check()
        return aggregated(node, block, parameter, self.notes)

    def _pushed_down(self, node: Aggregation, moments: Moments) -> Block | None:
        """Return what the reads have aggregated; not where annotations depend on each series' name."""
        inner = unwrapped(node.expression)
        metric = None
        if isinstance(inner, Call):
            selector = next(
                (each for each in map(unwrapped, inner.arguments) if isinstance(each, MatrixSelector)), None
            )
            if selector is None or (metric := selector.vector.metric_name()) is None:
                return None
            if inner.function == "quantile_over_time":
                return None
        found = self.reads.aggregate(node, moments)
        if found is not None and metric is not None and isinstance(inner, Call) and found.present.any():
            self._note_counter(inner, metric)
        return found

    def _call(self, node: Call, moments: Moments) -> Value:
        arguments = tuple([unwrapped(argument) for argument in node.arguments])
        if node.function in RANGE_FUNCTIONS:
            return self._range_function(node, arguments, moments)
        work = FUNCTIONS.get(node.function)
        if work is None:
            self._refuse(node)
        return work(Arguments(arguments, moments, self))

    def _refuse(self, node: Call) -> NoReturn:
        native = node.function in NATIVE_HISTOGRAM_FUNCTIONS
        reason = "native histograms are not" if native else "this experimental function is not"
        place = line_and_column(self.query, node.start)
        said = f"{place}: the function {node.function} is not supported: {reason}"
        raise UnsupportedQueryError(said, start=node.start, end=node.end)

    # -- range vectors -------------------------------------------------------------------------------------------------

    def _range_function(self, node: Call, arguments: tuple[Expression, ...], moments: Moments) -> Block:
        numbers = [each for each in arguments if not isinstance(each, MatrixSelector | Subquery)]
        (argument,) = [each for each in arguments if isinstance(each, MatrixSelector | Subquery)]
        parameters = tuple([self.scalar(each, moments) for each in numbers])
        # which series are there is all that is asked
        function = "present_over_time" if node.function == "absent_over_time" else node.function
        if isinstance(argument, MatrixSelector):
            found = self.reads.range_function(function, argument, moments, parameters)
        else:
            found = ranges.apply(
                function,
                self._subquery(argument, moments),
                moments,
                range_ms=argument.range_ms,
                parameters=parameters,
                offset_ms=argument.offset_ms,
                at_ms=self._at_ms(argument.at),
            )
        self.check()
        if node.function == "absent_over_time":
            return presence.absent(found, argument)
        if node.function == "quantile_over_time":
            (quantile,) = parameters
            wrong = ~((quantile >= 0) & (quantile <= 1)) & found.present.any(axis=0)
            for each in np.unique(quantile[wrong]).tolist():
                self.notes.invalid_quantile(each, at=numbers[0].start)
        found = compact(found)
        for metric in metrics_of(found.labels):
            self._note_counter(node, metric)
        return found if node.function in NAME_KEEPING else distinct(nameless(found))

    def _note_counter(self, node: Call, metric: str) -> None:
        if node.function in ("rate", "increase"):
            argument = unwrapped(node.arguments[0])
            # a subquery's result has no place of its own in the text
            self.notes.possible_non_counter(metric, at=0 if isinstance(argument, Subquery) else argument.start)

    def _subquery(self, node: Subquery, moments: Moments) -> Points:
        """Return the values of a subquery at all of its steps that windows of these moments can hold."""
        step_ms = DEFAULT_STEP_MS if node.step_ms is None else node.step_ms
        at_ms = self._at_ms(node.at)
        first_ms = (moments.start_ms if at_ms is None else at_ms) - node.offset_ms - node.range_ms
        last_ms = (moments.times_ms()[-1].item() if at_ms is None else at_ms) - node.offset_ms
        # steps are multiples of the step; the first is after the earlier end of the first window
        start_ms = (first_ms // step_ms + 1) * step_ms
        if last_ms < start_ms:
            return Points((), np.zeros(1, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0))
        steps = Moments(start_ms, last_ms, step_ms)
        if steps.count() > self.most_points:
            place = line_and_column(self.query, node.start)
            raise LimitError(
                f"{place}: a subquery has {steps.count()} steps: the limit is {self.most_points} points "
                "(query.max_points); take a shorter range or a greater step"
            )
        return _as_points(self.block(node.expression, steps), steps)

    def _at_ms(self, at: AtModifier | None) -> int | None:
        if at is None:
            return None
        return {AtAnchor.TIME: at.time_ms, AtAnchor.START: self.start_ms, AtAnchor.END: self.end_ms}[at.anchor]


def _as_points(block: Block, moments: Moments) -> Points:
    block = compact(block)
    series, columns = np.nonzero(block.present)
    bounds = np.concatenate([[0], np.cumsum(block.present.sum(axis=1))]).astype(np.int64)
    return Points(block.labels, bounds, moments.times_ms()[columns], block.values[series, columns])


def _repeated(value: Value, moments: int) -> Value:
    """Return a value of one moment as that of several."""
    match value:
        case Scalar():
            return Scalar(np.broadcast_to(value.values, (moments,)))
        case Text():
            return value
        case Block():
            return _repeated_block(value, moments)


def _repeated_block(block: Block, moments: int) -> Block:
    shape = (len(block.labels), moments)
    return Block(block.labels, np.broadcast_to(block.values, shape), np.broadcast_to(block.present, shape))
