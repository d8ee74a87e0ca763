"""Answers PromQL: a text and times arrive, an instant vector or a matrix leaves, in the order of the label sets.

For now an expression is one selector; everything else is refused with its name and place. A series has the last of its
values within the five minutes before a moment (the earlier end excluded), until a stale marker. What cannot be answered
whole is refused: no limit cuts an answer.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa

from kobs import telemetry
from kobs.errors import LimitError, QueryError, QueryTypeError, StorageError, UnsupportedQueryError
from kobs.model.labels import METRIC_NAME
from kobs.model.scope import Scope
from kobs.query.interruption import Interruption, run_interruptibly
from kobs.query.promql.parser import parse
from kobs.query.promql.tree import AtAnchor, Expression, Matcher, MatchOperator, MatrixSelector, VectorSelector
from kobs.storage import metric_reads
from kobs.storage.clickhouse import Store
from kobs.storage.metric_reads import Grid, LabelCondition, Selection

LOOKBACK_MS = 300_000
"""How old a value may be to count for a moment."""
MOST_POINTS_A_SERIES = 11_000
"""Prometheus' own limit, so that a panel that works there works here."""

_FIRST_MS = 0
_LAST_MS = 4_102_444_800_000
"""No sample lies outside of 1970 to 2100."""
_TIMEOUT_EXCEEDED = 159
_CANNOT_COMPILE_REGEXP = 427

_seconds = telemetry.histogram("kobs_query_metrics_seconds", "Time of a PromQL query, without its rendering.")

T = TypeVar("T")


class ResolutionError(LimitError):
    """A range query asks for too many points of a series."""


class QueryTimeoutError(LimitError):
    """A query took longer than it may."""


@dataclass(frozen=True, slots=True)
class MetricLimits:
    """What one query may take: series, points of its answer, samples that a range selector answers."""

    series: int = 100_000
    points: int = 5_000_000
    samples: int = 5_000_000


