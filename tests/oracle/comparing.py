"""The same samples in kobs and in a real Prometheus, and their answers to the same query."""

import asyncio
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from kobs.errors import KobsError, QueryError
from kobs.model.samples import Sample
from kobs.model.scope import Scope
from kobs.query.metrics import Metrics
from kobs.query.promql.notes import Notes
from kobs.query.promql.values import Block, Labels, Moments, Points, Scalar, Text
from kobs.storage.clickhouse import Store
from tests.prometheus import Prometheus
from tests.query.promql.memory import Samples, evaluated
from tests.query.promql.storing import store_all

Told = dict[Labels, list[tuple[int, float]]]
"""Times in ms and values of each series."""


def write_series_into(store: Store, series: Mapping[Labels, Samples]) -> None:
    """Write series into kobs."""
    store_all(store, [(dict(labels), times.tolist(), values.tolist()) for labels, (times, values) in series.items()])


def write_series_to(prometheus: Prometheus, series: Mapping[Labels, Samples]) -> None:
    """Write series into a Prometheus."""
    prometheus.write(
        [
            Sample(dict(labels), time, value)
            for labels, (times, values) in series.items()
            for time, value in zip(times.tolist(), values.tolist(), strict=True)
        ]
    )


def ours(metrics: Metrics, query: str, start_ms: int, end_ms: int, step_ms: int) -> Told | str:
    """Return kobs's answer to a range query, or its error."""
    try:
        answer = asyncio.run(metrics.range(query, start_ms, end_ms, step_ms, Scope.all()))
    except QueryError as error:
        return str(error)
    assert isinstance(answer.value, Block)
    return of_block(answer.value, answer.moments)


def in_memory(
    query: str, series: Mapping[Labels, Samples], start_ms: int, end_ms: int, step_ms: int
) -> tuple[Told | str, Notes | None]:
    """Return what kobs's evaluation makes of series in memory, and its annotations."""
    try:
        value, notes = evaluated(query, series, start_ms, end_ms, step_ms)
    except KobsError as error:
        return str(error), None
    if isinstance(value, Scalar):
        value = Block(((),), value.values[None], np.ones((1, len(value.values)), dtype=bool))
    assert not isinstance(value, Points | Text)
    return of_block(value, Moments(start_ms, end_ms, step_ms)), notes


def of_block(block: Block, moments: Moments) -> Told:
    """Return the points of each series that has any."""
    times = moments.times_ms()
    return {
        labels: list(zip(times[there].tolist(), values[there].tolist(), strict=True))
        for labels, values, there in zip(block.labels, block.values, block.present, strict=True)
        if there.any()
    }


def theirs(
    prometheus: Prometheus, query: str, start_ms: int, end_ms: int, step_ms: int
) -> tuple[Told | str, dict[str, Any]]:
    """Return Prometheus' answer to a range query, or its error, and the whole JSON."""
    answer = prometheus.get(
        "/api/v1/query_range", query=query, start=start_ms / 1000, end=end_ms / 1000, step=step_ms / 1000
    )
    if answer["status"] != "success":
        return answer["error"].removeprefix('invalid parameter "query": '), answer
    return {
        tuple(sorted(series["metric"].items())): [
            (round(time * 1000), float(value)) for time, value in series["values"]
        ]
        for series in answer["data"]["result"]
    }, answer


def difference(found: Told, expected: Told, *, relative: float) -> str | None:
    """Return where two answers differ by more than a share of the value, None where they do not. NaN is NaN."""
    if found.keys() != expected.keys():
        return f"series {sorted(found.keys() - expected.keys())} instead of {sorted(expected.keys() - found.keys())}"
    for labels, points in expected.items():
        own = found[labels]
        if [time for time, _ in own] != [time for time, _ in points]:
            return f"{labels} has points at {len(own)} moments instead of {len(points)}"
        for (time, one), (_, other) in zip(own, points, strict=True):
            if one != other and not (math.isnan(one) and math.isnan(other)):
                largest = max(abs(one), abs(other))
                if not abs(one - other) <= relative * largest:
                    return f"{labels} at {time}: {one!r} instead of {other!r}"
    return None
