"""Answers PromQL: a text and times arrive, a value leaves, its series in the order of their label sets.

What cannot be answered whole is refused: no limit cuts an answer, but for the one that the asker sets. A series has the
last of its values within the look-back before a moment (five minutes, the earlier end excluded), until a stale marker.

Source: Prometheus 3, `promql/engine.go` (types, look-back, order), `web/api/v1/api.go` (`limit`, resolution).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from kobs import telemetry
from kobs.errors import LimitError, QueryError, QueryTypeError, StorageError
from kobs.model.scope import Scope
from kobs.query.interruption import Interruption, run_interruptibly
from kobs.query.promql.checking import value_type
from kobs.query.promql.evaluation import Evaluation
from kobs.query.promql.labelsets import compact, in_order, taken
from kobs.query.promql.leaves import DEFAULT_LOOKBACK_MS, Leaves
from kobs.query.promql.limits import QueryLimits, QueryTimeoutError
from kobs.query.promql.notes import Notes
from kobs.query.promql.parser import parse
from kobs.query.promql.queueing import HeavyQueryError, HeavyQueue
from kobs.query.promql.sample_memory import SampleMemory
from kobs.query.promql.series import SeriesMemory
from kobs.query.promql.shape import is_ordered
from kobs.query.promql.tree import Expression, ValueType
from kobs.query.promql.values import Annotations, Block, Labels, Moments, Points, Scalar, Text
from kobs.storage.clickhouse import Store

MOST_POINTS_A_SERIES = 11_000
"""Prometheus' own limit, so that a panel that works there works here."""

REMEMBERED_BYTES = 256 * 2**20
"""Samples that are remembered from query to query."""

_TRUNCATED = "results truncated due to limit"
_TIMEOUT_EXCEEDED = 159
_CANNOT_COMPILE_REGEXP = 427

_seconds = telemetry.histogram("kobs_query_metrics_seconds", "Time of a PromQL query, without its rendering.")

T = TypeVar("T")


