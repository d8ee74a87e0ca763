"""Reads of the store for an evaluation: selectors arrive, values at moments or samples leave.

Source: Prometheus 3, `promql/engine.go` (look-back, windows).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kobs.errors import LimitError
from kobs.model.labels import METRIC_NAME
from kobs.model.scope import Scope
from kobs.query.interruption import Interruption
from kobs.query.promql import ranges
from kobs.query.promql.labelsets import empty
from kobs.query.promql.tree import (
    Aggregation,
    AtAnchor,
    AtModifier,
    Matcher,
    MatchOperator,
    MatrixSelector,
    VectorSelector,
)
from kobs.query.promql.values import Block, Labels, Moments, Points
from kobs.storage import metric_reads
from kobs.storage.clickhouse import Store
from kobs.storage.metric_reads import Grid, LabelCondition, Selection

_FIRST_MS = 0
_LAST_MS = 4_102_444_800_000
"""No sample lies outside of 1970 to 2100."""


@dataclass(frozen=True, slots=True)
class MetricLimits:
    """What one query may take: series of a selector, points in memory, samples that a range selector reads."""

    series: int = 100_000
    points: int = 5_000_000
    samples: int = 5_000_000


class StoredReads:
    """The reads of one query, in a thread of the store."""

    def __init__(
        self,
        store: Store,
        scope: Scope,
        limits: MetricLimits,
        interruption: Interruption,
        *,
        start_ms: int,
        end_ms: int,
        timeout_seconds: float | None,
    ) -> None:
        self._store = store
        self._scope = scope
        self._limits = limits
        self._interruption = interruption
        self._anchors = {AtAnchor.START: start_ms, AtAnchor.END: end_ms}
        self._timeout_seconds = timeout_seconds
        self.samples = 0
        self.peak_samples = 0

    def instant(self, selector: VectorSelector, moments: Moments, *, lookback_ms: int) -> Block:
        """Return the newest values in the look-back before each moment."""
        read = self._inside(selector, moments)
        if not len(read):
            return empty(moments.count())
        grid = Grid(int(read[0]), int(read[-1]), moments.step_ms if len(read) > 1 else 1)
        selection = _selection(selector, after_ms=grid.start_ms - lookback_ms, until_ms=grid.end_ms)
        series = self._series(selection)
        self._check_points(series.num_rows, moments.count())
        if not series.num_rows:
            return empty(moments.count())
        self._interruption.check()
        found = metric_reads.read_last_on_grid(
            self._store,
            self._scope,
            selection,
            series,
            grid=grid,
            window_ms=lookback_ms,
            timeout_seconds=self._timeout_seconds,
            comment=self._interruption.comment,
        )
        if not found.num_rows:
            return empty(moments.count())
        labels = _labels_by_fp(series)
        points = found["points"].combine_chunks()
        if isinstance(points, pa.ChunkedArray):
            points = pa.concat_arrays(points.chunks)
        flat = points.flatten()
        count = found.num_rows
        inside = np.zeros((count, moments.count()), dtype=np.bool_)
        values = np.zeros((count, moments.count()))
        columns = slice(None) if selector.at is not None else self._columns(selector, moments)
        present = np.asarray(flat.is_valid()).reshape(count, -1)
        inside[:, columns] = present
        values[:, columns] = np.asarray(flat.fill_null(0.0)).reshape(count, -1)
        rows = [row for row, fp in enumerate(found["fp"].to_pylist()) if fp in labels]
        fps = found["fp"].to_pylist()
        self._count(int(inside.sum()))
        return Block(tuple([labels[fps[row]] for row in rows]), values[rows], inside[rows])

    def timestamps(self, selector: VectorSelector, moments: Moments, *, lookback_ms: int) -> Block:
        """Return the times of the newest values, in seconds."""
        matrix = MatrixSelector(selector, lookback_ms, selector.start, selector.end)
        points = self._points(matrix, moments)
        seconds = Points(points.labels, points.bounds, points.times_ms, points.times_ms / 1000)
        newest = self._applied("last_over_time", matrix, seconds, moments, ())
        shown = self.instant(selector, moments, lookback_ms=lookback_ms)
        place = {labels: row for row, labels in enumerate(newest.labels)}
        rows = [place[labels] for labels in shown.labels]
        return Block(shown.labels, newest.values[rows], shown.present)

    def range_function(
        self, function: str, selector: MatrixSelector, moments: Moments, parameters: tuple[NDArray[np.float64], ...]
    ) -> Block:
        """Return a function of the samples in the window before each moment."""
        return self._applied(function, selector, self._points(selector, moments), moments, parameters)

    def points(self, selector: MatrixSelector, time_ms: int) -> Points:
        """Return the samples in the window before one moment."""
        return self._points(selector, Moments(time_ms, time_ms, 1))

    def aggregate(self, node: Aggregation, moments: Moments) -> Block | None:
        """Return None: aggregations are worked out on arrays."""
        del node, moments
        return None

    def _applied(
        self,
        function: str,
        selector: MatrixSelector,
        points: Points,
        moments: Moments,
        parameters: tuple[NDArray[np.float64], ...],
    ) -> Block:
        self._check_points(len(points.labels), moments.count())
        return ranges.apply(
            function,
            points,
            moments,
            range_ms=selector.range_ms,
            parameters=parameters,
            offset_ms=selector.vector.offset_ms,
            at_ms=None if selector.vector.at is None else self._at_ms(selector.vector.at),
        )

    def _points(self, selector: MatrixSelector, moments: Moments) -> Points:
        vector = selector.vector
        at_ms = None if vector.at is None else self._at_ms(vector.at)
        first_ms = (moments.start_ms if at_ms is None else at_ms) - vector.offset_ms
        last_ms = (int(moments.times_ms()[-1]) if at_ms is None else at_ms) - vector.offset_ms
        after_ms = max(first_ms - selector.range_ms, _FIRST_MS - 1)
        until_ms = min(last_ms, _LAST_MS)
        nothing = Points((), np.zeros(1, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0))
        if after_ms >= until_ms:
            return nothing
        selection = _selection(vector, after_ms=after_ms, until_ms=until_ms)
        series = self._series(selection)
        if not series.num_rows:
            return nothing
        self._interruption.check()
        found = metric_reads.read_samples(
            self._store,
            self._scope,
            selection,
            series,
            limit=self._limits.samples + 1,
            timeout_seconds=self._timeout_seconds,
            comment=self._interruption.comment,
        )
        if found.num_rows > self._limits.samples:
            raise LimitError(
                f"the query selects more than {self._limits.samples} samples, which is the limit; "
                "select fewer series or a shorter range"
            )
        labels = _labels_by_fp(series)
        fps = found["fp"].to_numpy()
        starts = np.flatnonzero(np.diff(fps, prepend=fps[:1] + 1))
        bounds = np.concatenate([starts, [len(fps)]]).astype(np.int64)
        self._count(len(fps))
        return Points(
            tuple([labels[fp] for fp in fps[starts].tolist()]),
            bounds,
            found["time_ms"].to_numpy().astype(np.int64),
            found["greatest"].to_numpy().astype(np.float64),
        )

    def _inside(self, selector: VectorSelector, moments: Moments) -> NDArray[np.int64]:
        """Return the moments at which a selector is read: those of the evaluation that have samples, or that of `@`."""
        if selector.at is not None:
            at = np.array([self._at_ms(selector.at) - selector.offset_ms], dtype=np.int64)
            return at[(at >= _FIRST_MS) & (at <= _LAST_MS)]
        times = moments.times_ms() - selector.offset_ms
        return times[(times >= _FIRST_MS) & (times <= _LAST_MS)]

    @staticmethod
    def _columns(selector: VectorSelector, moments: Moments) -> NDArray[np.bool_]:
        times = moments.times_ms() - selector.offset_ms
        inside: NDArray[np.bool_] = (times >= _FIRST_MS) & (times <= _LAST_MS)
        return inside

    def _at_ms(self, at: AtModifier) -> int:
        return at.time_ms if at.anchor is AtAnchor.TIME else self._anchors[at.anchor]

    def _series(self, selection: Selection) -> pa.Table:
        found = metric_reads.find_series(
            self._store, self._scope, selection, limit=self._limits.series + 1, comment=self._interruption.comment
        )
        if found.num_rows > self._limits.series:
            raise LimitError(
                f"the query selects more than {self._limits.series} series, which is the limit; add matchers"
            )
        return found

    def _check_points(self, series: int, moments: int) -> None:
        if series * moments > self._limits.points:
            raise LimitError(
                f"the query selects {series} series of {moments} points: the limit is {self._limits.points} "
                "points in all; select fewer series, a shorter time or a greater step"
            )

    def _count(self, samples: int) -> None:
        self.samples += samples
        self.peak_samples = max(self.peak_samples, samples)


def _selection(selector: VectorSelector, *, after_ms: int, until_ms: int) -> Selection:
    return Selection(tuple([_condition(matcher) for matcher in selector.matchers]), after_ms, until_ms)


def _condition(matcher: Matcher) -> LabelCondition:
    return LabelCondition(
        matcher.name,
        matcher.value,
        is_pattern=matcher.operator in (MatchOperator.REGEX, MatchOperator.NOT_REGEX),
        is_negated=matcher.operator in (MatchOperator.NOT_EQUAL, MatchOperator.NOT_REGEX),
    )


def _labels_by_fp(series: pa.Table) -> dict[int, Labels]:
    columns: tuple[Sequence[int], ...] = (
        series["fp"].to_pylist(),
        series["metric"].to_pylist(),
        series["label_set"].to_pylist(),
    )
    return {fp: tuple(sorted([(METRIC_NAME, metric), *labels])) for fp, metric, labels in zip(*columns, strict=True)}
