"""What series, label names and values there are, and what is said of metric names.

Series are known by the days on which they have samples; where a window begins or ends within a day, the samples of that
part of the day decide which series count. Label names and values are those of the window's whole days.
"""

import enum

import pyarrow as pa

from kobs.model.labels import METRIC_NAME
from kobs.model.scope import Scope, Signal
from kobs.storage.clickhouse import Store
from kobs.storage.metric_reads import Selection, moment, series_condition
from kobs.storage.scope import where

_DAY_MS = 86_400_000


def find_label_sets(
    store: Store, scope: Scope, selection: Selection, *, limit: int, timeout_seconds: float, comment: str = ""
) -> pa.Table:
    """Return the label sets of a selection's series that have samples with `after_ms` < time <= `until_ms`.

    Shape: text string, a label set as a JSON object with its names in order; by label set, at most `limit`.
    """
    condition, parameters = series_condition(scope, selection)
    start_ms, end_ms = selection.after_ms + 1, selection.until_ms
    first_whole = -(-start_ms // _DAY_MS)
    end_whole = (end_ms + 1) // _DAY_MS
    if first_whole < end_whole:
        parts = [(start_ms, first_whole * _DAY_MS - 1), (end_whole * _DAY_MS, end_ms)]
        whole = "day >= toDate({first_whole:Int32}) AND day < toDate({end_whole:Int32})"
        parameters |= {"first_whole": first_whole, "end_whole": end_whole}
    else:
        parts = [(start_ms, end_ms)]
        whole = "0"
    windows = []
    for number, (from_ms, to_ms) in enumerate(parts):
        if from_ms > to_ms:
            continue
        windows.append(f"(ts >= {{from_{number}:DateTime64(3, 'UTC')}} AND ts <= {{to_{number}:DateTime64(3, 'UTC')}})")
        parameters |= {f"from_{number}": moment(from_ms), f"to_{number}": moment(to_ms)}
    sampled = (
        f"(metric, fp) IN (SELECT metric, fp FROM metric_samples WHERE ({' OR '.join(windows)}) "
        f"AND metric IN (SELECT metric FROM metric_series WHERE {condition}) "
        f"AND fp IN (SELECT fp FROM metric_series WHERE {condition}))"
        if windows
        else "0"
    )
    pairs = f"arrayPushFront(CAST(labels, 'Array(Tuple(String, String))'), ('{METRIC_NAME}', toString(metric)))"
    # A series has a row for each day, and more until these are merged: LIMIT BY takes a third of what GROUP BY does.
    return store.select(
        "SELECT toJSONString(CAST(label_set, 'Map(String, String)')) AS text FROM ("
        f"SELECT arraySort({pairs}) AS label_set FROM metric_series WHERE {condition} AND (({whole}) OR {sampled}) "
        f"ORDER BY label_set LIMIT 1 BY label_set LIMIT {int(limit)})",
        parameters,
        settings={"max_execution_time": timeout_seconds, "output_format_json_escape_forward_slashes": 0},
        comment=comment,
    )


def find_label_names(
    store: Store, scope: Scope, selection: Selection, *, limit: int, timeout_seconds: float, comment: str = ""
) -> list[str]:
    """Return the first `limit` label names of a selection's series, `__name__` among them, sorted."""
    condition, parameters = series_condition(scope, selection)
    found = store.select(
        f"SELECT DISTINCT arrayJoin(arrayPushBack(mapKeys(labels), '{METRIC_NAME}')) AS name FROM metric_series "
        f"WHERE {condition} ORDER BY name LIMIT {int(limit)}",
        parameters,
        settings={"max_execution_time": timeout_seconds},
        comment=comment,
    )
    return [str(name) for name in found["name"].to_pylist()]


def find_label_values(
    store: Store,
    scope: Scope,
    selection: Selection,
    *,
    name: str,
    limit: int,
    timeout_seconds: float,
    comment: str = "",
) -> list[str]:
    """Return the first `limit` values that a label has in a selection's series, sorted, the empty one left out."""
    condition, parameters = series_condition(scope, selection)
    value = "metric" if name == METRIC_NAME else "labels[{label_name:String}]"
    if name != METRIC_NAME:
        parameters["label_name"] = name
    found = store.select(
        f"SELECT DISTINCT {value} AS value FROM metric_series WHERE {condition} AND value != '' "
        f"ORDER BY value LIMIT {int(limit)}",
        parameters,
        settings={"max_execution_time": timeout_seconds},
        comment=comment,
    )
    return [str(each) for each in found["value"].to_pylist()]


def find_metadata(store: Store, scope: Scope, *, metric: str = "", comment: str = "") -> pa.Table:
    """Return what jobs say of metric names, of one or of all.

    A reader who does not see everything gets the names of which it sees series.

    Shape: metric, job, type, unit, help, all string; by metric and job.
    """
    condition, parameters = where(scope, Signal.METRICS, cluster="labels['cluster']", namespace="labels['namespace']")
    if scope.clusters is None and scope.namespaces is None:
        seen = condition
    else:
        seen = (
            "metric IN (SELECT arrayJoin([metric, replaceRegexpOne(metric, '_(bucket|sum|count|total|created|info)$', "
            f"'')]) FROM metric_series WHERE {condition})"
        )
    if metric:
        parameters["metric"] = metric
        seen += " AND metric = {metric:String}"
    return store.select(
        "SELECT metric, job, argMax(type, updated) AS type, argMax(unit, updated) AS unit, "
        f"argMax(help, updated) AS help FROM metric_metadata WHERE {seen} GROUP BY metric, job ORDER BY metric, job",
        parameters,
        comment=comment,
    )


def count_series(store: Store, scope: Scope, *, day: int, comment: str = "") -> tuple[int, int]:
    """Return how many series have samples on a day (since 1970), and how many pairs of label name and value."""
    condition, parameters = _of_day(scope, day)
    counted = store.select(
        "SELECT (SELECT uniqExact(fp) FROM metric_series WHERE "
        f"{condition}) AS series, (SELECT count() FROM (SELECT DISTINCT pair FROM {_pairs(condition)})) AS pairs",
        parameters,
        comment=comment,
    )
    return int(counted["series"][0].as_py()), int(counted["pairs"][0].as_py())


class Counted(enum.StrEnum):
    """What the series of a day are counted by."""

    METRICS = "metrics"
    """Metric names by their series."""
    VALUES = "values"
    """Label names by their different values."""
    BYTES = "bytes"
    """Label names by the bytes of their different values."""
    PAIRS = "pairs"
    """Pairs `name=value` by their series."""


def count_by(
    store: Store, scope: Scope, *, day: int, what: Counted, limit: int, comment: str = ""
) -> list[tuple[str, int]]:
    """Return the greatest of what is counted on a day (since 1970): name and number, the greatest first."""
    condition, parameters = _of_day(scope, day)
    pairs = _pairs(condition)
    distinct = f"(SELECT DISTINCT pair.1 AS name, pair.2 AS value FROM {pairs})"
    texts = {
        Counted.METRICS: "SELECT metric AS name, uniqExact(fp) AS number FROM metric_series "
        f"WHERE {condition} GROUP BY name",
        Counted.VALUES: f"SELECT name, count() AS number FROM {distinct} GROUP BY name",
        Counted.BYTES: f"SELECT name, sum(length(value)) AS number FROM {distinct} GROUP BY name",
        Counted.PAIRS: "SELECT concat(pair.1, '=', pair.2) AS name, uniqExact(fp) AS number "
        f"FROM {pairs} GROUP BY name",
    }
    counted = store.select(f"{texts[what]} ORDER BY number DESC, name LIMIT {int(limit)}", parameters, comment=comment)
    return list(zip(counted["name"].to_pylist(), counted["number"].to_pylist(), strict=True))


def count_parts(store: Store, scope: Scope, *, day: int, comment: str = "") -> int:
    """Return how many data parts hold the samples of a day (since 1970); none for a reader who sees only some."""
    condition, parameters = where(scope, Signal.METRICS, cluster="''", namespace="''")
    counted = store.select(
        "SELECT count() AS parts FROM system.parts WHERE database = {database:String} AND table = 'metric_samples' "
        f"AND active AND partition = toString(toDate({{day:Int32}})) AND {condition}",
        {**parameters, "database": store.database, "day": day},
        comment=comment,
    )
    return int(counted["parts"][0].as_py())


def find_last_day(store: Store, scope: Scope, *, comment: str = "") -> int | None:
    """Return the last day (since 1970) on which any series has samples; None for an empty store."""
    condition, parameters = where(scope, Signal.METRICS, cluster="labels['cluster']", namespace="labels['namespace']")
    found = store.select(
        f"SELECT count() AS rows, toInt32(max(day)) AS last FROM metric_series WHERE {condition}",
        parameters,
        comment=comment,
    )
    return int(found["last"][0].as_py()) if found["rows"][0].as_py() else None


def find_time_range_ms(store: Store, scope: Scope, *, day: int, comment: str = "") -> tuple[int, int]:
    """Return the earliest and the latest sample of a day (since 1970) in ms; the day's own bounds without samples."""
    condition, parameters = where(scope, Signal.METRICS, cluster="''", namespace="''")
    narrow = scope.clusters is not None or scope.namespaces is not None
    if narrow:
        series, parameters = _of_day(scope, day)
        condition = f"fp IN (SELECT fp FROM metric_series WHERE {series})"
    parameters["from"] = moment(day * _DAY_MS)
    parameters["to"] = moment((day + 1) * _DAY_MS - 1)
    found = store.select(
        "SELECT count() AS rows, toUnixTimestamp64Milli(min(ts)) AS first, toUnixTimestamp64Milli(max(ts)) AS last "
        "FROM metric_samples WHERE ts >= {from:DateTime64(3, 'UTC')} AND ts <= {to:DateTime64(3, 'UTC')} "
        f"AND {condition}",
        parameters,
        comment=comment,
    )
    if not found["rows"][0].as_py():
        return day * _DAY_MS, (day + 1) * _DAY_MS - 1
    return int(found["first"][0].as_py()), int(found["last"][0].as_py())


def _of_day(scope: Scope, day: int) -> tuple[str, dict[str, object]]:
    condition, parameters = where(scope, Signal.METRICS, cluster="labels['cluster']", namespace="labels['namespace']")
    parameters["day"] = day
    return f"{condition} AND day = toDate({{day:Int32}})", parameters


def _pairs(condition: str) -> str:
    """Return a select of the labels of series, the metric name among them. Shape: fp, pair (name, value)."""
    labels = f"arrayPushBack(CAST(labels, 'Array(Tuple(String, String))'), ('{METRIC_NAME}', toString(metric)))"
    return f"(SELECT fp, arrayJoin({labels}) AS pair FROM metric_series WHERE {condition})"