class ResolutionError(LimitError):
    """A range query asks for too many points of a series."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """What an answer has cost: seconds of its parts, and samples."""

    preparation_seconds: float
    """Reading the text."""
    queue_seconds: float
    """Waiting for a thread."""
    evaluation_seconds: float
    sort_seconds: float
    total_seconds: float
    samples: int
    """Samples that the query has read."""
    peak_samples: int
    """Samples and points that were in memory together, at most."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A query's value at its moments.

    A range query's is a Block, also that of a number, which is a series without labels. An instant query's is what its
    expression is: Block, Scalar or Text with one moment, or Points. Each series has a point; they are in the order of
    their label sets, but where an instant query sorts them itself.
    """

    value: Scalar | Text | Block | Points
    is_range: bool
    moments: Moments
    annotations: Annotations
    statistics: Statistics


class Metrics:
    """Queries on the metrics of a store. Without limits and a queue of its own it has the default ones.

    `remembered_bytes` of samples that queries have read are kept for the next ones; 0: none.
    """

    def __init__(
        self,
        store: Store,
        *,
        limits: QueryLimits | None = None,
        timeout_seconds: float = 120.0,
        queue: HeavyQueue | None = None,
        remembered_bytes: int = REMEMBERED_BYTES,
    ) -> None:
        self._store = store
        self._limits = limits if limits is not None else QueryLimits()
        self._timeout_seconds = timeout_seconds
        self._queue = queue if queue is not None else HeavyQueue()
        self._memory = SeriesMemory(store)
        self._samples = SampleMemory(store, most_bytes=remembered_bytes)

    async def instant(
        self,
        query: str,
        time_ms: int,
        scope: Scope,
        *,
        timeout_seconds: float | None = None,
        lookback_ms: int | None = None,
        limit: int | None = None,
    ) -> Answer:
        """Return the value of an expression at one moment; more than `limit` series are cut, with a warning.

        Raises: QueryError, with a place in the text where it is the text's fault; QueryEvaluationError;
            UnsupportedQueryError; LimitError that names the limit; QueryTimeoutError.
        """
        question = _Question(
            query, Moments(time_ms, time_ms, 1), lookback_ms or DEFAULT_LOOKBACK_MS, limit, timeout_seconds
        )
        return await self._answer(question, scope, is_range=False)

    async def range(
        self,
        query: str,
        start_ms: int,
        end_ms: int,
        step_ms: int,
        scope: Scope,
        *,
        timeout_seconds: float | None = None,
        lookback_ms: int | None = None,
        limit: int | None = None,
    ) -> Answer:
        """Return the values of an expression from `start_ms` to `end_ms`, both included, `step_ms` apart.

        Raises: as `instant`; QueryTypeError for what is neither a vector nor a number; ResolutionError.
        """
        if step_ms <= 0 or end_ms < start_ms:
            raise QueryError(
                f"range from {start_ms} to {end_ms} ms in steps of {step_ms} ms: expected time that goes on"
            )
        if (end_ms - start_ms) // step_ms > MOST_POINTS_A_SERIES:
            raise ResolutionError(
                "exceeded maximum resolution of 11,000 points per timeseries. "
                "Try decreasing the query resolution (?step=XX)"
            )
        moments = Moments(start_ms, end_ms, step_ms)
        question = _Question(query, moments, lookback_ms or DEFAULT_LOOKBACK_MS, limit, timeout_seconds)
        return await self._answer(question, scope, is_range=True)

    async def _answer(self, question: "_Question", scope: Scope, *, is_range: bool) -> Answer:
        asked = time.perf_counter()
        whole_seconds = min(self._timeout_seconds, question.timeout_seconds or self._timeout_seconds)

        def answer(interruption: Interruption, *, has_turn: bool) -> Answer:
            left_seconds = max(whole_seconds - (time.perf_counter() - asked), 0.0)
            deadline = _deadline(left_seconds, whole_seconds, interruption)
            reads = Leaves(
                self._store,
                scope,
                self._limits,
                interruption,
                bounds=question.moments,
                timeout_seconds=left_seconds,
                memory=self._memory,
                samples=self._samples,
                lookback_ms=question.lookback_ms,
                has_turn=has_turn,
            )
            return question.answer(reads, deadline, self._limits, asked, is_range=is_range)

        try:
            return await self._run(partial(answer, has_turn=False))
        except HeavyQueryError:
            async with self._queue.turn(scope, timeout_seconds=whole_seconds):
                return await self._run(partial(answer, has_turn=True))

    async def _run(self, answer: Callable[[Interruption], T]) -> T:
        try:
            with _seconds.time():
                return await run_interruptibly(self._store, answer)
        except LimitError as error:
            # the engine's own error, from which the store made this one
            if getattr(error.__cause__, "code", None) == _TIMEOUT_EXCEEDED:
                raise QueryTimeoutError(f"query timed out: {error}") from error
            raise
        except StorageError as error:
            if error.code == _CANNOT_COMPILE_REGEXP:
                raise QueryError(f"a pattern is too large for the engine: {error}") from error
            raise


@dataclass(frozen=True, slots=True)
class _Question:
    """One query."""

    query: str
    moments: Moments
    lookback_ms: int
    limit: int | None
    timeout_seconds: float | None

    def answer(
        self, reads: Leaves, check: Callable[[], None], limits: QueryLimits, asked: float, *, is_range: bool
    ) -> Answer:
        """Return the answer, in a thread of the store; `asked` is when the query came (seconds of the clock)."""
        begun = time.perf_counter()
        expression = parse(self.query, experimental_functions=True)
        kind = value_type(expression)
        if is_range and kind not in (ValueType.VECTOR, ValueType.SCALAR):
            raise QueryTypeError(
                f'invalid expression type "{kind}" for range query, must be Scalar or instant Vector',
                start=expression.start,
                end=expression.end,
            )
        parsed = time.perf_counter()
        notes = Notes(self.query)
        evaluation = Evaluation(
            self.query,
            self.moments.start_ms,
            self.moments.end_ms,
            reads,
            notes,
            self.lookback_ms,
            limits.points,
            check,
        )
        value: Scalar | Text | Block | Points
        if kind is ValueType.MATRIX:
            value = evaluation.points(expression, self.moments.start_ms)
        else:
            value = evaluation.value(expression, self.moments)
        evaluated = time.perf_counter()
        if is_range and isinstance(value, Scalar):
            value = Block(((),), value.values[None], np.ones((1, len(value.values)), dtype=np.bool_))
        value = _in_order(value, expression, is_range=is_range)
        annotations = notes.annotations()
        if self.limit is not None and isinstance(value, Block | Points) and len(value.labels) > self.limit:
            value = _first(value, self.limit)
            annotations.warnings[_TRUNCATED] = None
        done = time.perf_counter()
        statistics = Statistics(
            parsed - begun, begun - asked, evaluated - parsed, done - evaluated, done - asked,
            reads.statistics.samples_read, reads.statistics.peak_samples,
        )  # fmt: skip
        return Answer(value, is_range, self.moments, annotations, statistics)


def _deadline(left_seconds: float, whole_seconds: float, interruption: Interruption) -> Callable[[], None]:
    """Return what ends a query that takes too long, or whose asker has gone."""
    end = time.monotonic() + left_seconds

    def check() -> None:
        interruption.check()
        if time.monotonic() > end:
            raise QueryTimeoutError(f"query timed out in expression evaluation: it has {whole_seconds:g} s")

    return check


def _in_order(
    value: Scalar | Text | Block | Points, expression: Expression, *, is_range: bool
) -> Scalar | Text | Block | Points:
    """Return a value without series that have no point, the others in the order of their labels."""
    match value:
        case Block():
            found = compact(value)
            if not is_range and is_ordered(expression):
                return found
            return in_order(found)
        case Points():
            order = _order(value.labels)
            return value if order is None else _taken_points(value, order)
        case _:
            return value


def _order(labels: tuple[Labels, ...]) -> list[int] | None:
    """Return the order of label sets, None where it is the one they have."""
    order = sorted(range(len(labels)), key=labels.__getitem__)
    return None if order == list(range(len(labels))) else order


def _taken_points(points: Points, rows: list[int]) -> Points:
    starts, ends = points.bounds[:-1][rows], points.bounds[1:][rows]
    counts = ends - starts
    bounds = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
    samples = np.repeat(starts - bounds[:-1], counts) + np.arange(int(bounds[-1]))
    labels = tuple([points.labels[row] for row in rows])
    return Points(labels, bounds, points.times_ms[samples], points.values[samples])


def _first(value: Block | Points, limit: int) -> Block | Points:
    rows = list(range(limit))
    return taken(value, rows) if isinstance(value, Block) else _taken_points(value, rows)
