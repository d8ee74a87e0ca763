"""What a query reads of the store: selectors and moments arrive, blocks of points leave.

Series are found first, their samples are read in slices that fit into the memory a query may have, and everything is
computed on arrays (`ranges`, `newest`, `folding`): one exact implementation for ten series and for a hundred thousand.
docs/architecture.md has the figures of the engine's own functions beside it.

Nothing is cut: a limit that is reached is an error. Between slices a query ends if its asker has gone or its time is
over.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kobs.model.labels import METRIC_NAME
from kobs.model.scope import Scope
from kobs.query.interruption import Interruption
from kobs.query.promql import ranges
from kobs.query.promql.folding import FOLDS
from kobs.query.promql.labelsets import METADATA
from kobs.query.promql.limits import Deadline, QueryLimits, Statistics
from kobs.query.promql.newest import newest
from kobs.query.promql.queueing import HeavyQueryError
from kobs.query.promql.sample_memory import SampleMemory
from kobs.query.promql.series import Found, SeriesMemory
from kobs.query.promql.slices import Reading, Slice, Slicing, expected_samples
from kobs.query.promql.tree import (
    Aggregation,
    AtAnchor,
    Call,
    Expression,
    MatrixSelector,
    NumberLiteral,
    Parentheses,
    VectorSelector,
)
from kobs.query.promql.values import Block, Labels, Moments, Points
from kobs.storage.clickhouse import Store

DEFAULT_LOOKBACK_MS = 300_000

_MANY_POINTS = 1_000_000
"""From so many points on an aggregation is folded slice by slice."""

Floats = NDArray[np.float64]
Compute = Callable[[tuple[Labels, ...], Slice], Block]


class Leaves:
    """The reading of one query, in one thread of the store.

    `bounds` are the query's own moments, for `@ start()` and `@ end()`; `lookback_ms` is that of its selectors where
    they are aggregated. `memory` and `samples` are those of the process: without them nothing is remembered from query
    to query. Without
    `has_turn` a query that turns out to be heavy ends with a HeavyQueryError before it reads any samples.

    All methods raise LimitErrors, QueryTimeoutError among them, and what the store raises.
    """

    def __init__(
        self,
        store: Store,
        scope: Scope,
        limits: QueryLimits,
        interruption: Interruption,
        *,
        bounds: Moments,
        timeout_seconds: float | None = None,
        statistics: Statistics | None = None,
        memory: SeriesMemory | None = None,
        samples: SampleMemory | None = None,
        lookback_ms: int = DEFAULT_LOOKBACK_MS,
        has_turn: bool = True,
    ) -> None:
        self.statistics = statistics if statistics is not None else Statistics()
        self._scope = scope
        self._limits = limits
        self._comment = interruption.comment
        self._bounds = bounds
        self._memory = memory if memory is not None else SeriesMemory(store)
        self._lookback_ms = lookback_ms
        self._has_turn = has_turn
        self._expected_samples = 0.0
        self._slicing = Slicing(
            store,
            limits,
            interruption,
            deadline=Deadline(timeout_seconds),
            statistics=self.statistics,
            memory=samples,
        )

    def instant(self, selector: VectorSelector, moments: Moments, *, lookback_ms: int) -> Block:
        """Return the newest values within the look-back before each moment."""
        reading = self._reading(selector, moments, lookback_ms, with_stale=True)
        return self._collected(reading, moments, _newest(reading, moments))

    def timestamps(self, selector: VectorSelector, moments: Moments, *, lookback_ms: int) -> Block:
        """Return the times of the newest values within the look-back before each moment, in seconds."""
        reading = self._reading(selector, moments, lookback_ms, with_stale=True)
        return self._collected(reading, moments, _newest(reading, moments, is_time=True))

    def range_function(
        self, function: str, selector: MatrixSelector, moments: Moments, parameters: tuple[Floats, ...] = ()
    ) -> Block:
        """Return a function's values over the samples in the windows before each moment.

        `parameters` are its scalar arguments, one number a moment; labels have `__name__` still.
        """
        reading = self._reading(selector.vector, moments, selector.range_ms, with_stale=False)
        return self._collected(reading, moments, _function(function, reading, moments, parameters))

    def points(self, selector: MatrixSelector, time_ms: int) -> Points:
        """Return the samples in the window before one moment, without stale markers."""
        reading = self._reading(selector.vector, Moments(time_ms, time_ms, 1), selector.range_ms, with_stale=False)
        found = self._find(reading)
        counts, times, values = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
        for part in self._slicing.slices(found, reading):
            counts.append(np.diff(part.samples.bounds))
            times.append(part.samples.times_ms)
            values.append(part.samples.values)
            self._limits.check_held(sum(map(len, values)))
        of_series = np.concatenate(counts)
        ids = found.ids[: len(of_series)][of_series > 0]
        return Points(
            self._memory.labels(found, ids, comment=self._comment),
            np.concatenate(([0], np.cumsum(of_series[of_series > 0]))).astype(np.int64),
            np.concatenate(times),
            np.concatenate(values),
        )

    def aggregate(self, node: Aggregation, moments: Moments) -> Block | None:
        """Return a large aggregation of one metric without ever having all of its points in memory.

        None: work it out on arrays, as it is small, of another shape, or not to be had in parts.
        """
        make = FOLDS.get(node.operator)
        expression = _unwrapped(node.expression)
        if make is None or METADATA & frozenset(node.labels):
            return None
        if isinstance(expression, VectorSelector):
            reading = self._reading(expression, moments, self._lookback_ms, with_stale=True)
            compute = _newest(reading, moments)
        elif isinstance(expression, Call) and expression.function in ranges.FUNCTIONS - {"last_over_time"}:
            arguments = [_unwrapped(each) for each in expression.arguments]
            numbers = [each.value for each in arguments if isinstance(each, NumberLiteral)]
            selector = next((each for each in arguments if isinstance(each, MatrixSelector)), None)
            if selector is None or len(numbers) + 1 != len(arguments):
                return None
            reading = self._reading(selector.vector, moments, selector.range_ms, with_stale=False)
            parameters = tuple(np.full(moments.count(), number) for number in numbers)
            compute = _function(expression.function, reading, moments, parameters)
        else:
            return None
        if reading.selector.metric_name() is None:
            return None
        found = self._find(reading)
        if len(found.ids) * moments.count() < _MANY_POINTS:
            return None
        dropped = METADATA if isinstance(expression, Call) else frozenset({METRIC_NAME})
        groups = self._memory.groups(
            found, node.labels, is_without=node.is_without, dropped=dropped, comment=self._comment
        )
        self._limits.check_points(len(groups.labels), moments.count())
        fold = make(len(groups.labels), moments.count())
        for part in self._slicing.slices(found, reading):
            for piece in part.pieces(moments.count()):
                block = compute(((),) * len(piece.ids), piece)
                fold.add(groups.numbers[piece.start : piece.start + len(piece.ids)], block.values, block.present)
                self._slicing.check()
        folded = fold.result()
        if folded is None:
            return None
        values, present = folded
        has_some = np.flatnonzero(present.any(axis=1))
        kept = tuple(groups.labels[number] for number in has_some.tolist())
        return Block(kept, values[has_some], present[has_some])

    def _reading(self, selector: VectorSelector, moments: Moments, window_ms: int, *, with_stale: bool) -> Reading:
        at_ms = None
        first_ms, last_ms = moments.start_ms, moments.start_ms + (moments.count() - 1) * moments.step_ms
        if selector.at is not None:
            anchors = {
                AtAnchor.TIME: selector.at.time_ms,
                AtAnchor.START: self._bounds.start_ms,
                AtAnchor.END: self._bounds.end_ms,
            }
            at_ms = first_ms = last_ms = anchors[selector.at.anchor]
        return Reading(
            selector,
            first_ms - selector.offset_ms,
            last_ms - selector.offset_ms,
            moments.step_ms,
            window_ms,
            at_ms,
            with_stale,
        )

    def _find(self, reading: Reading) -> Found:
        if reading.is_empty():
            return Found.nothing(self._scope)
        self._slicing.check()
        found = self._memory.find(
            self._scope,
            reading.selector,
            after_ms=reading.after_ms(),
            until_ms=reading.until_ms(),
            limit=self._limits.series,
            comment=self._comment,
        )
        self._limits.check_series(len(found.ids))
        self.statistics.series += len(found.ids)
        self._expected_samples += len(found.ids) * expected_samples(reading)
        if not self._has_turn and self._expected_samples > self._limits.light_samples:
            raise HeavyQueryError("the query is heavy")
        return found

    def _collected(self, reading: Reading, moments: Moments, compute: Compute) -> Block:
        """Return the points of all series that have any."""
        found = self._find(reading)
        width = moments.count()
        values, present, ids = [np.zeros((0, width))], [np.zeros((0, width), np.bool_)], [found.ids[:0]]
        count = 0
        for part in self._slicing.slices(found, reading):
            for piece in part.pieces(width):
                block = compute(((),) * len(piece.ids), piece)
                has_some = block.present.any(axis=1)
                count += int(has_some.sum())
                self._limits.check_points(count, width)
                values.append(block.values[has_some])
                present.append(block.present[has_some])
                ids.append(piece.ids[has_some])
                self._slicing.check()
            self.statistics.note_peak(len(part.samples.values) + count * width)
        labels = self._memory.labels(found, np.concatenate(ids), comment=self._comment)
        return Block(labels, np.concatenate(values), np.concatenate(present))


def _newest(reading: Reading, moments: Moments, *, is_time: bool = False) -> Compute:
    return lambda labels, part: newest(
        labels,
        part.series(),
        moments,
        lookback_ms=reading.window_ms,
        offset_ms=reading.selector.offset_ms,
        at_ms=reading.at_ms,
        is_time=is_time,
    )


def _function(function: str, reading: Reading, moments: Moments, parameters: tuple[Floats, ...]) -> Compute:
    return lambda labels, part: ranges.apply(
        function,
        Points(labels, part.samples.bounds, part.samples.times_ms, part.samples.values),
        moments,
        range_ms=reading.window_ms,
        parameters=parameters,
        offset_ms=reading.selector.offset_ms,
        at_ms=reading.at_ms,
    )


def _unwrapped(expression: Expression) -> Expression:
    while isinstance(expression, Parentheses):
        expression = expression.expression
    return expression
