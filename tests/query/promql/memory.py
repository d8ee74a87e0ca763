"""Samples in memory that an evaluation reads: what the store does, in a few lines, so that only it is tested.

It has every series' samples at hand, stale markers among them, and answers one series and moment after the other.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import re2
from numpy.typing import NDArray

from kobs.model.samples import STALE_NAN_BITS
from kobs.query.promql import ranges
from kobs.query.promql.evaluation import Evaluation, Value
from kobs.query.promql.notes import Notes
from kobs.query.promql.parser import parse
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

Samples = tuple[NDArray[np.int64], NDArray[np.float64]]
LOOKBACK_MS = 300_000


class MemoryReads:
    """Reads for an evaluation from `start_ms` to `end_ms`."""

    def __init__(self, series: Mapping[Labels, Samples], *, start_ms: int, end_ms: int) -> None:
        self._series = series
        self._anchors = {AtAnchor.START: start_ms, AtAnchor.END: end_ms}
        self.reads = 0

    def instant(self, selector: VectorSelector, moments: Moments, *, lookback_ms: int) -> Block:
        return self._newest(selector, moments, lookback_ms, takes_time=False)

    def timestamps(self, selector: VectorSelector, moments: Moments, *, lookback_ms: int) -> Block:
        return self._newest(selector, moments, lookback_ms, takes_time=True)

    def range_function(
        self,
        function: str,
        selector: MatrixSelector,
        moments: Moments,
        parameters: tuple[NDArray[np.float64], ...],
    ) -> Block:
        self.reads += 1
        vector = selector.vector
        points = self._points({labels: self._live(self._series[labels]) for labels in self._selected(vector)})
        return ranges.apply(
            function,
            points,
            moments,
            range_ms=selector.range_ms,
            parameters=parameters,
            offset_ms=vector.offset_ms,
            at_ms=None if vector.at is None else self._at_ms(vector.at),
        )

    def points(self, selector: MatrixSelector, time_ms: int) -> Points:
        vector = selector.vector
        until = (time_ms if vector.at is None else self._at_ms(vector.at)) - vector.offset_ms
        found = {}
        for labels in self._selected(vector):
            times, values = self._live(self._series[labels])
            inside = (times > until - selector.range_ms) & (times <= until)
            if inside.any():
                found[labels] = times[inside], values[inside]
        return self._points(found)

    def aggregate(self, node: Aggregation, moments: Moments) -> Block | None:
        del node, moments
        return None

    def _newest(self, selector: VectorSelector, moments: Moments, lookback_ms: int, *, takes_time: bool) -> Block:
        self.reads += 1
        selected = self._selected(selector)
        at = moments.times_ms()
        if selector.at is not None:
            at = np.full(len(at), self._at_ms(selector.at))
        at = at - selector.offset_ms
        found = np.full((len(selected), len(at)), 1e300)
        present = np.zeros((len(selected), len(at)), dtype=bool)
        for row, labels in enumerate(selected):
            times, values = self._series[labels]
            index = np.searchsorted(times, at, side="right") - 1
            shown = np.maximum(index, 0)
            is_stale = values.view(np.uint64)[shown] == STALE_NAN_BITS
            present[row] = (index >= 0) & (times[shown] > at - lookback_ms) & ~is_stale
            found[row] = np.where(present[row], times[shown] / 1000 if takes_time else values[shown], 1e300)
        return Block(tuple(selected), found, present)

    def _selected(self, selector: VectorSelector) -> list[Labels]:
        return [labels for labels in self._series if all(_matches(each, labels) for each in selector.matchers)]

    def _at_ms(self, at: AtModifier) -> int:
        return at.time_ms if at.anchor is AtAnchor.TIME else self._anchors[at.anchor]

    @staticmethod
    def _live(samples: Samples) -> Samples:
        live = samples[1].view(np.uint64) != STALE_NAN_BITS
        return samples[0][live], samples[1][live]

    @staticmethod
    def _points(series: Mapping[Labels, Samples]) -> Points:
        counts = [len(times) for times, _ in series.values()]
        empty: list[Samples] = [(np.empty(0, dtype=np.int64), np.empty(0))]
        return Points(
            tuple(series),
            np.cumsum([0, *counts]).astype(np.int64),
            np.concatenate([times for times, _ in [*series.values(), *empty]]),
            np.concatenate([values for _, values in [*series.values(), *empty]]),
        )


def _matches(matcher: Matcher, labels: Labels) -> bool:
    value = dict(labels).get(matcher.name, "")
    if matcher.operator in (MatchOperator.EQUAL, MatchOperator.NOT_EQUAL):
        found = value == matcher.value
    else:
        found = re2.fullmatch(f"(?s:{matcher.value})", value) is not None
    return found == (matcher.operator in (MatchOperator.EQUAL, MatchOperator.REGEX))


def samples_of(rows: Mapping[Labels, Sequence[tuple[int, float]]]) -> dict[Labels, Samples]:
    """Return series given as (time in ms, value) as an evaluation reads them."""
    return {
        labels: (
            np.array([time for time, _ in row], dtype=np.int64),
            np.array([value for _, value in row], dtype=float),
        )
        for labels, row in rows.items()
    }


def evaluated(
    query: str, series: Mapping[Labels, Samples], start_ms: int, end_ms: int | None = None, step_ms: int = 1
) -> tuple[Value | Points, Notes]:
    """Return an expression's value over series in memory, and its annotations."""
    end_ms = start_ms if end_ms is None else end_ms
    expression = parse(query, experimental_functions=True)
    reads = MemoryReads(series, start_ms=start_ms, end_ms=end_ms)
    evaluation = Evaluation(query, start_ms, end_ms, reads, Notes(query), LOOKBACK_MS, 10_000_000)
    moments = Moments(start_ms, end_ms, step_ms)
    return evaluation.value(expression, moments), evaluation.notes
