"""Reading metrics: a selection arrives, label sets and values leave.

Two copies of a sample count once; of different values at one time the greatest counts, where a NaN is less than every
number (`timeSeriesLastToGrid` takes the same one). Series are found by the days on which they have samples. A stale
marker is told by its bits, never by being a NaN.
"""

import datetime as dt
from dataclasses import dataclass

import pyarrow as pa

from kobs.model.labels import METRIC_NAME
from kobs.model.samples import STALE_NAN_BITS
from kobs.model.scope import Scope, Signal
from kobs.storage.clickhouse import Store
from kobs.storage.scope import where

_FEW_SERIES = 1000
"""Up to so many series are named by their ids, which is quicker than to select them again."""


@dataclass(frozen=True, slots=True)
class LabelCondition:
    """A condition on a label (`__name__` is one): equal to a value, or a whole match of an RE2 pattern; or not."""

    name: str
    value: str
    is_pattern: bool
    is_negated: bool


@dataclass(frozen=True, slots=True)
class Selection:
    """Series that meet all conditions and may have samples with `after_ms` < time <= `until_ms`."""

    conditions: tuple[LabelCondition, ...]
    after_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class Grid:
    """Moments from `start_ms` to `end_ms`, both included, `step_ms` apart."""

    start_ms: int
    end_ms: int
    step_ms: int


def find_series(store: Store, scope: Scope, selection: Selection, *, limit: int, comment: str = "") -> pa.Table:
    """Return the series of a selection, at most `limit`.

    Shape: metric string, fp uint64, label_set map<string, string> without `__name__`.
    """
    condition, parameters = series_condition(scope, selection)
    return store.select(
        f"SELECT metric, fp, any(labels) AS label_set FROM metric_series WHERE {condition} "
        f"GROUP BY metric, fp LIMIT {int(limit)}",
        parameters,
        comment=comment,
    )


def read_last_on_grid(
    store: Store,
    scope: Scope,
    selection: Selection,
    series: pa.Table,
    *,
    grid: Grid,
    window_ms: int,
    timeout_seconds: float | None = None,
    comment: str = "",
) -> pa.Table:
    """Return for some series of a selection (`find_series`) the last value before each moment of a grid.

    A value counts for moments less than `window_ms` after it, and until a stale marker. A series without samples in
    the selection's time has no row.

    Shape: fp uint64, points list<float64>, one a moment, null where there is none.
    """
    condition, parameters = _samples_condition(scope, selection, series)
    stale = f"reinterpretAsUInt64(assumeNotNull(x)) = {STALE_NAN_BITS}"
    return store.select(
        f"SELECT fp, arrayMap(x -> if({stale}, NULL, x), "
        "timeSeriesLastToGrid({start:DateTime64(3, 'UTC')}, {end:DateTime64(3, 'UTC')}, {step:Decimal64(3)}, "
        f"{{window:Decimal64(3)}})(ts, value)) AS points FROM metric_samples WHERE {condition} GROUP BY fp",
        {
            **parameters,
            "start": moment(grid.start_ms),
            "end": moment(grid.end_ms),
            "step": grid.step_ms / 1000,
            "window": window_ms / 1000,
        },
        settings=_settings(timeout_seconds),
        comment=comment,
    )


def read_samples(
    store: Store,
    scope: Scope,
    selection: Selection,
    series: pa.Table,
    *,
    limit: int,
    timeout_seconds: float | None = None,
    comment: str = "",
) -> pa.Table:
    """Return the samples of some series of a selection (`find_series`), at most `limit`, without stale markers.

    Shape: fp uint64, time_ms int64, greatest float64; by fp and time.
    """
    condition, parameters = _samples_condition(scope, selection, series)
    return store.select(
        "SELECT fp, toUnixTimestamp64Milli(ts) AS time_ms, argMax(value, (rank, number)) AS greatest FROM ("
        f"SELECT fp, ts, value, multiIf(reinterpretAsUInt64(value) = {STALE_NAN_BITS}, 0, isNaN(value), 1, 2) AS rank, "
        f"if(rank = 2, value, 0) AS number FROM metric_samples WHERE {condition}) "
        f"GROUP BY fp, ts HAVING max(rank) > 0 ORDER BY fp, ts LIMIT {int(limit)}",
        parameters,
        settings=_settings(timeout_seconds),
        comment=comment,
    )


def series_condition(scope: Scope, selection: Selection) -> tuple[str, dict[str, object]]:
    """Return the condition on metric_series that a selection is, and its parameters."""
    condition, parameters = where(scope, Signal.METRICS, cluster="labels['cluster']", namespace="labels['namespace']")
    conditions = [condition, "day >= toDate({first_day:String})", "day <= toDate({last_day:String})"]
    parameters["first_day"] = day(selection.after_ms)
    parameters["last_day"] = day(selection.until_ms)
    for number, matcher in enumerate(selection.conditions):
        value, name = f"value_{number}", f"name_{number}"
        parameters[value] = matcher.value
        subject = "metric"
        if matcher.name != METRIC_NAME:
            parameters[name] = matcher.name
            subject = f"labels[{{{name}:String}}]"
        if matcher.is_pattern:
            # The pattern was compiled alone before, so that it cannot break out of its parentheses.
            parameters[value] = f"^(?s:{matcher.value})$"
            text = f"match({subject}, {{{value}:String}})"
        else:
            text = f"{subject} = {{{value}:String}}"
        conditions.append(f"NOT {text}" if matcher.is_negated else text)
    return " AND ".join(conditions), parameters


def _samples_condition(scope: Scope, selection: Selection, series: pa.Table) -> tuple[str, dict[str, object]]:
    """Return the condition on metric_samples, and its parameters."""
    parameters: dict[str, object] = {
        "metrics": sorted(series["metric"].unique().to_pylist()),
        "after": moment(selection.after_ms),
        "until": moment(selection.until_ms),
    }
    time_condition = "ts > {after:DateTime64(3, 'UTC')} AND ts <= {until:DateTime64(3, 'UTC')}"
    if series.num_rows <= _FEW_SERIES:
        parameters["fps"] = series["fp"].to_pylist()
        fps = "{fps:Array(UInt64)}"
    else:
        condition, of_series = series_condition(scope, selection)
        parameters |= of_series
        fps = f"(SELECT fp FROM metric_series WHERE {condition})"
    return f"metric IN {{metrics:Array(String)}} AND fp IN {fps} AND {time_condition}", parameters


def _settings(timeout_seconds: float | None) -> dict[str, object]:
    return {} if timeout_seconds is None else {"max_execution_time": timeout_seconds}


def moment(time_ms: int) -> dt.datetime:
    """Return a time as the engine's parameters take it."""
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=time_ms)


def day(time_ms: int) -> str:
    """Return the day of a time."""
    return moment(time_ms).date().isoformat()