@dataclass(frozen=True, slots=True)
class InstantSample:
    """A series and its value at the vector's moment; `labels` are in the order of their names."""

    labels: dict[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Vector:
    """The answer to an instant query."""

    time_ms: int
    samples: tuple[InstantSample, ...]


@dataclass(frozen=True, slots=True)
class PointSeries:
    """A series and its values; where a value is null there is no point."""

    labels: dict[str, str]
    times_ms: Sequence[int] | pa.Int64Array
    values: pa.DoubleArray

    def points(self) -> Iterator[tuple[int, float]]:
        """Yield times (ms UTC) and values, in the order of time."""
        times = self.times_ms.to_pylist() if isinstance(self.times_ms, pa.Array) else self.times_ms
        for time_ms, value in zip(times, self.values.to_pylist(), strict=True):
            if value is not None:
                yield time_ms, value


@dataclass(frozen=True, slots=True)
class Matrix:
    """The answer to a range query, and to a range selector."""

    series: tuple[PointSeries, ...]


class Metrics:
    """Queries on the metrics of a store."""

    def __init__(self, store: Store, *, limits: MetricLimits | None = None) -> None:
        self._store = store
        self._limits = limits if limits is not None else MetricLimits()

    async def instant(
        self, query: str, time_ms: int, scope: Scope, *, timeout_seconds: float | None = None
    ) -> Vector | Matrix:
        """Return the value of an expression at one moment: a Vector, or a Matrix for a range selector.

        Raises: QueryError with a place in the text; LimitError that names the limit; QueryTimeoutError.
        """

        def answer(interruption: Interruption) -> Vector | Matrix:
            expression = parse(query)
            asked = _Question(self._store, scope, self._limits, interruption, timeout_seconds)
            if isinstance(expression, MatrixSelector):
                return asked.samples(expression, time_ms)
            series = asked.on_grid(expression, Grid(time_ms, time_ms, 1))
            return Vector(time_ms, tuple(InstantSample(each.labels, each.values[0].as_py()) for each in series))

        return await self._run(answer)

    async def range(
        self,
        query: str,
        start_ms: int,
        end_ms: int,
        step_ms: int,
        scope: Scope,
        *,
        timeout_seconds: float | None = None,
    ) -> Matrix:
        """Return the values of an expression from `start_ms` to `end_ms`, both included, `step_ms` apart.

        Raises: QueryError with a place in the text; ResolutionError and other LimitErrors that name the limit;
            QueryTimeoutError.
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

        def answer(interruption: Interruption) -> Matrix:
            expression = parse(query)
            if isinstance(expression, MatrixSelector):
                raise QueryTypeError(
                    'invalid expression type "range vector" for range query, must be Scalar or instant Vector',
                    start=expression.start,
                    end=expression.end,
                )
            asked = _Question(self._store, scope, self._limits, interruption, timeout_seconds)
            return Matrix(tuple(asked.on_grid(expression, Grid(start_ms, end_ms, step_ms))))

        return await self._run(answer)

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
    """One query under way, in a thread of the store."""

    store: Store
    scope: Scope
    limits: MetricLimits
    interruption: Interruption
    timeout_seconds: float | None

    def on_grid(self, selector: Expression, grid: Grid) -> list[PointSeries]:
        """Return the series of a selector that have a value at any moment of a grid."""
        if not isinstance(selector, VectorSelector):
            raise UnsupportedQueryError("only selectors are supported", start=selector.start, end=selector.end)
        times = range(grid.start_ms, grid.end_ms + 1, grid.step_ms)
        fixed_ms = _fixed_ms(selector, grid)
        read = _clipped(times if fixed_ms is None else [fixed_ms], shift_ms=-selector.offset_ms)
        if not read:
            return []
        asked = Grid(read[0] - selector.offset_ms, read[-1] - selector.offset_ms, grid.step_ms if len(read) > 1 else 1)
        selection = _selection(selector, after_ms=asked.start_ms - LOOKBACK_MS, until_ms=asked.end_ms)
        series = self._series(selection)
        shown = len(times) if fixed_ms is not None else len(read)
        if series.num_rows * shown > self.limits.points:
            raise LimitError(
                f"the query selects {series.num_rows} series of {shown} points: the limit is {self.limits.points} "
                "points in all; select fewer series, a shorter time or a greater step"
            )
        if not series.num_rows:
            return []
        self.interruption.check()
        found = metric_reads.read_last_on_grid(
            self.store,
            self.scope,
            selection,
            series,
            grid=asked,
            window_ms=LOOKBACK_MS,
            timeout_seconds=self.timeout_seconds,
            comment=self.interruption.comment,
        )
        labels = _labels_by_fp(series)
        answer = []
        for fp, points in zip(found["fp"].to_pylist(), _lists(found["points"]), strict=True):
            if fp not in labels or points.null_count == len(points):
                continue
            if fixed_ms is None:
                answer.append(PointSeries(labels[fp], read, points))
            else:
                answer.append(PointSeries(labels[fp], times, pa.repeat(points[0], len(times))))
        return _sorted(answer)

    def samples(self, selector: MatrixSelector, time_ms: int) -> Matrix:
        """Return the samples of a range selector's series in its range, with their own times."""
        vector = selector.vector
        fixed_ms = _fixed_ms(vector, Grid(time_ms, time_ms, 1))
        end_ms = (time_ms if fixed_ms is None else fixed_ms) - vector.offset_ms
        after_ms = max(end_ms - selector.range_ms, _FIRST_MS - 1)
        end_ms = min(end_ms, _LAST_MS)
        if after_ms >= end_ms:
            return Matrix(())
        selection = _selection(vector, after_ms=after_ms, until_ms=end_ms)
        series = self._series(selection)
        if not series.num_rows:
            return Matrix(())
        self.interruption.check()
        found = metric_reads.read_samples(
            self.store,
            self.scope,
            selection,
            series,
            limit=self.limits.samples + 1,
            timeout_seconds=self.timeout_seconds,
            comment=self.interruption.comment,
        )
        if found.num_rows > self.limits.samples:
            raise LimitError(
                f"the query selects more than {self.limits.samples} samples, which is the limit; "
                "select fewer series or a shorter range"
            )
        labels = _labels_by_fp(series)
        answer = []
        for fp, start, length in _runs(found["fp"]):
            if fp in labels:
                times = found["time_ms"].slice(start, length).combine_chunks()
                values = found["greatest"].slice(start, length).combine_chunks()
                answer.append(PointSeries(labels[fp], times, values))
        return Matrix(tuple(_sorted(answer)))

    def _series(self, selection: Selection) -> pa.Table:
        found = metric_reads.find_series(
            self.store, self.scope, selection, limit=self.limits.series + 1, comment=self.interruption.comment
        )
        if found.num_rows > self.limits.series:
            raise LimitError(
                f"the query selects more than {self.limits.series} series, which is the limit; add matchers"
            )
        return found


def _fixed_ms(selector: VectorSelector, grid: Grid) -> int | None:
    """Return the moment that `@` sets for a selector, None without one."""
    if selector.at is None:
        return None
    moments = {AtAnchor.TIME: selector.at.time_ms, AtAnchor.START: grid.start_ms, AtAnchor.END: grid.end_ms}
    return moments[selector.at.anchor]


def _clipped(times: Sequence[int], *, shift_ms: int) -> Sequence[int]:
    """Return the times that, shifted, lie where samples can lie: the engine's times do not reach much further."""
    first = 0
    last = len(times)
    if times[0] + shift_ms < _FIRST_MS or times[-1] + shift_ms > _LAST_MS:
        inside = [index for index, time_ms in enumerate(times) if _FIRST_MS <= time_ms + shift_ms <= _LAST_MS]
        first, last = (inside[0], inside[-1] + 1) if inside else (0, 0)
    return times[first:last]


def _selection(selector: VectorSelector, *, after_ms: int, until_ms: int) -> Selection:
    return Selection(tuple(_condition(matcher) for matcher in selector.matchers), after_ms, until_ms)


def _condition(matcher: Matcher) -> LabelCondition:
    return LabelCondition(
        matcher.name,
        matcher.value,
        is_pattern=matcher.operator in (MatchOperator.REGEX, MatchOperator.NOT_REGEX),
        is_negated=matcher.operator in (MatchOperator.NOT_EQUAL, MatchOperator.NOT_REGEX),
    )


def _labels_by_fp(series: pa.Table) -> dict[int, dict[str, str]]:
    columns = (series["fp"].to_pylist(), series["metric"].to_pylist(), series["label_set"].to_pylist())
    return {fp: dict(sorted([(METRIC_NAME, metric), *labels])) for fp, metric, labels in zip(*columns, strict=True)}


def _lists(column: pa.ChunkedArray) -> Iterator[pa.DoubleArray]:
    """Yield the arrays of a list column without making Python numbers of them."""
    for chunk in column.chunks:
        offsets = chunk.offsets.to_pylist()
        for start, end in itertools.pairwise(offsets):
            yield chunk.values.slice(start, end - start)


def _runs(column: pa.ChunkedArray) -> Iterator[tuple[int, int, int]]:
    """Yield each run of equal values: value, start, length."""
    start = 0
    for run in column.combine_chunks().value_counts() if len(column) else ():
        yield run["values"].as_py(), start, run["counts"].as_py()
        start += run["counts"].as_py()


def _sorted(series: list[PointSeries]) -> list[PointSeries]:
    return sorted(series, key=lambda each: tuple(each.labels.items()))
