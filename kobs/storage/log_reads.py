"""Reading log rows: conditions arrive as values, rows leave in a total order.

The order is (ts, source, segment, offset), and reading follows the table's key as far as that goes: five-minute buckets
first, so that a LIMIT stops early. Rows of one position that are there twice come twice.
"""

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from kobs.model.log_filter import LogFilter, SourceFilter
from kobs.model.scope import Scope, Signal
from kobs.storage.clickhouse import Store
from kobs.storage.log_writes import timestamp
from kobs.storage.scope import where

MOST_LITERAL_STREAMS = 1000
"""More streams than this are a subquery in the statement, not a list."""

_MOST_HINTS = 8
_LAST_DAY = dt.date(2149, 6, 6)
"""The last day that the engine's Date can hold."""
_TOKEN = re.compile(rb"[0-9A-Za-z\x80-\xff]+")


class LogPosition(NamedTuple):
    """Where an entry stands in the order of all entries."""

    time_ns: int
    source: int
    segment: int
    offset: int


class LogRow(NamedTuple):
    """One entry as it is stored."""

    time_ns: int
    source: int
    segment: int
    offset: int
    stream: int
    cluster: str
    namespace: str
    severity: str
    trace_id: str
    body: bytes

    @property
    def position(self) -> LogPosition:
        """Where it stands."""
        return LogPosition(self.time_ns, self.source, self.segment, self.offset)


@dataclass(frozen=True, slots=True)
class Streams:
    """The streams that a filter's labels choose in a window of time.

    `ids` is None where the filter does not choose by stream, or where they are more than MOST_LITERAL_STREAMS
    (`is_subquery`).
    """

    ids: tuple[int, ...] | None = None
    namespaces: tuple[str, ...] = ()
    is_subquery: bool = False


_COLUMNS = (
    "toUnixTimestamp64Nano(ts) AS time_ns, source, segment, offset, "
    "stream, cluster, namespace, severity, trace_id, body"
)


def find_streams(
    store: Store, scope: Scope, sources: SourceFilter, *, start_ns: int, end_ns: int, comment: str = ""
) -> Streams:
    """Resolve a filter's labels to streams, by the days of the window [start, end)."""
    labels = _labels_beyond_columns(sources)
    if not labels:
        return Streams()
    condition, parameters = _stream_condition(scope, sources, start_ns=start_ns, end_ns=end_ns)
    found = store.select(
        f"SELECT DISTINCT stream, namespace FROM log_streams WHERE {condition} LIMIT {MOST_LITERAL_STREAMS + 1}",
        parameters,
        comment=comment,
    )
    if found.num_rows > MOST_LITERAL_STREAMS:
        return Streams(is_subquery=True)
    return Streams(
        ids=tuple(found["stream"].to_pylist()), namespaces=tuple(sorted(set(found["namespace"].to_pylist())))
    )


def find_rows(
    store: Store,
    scope: Scope,
    wanted: LogFilter,
    streams: Streams,
    *,
    start_ns: int,
    end_ns: int,
    backward: bool,
    limit: int,
    position: LogPosition | None = None,
    timeout_seconds: float,
    most_bytes: int | None = None,
    are_few: bool = False,
    comment: str = "",
) -> list[LogRow]:
    """Return the first `limit` rows of the window [start, end), or the last where `backward`, in that order.

    `position` begins them: rows before it (after it, where backward) are left out, itself not. `are_few` says that the
    whole window will have to be read for them: reading in the order of the rows, which could stop early, costs more.

    Raises: StorageError TOO_MANY_ROWS_OR_BYTES beyond `most_bytes` of answer; LimitError beyond the time.
    """
    sql, parameters = rows_statement(
        scope, wanted, streams, start_ns=start_ns, end_ns=end_ns, backward=backward, limit=limit, position=position
    )
    settings: dict[str, object] = {"max_execution_time": f"{max(timeout_seconds, 0.001):.3f}"}
    if most_bytes is not None:
        settings["max_result_bytes"] = most_bytes
    if are_few:
        settings["optimize_read_in_order"] = 0
    return _rows(store.select(sql, parameters, settings=settings, comment=comment, binary=True))


def rows_statement(
    scope: Scope,
    wanted: LogFilter,
    streams: Streams,
    *,
    start_ns: int,
    end_ns: int,
    backward: bool,
    limit: int,
    position: LogPosition | None = None,
) -> tuple[str, dict[str, object]]:
    """Return the statement of `find_rows` and its parameters."""
    condition, parameters = _row_condition(scope, wanted, streams, start_ns=start_ns, end_ns=end_ns)
    conditions = [condition]
    if position is not None:
        later, from_there = ("<", "<=") if backward else (">", ">=")
        conditions.append(
            f"ts {from_there} {{at:DateTime64(9, 'UTC')}} AND (ts {later} {{at:DateTime64(9, 'UTC')}} OR "
            f"(source, segment, offset) {from_there} "
            "({at_source:UInt64}, {at_segment:Int64}, {at_offset:UInt64}))"
        )
        parameters |= {
            "at": timestamp(position.time_ns),
            "at_source": position.source,
            "at_segment": position.segment,
            "at_offset": position.offset,
        }
    order = " DESC" if backward else ""
    keys = ", ".join(key + order for key in ("toStartOfFiveMinutes(ts)", "ts", "source", "segment", "offset"))
    return (
        f"SELECT {_COLUMNS} FROM logs WHERE {' AND '.join(conditions)} ORDER BY {keys} LIMIT {int(limit)}",
        parameters,
    )


def find_labels(
    store: Store, scope: Scope, streams: Iterable[int], *, first_ns: int, last_ns: int
) -> dict[int, dict[str, str]]:
    """Return the labels of streams that have entries from `first_ns` to `last_ns`."""
    condition, parameters = where(scope, Signal.LOGS)
    found = store.select(
        "SELECT stream, any(labels) AS labels FROM log_streams WHERE stream IN {streams:Array(UInt64)} "
        f"AND day >= {{first:Date}} AND day <= {{last:Date}} AND {condition} GROUP BY stream",
        {**parameters, "streams": sorted(streams), "first": _day(first_ns), "last": _day(last_ns)},
    )
    return {
        stream: dict(labels)
        for stream, labels in zip(found["stream"].to_pylist(), found["labels"].to_pylist(), strict=True)
    }


# -- by the time of arrival --------------------------------------------------------------------------------------------


class Arrival(NamedTuple):
    """One entry, and when it arrived in the store (ms UTC)."""

    received_ms: int
    row: LogRow


class ArrivalPosition(NamedTuple):
    """Where an entry stands in the order of arrival."""

    received_ms: int
    position: LogPosition


def count_arrivals(store: Store, scope: Scope, *, since_ms: int) -> dict[int, int]:
    """Return how many rows arrived at each millisecond since a time, that time included."""
    condition, parameters = where(scope, Signal.LOGS)
    found = store.select(
        "SELECT toUnixTimestamp64Milli(received) AS at, count() AS rows FROM logs "
        f"WHERE received >= {{since:DateTime64(3, 'UTC')}} AND {condition} GROUP BY at",
        {**parameters, "since": timestamp(since_ms * 1_000_000)},
    )
    return dict(zip(found["at"].to_pylist(), found["rows"].to_pylist(), strict=True))


def find_arrival_positions(store: Store, scope: Scope, times_ms: Sequence[int]) -> list[ArrivalPosition]:
    """Return the positions of the rows that arrived at some milliseconds."""
    if not times_ms:
        return []
    condition, parameters = _arrival_condition(scope, times_ms)
    found = store.select(
        "SELECT toUnixTimestamp64Milli(received) AS at, toUnixTimestamp64Nano(ts) AS time_ns, source, segment, offset "
        f"FROM logs WHERE {condition}",
        parameters,
    )
    columns = [column.to_pylist() for column in found.columns]
    return [ArrivalPosition(at, LogPosition(*position)) for at, *position in zip(*columns, strict=True)]


def find_arrivals(store: Store, scope: Scope, times_ms: Sequence[int]) -> list[Arrival]:
    """Return the rows that arrived at some milliseconds, in no order."""
    if not times_ms:
        return []
    condition, parameters = _arrival_condition(scope, times_ms)
    return _arrivals(store.select(f"SELECT {_ARRIVAL_COLUMNS} FROM logs WHERE {condition}", parameters, binary=True))


def find_arrivals_after(
    store: Store,
    scope: Scope,
    wanted: LogFilter,
    *,
    after: ArrivalPosition,
    until_ms: int,
    limit: int,
    timeout_seconds: float,
    comment: str = "",
) -> list[Arrival]:
    """Return rows in the order of arrival, after a position and up to a time, that time included."""
    streams = Streams(is_subquery=bool(_labels_beyond_columns(wanted.sources)))
    condition, parameters = _row_condition(scope, wanted, streams, start_ns=None, end_ns=None)
    position = after.position
    found = store.select(
        f"SELECT {_ARRIVAL_COLUMNS} FROM logs WHERE received >= {{after:DateTime64(3, 'UTC')}} "
        "AND received <= {until:DateTime64(3, 'UTC')} AND (received, ts, source, segment, offset) > "
        "({after:DateTime64(3, 'UTC')}, {at:DateTime64(9, 'UTC')}, {at_source:UInt64}, {at_segment:Int64}, "
        f"{{at_offset:UInt64}}) AND {condition} ORDER BY received, ts, source, segment, offset LIMIT {int(limit)}",
        {
            **parameters,
            "after": timestamp(after.received_ms * 1_000_000),
            "until": timestamp(until_ms * 1_000_000),
            "at": timestamp(position.time_ns),
            "at_source": position.source,
            "at_segment": position.segment,
            "at_offset": position.offset,
        },
        settings={"max_execution_time": f"{timeout_seconds:.3f}"},
        comment=comment,
        binary=True,
    )
    return _arrivals(found)


_ARRIVAL_COLUMNS = f"toUnixTimestamp64Milli(received) AS at, {_COLUMNS}"


def _arrival_condition(scope: Scope, times_ms: Sequence[int]) -> tuple[str, dict[str, object]]:
    condition, parameters = where(scope, Signal.LOGS)
    times = [timestamp(time_ms * 1_000_000) for time_ms in sorted(times_ms)]
    # the bounds beside the list are what the index on `received` prunes by
    bounds = "received >= {first:DateTime64(3, 'UTC')} AND received <= {last:DateTime64(3, 'UTC')}"
    return (
        f"{bounds} AND received IN {{times:Array(DateTime64(3, 'UTC'))}} AND {condition}",
        {**parameters, "first": times[0], "last": times[-1], "times": times},
    )


# -- conditions --------------------------------------------------------------------------------------------------------


def delimited_tokens(text: str) -> list[str]:
    """Return the tokens of a text that stand between other characters within it, in lower case.

    Whatever contains the text contains each of them as a whole token, which the token index knows. The first and the
    last run of letters may be parts of longer tokens there, and are none.
    """
    encoded = text.encode()
    found = (match for match in _TOKEN.finditer(encoded) if match.start() > 0 and match.end() < len(encoded))
    tokens = {match.group().lower().decode() for match in found}
    return sorted(tokens, key=lambda token: (-len(token), token))[:_MOST_HINTS]


def is_indexed(wanted: LogFilter) -> bool:
    """Tell whether the token index rules rows out before they are read."""
    return bool(wanted.token or (wanted.text and delimited_tokens(wanted.text)))


def _row_condition(
    scope: Scope, wanted: LogFilter, streams: Streams, *, start_ns: int | None, end_ns: int | None
) -> tuple[str, dict[str, object]]:
    condition, parameters = where(scope, Signal.LOGS)
    conditions: list[str] = []
    if start_ns is not None and end_ns is not None:
        conditions.append("ts >= {start:DateTime64(9, 'UTC')} AND ts < {end:DateTime64(9, 'UTC')}")
        parameters |= {"start": timestamp(start_ns), "end": timestamp(end_ns)}
    conditions.append(condition)
    sources = wanted.sources
    for column, values in (("cluster", sources.clusters), ("severity", wanted.severities)):
        if values:
            conditions.append(f"{column} IN {{{column}:Array(String)}}")
            parameters[column] = list(values)
    if namespaces := (sources.namespaces or streams.namespaces):
        conditions.append("namespace IN {namespace:Array(String)}")
        parameters["namespace"] = list(namespaces)
    if streams.ids is not None:
        conditions.append("stream IN {streams:Array(UInt64)}")
        parameters["streams"] = list(streams.ids)
    elif streams.is_subquery:
        of_streams, stream_parameters = _stream_condition(
            scope, sources, start_ns=start_ns, end_ns=end_ns, prefix="of_stream_"
        )
        conditions.append(f"stream IN (SELECT stream FROM log_streams WHERE {of_streams})")
        parameters |= stream_parameters
    if wanted.token:
        conditions.append("hasToken(lower(body), {token:String})")
        parameters["token"] = wanted.token.encode().lower().decode()
    if wanted.text:
        for number, token in enumerate(delimited_tokens(wanted.text)):
            conditions.append(f"hasToken(lower(body), {{hint{number}:String}})")
            parameters[f"hint{number}"] = token
        conditions.append("position(body, {text:String}) > 0")
        parameters["text"] = wanted.text
    if wanted.regex:
        conditions.append("match(body, {regex:String})")
        parameters["regex"] = wanted.regex
    return " AND ".join(conditions), parameters


def _stream_condition(
    scope: Scope, sources: SourceFilter, *, start_ns: int | None, end_ns: int | None, prefix: str = "label_"
) -> tuple[str, dict[str, object]]:
    condition, parameters = where(scope, Signal.LOGS, prefix=f"{prefix}scope_")
    conditions = [condition]
    if start_ns is not None and end_ns is not None:
        conditions.append(f"day >= {{{prefix}first:Date}} AND day <= {{{prefix}last:Date}}")
        parameters |= {f"{prefix}first": _day(start_ns), f"{prefix}last": _day(end_ns)}
    for name, values in sources.by_label().items():
        column = name if name in ("cluster", "namespace") else f"labels['{name}']"
        conditions.append(f"{column} IN {{{prefix}{name}:Array(String)}}")
        parameters[f"{prefix}{name}"] = list(values)
    return " AND ".join(conditions), parameters


def _labels_beyond_columns(sources: SourceFilter) -> set[str]:
    """Return the labels asked for that rows have no column for."""
    return set(sources.by_label()) - {"cluster", "namespace"}


def _day(time_ns: int) -> str:
    return min(dt.date(1970, 1, 1) + dt.timedelta(days=time_ns // 86_400_000_000_000), _LAST_DAY).isoformat()


def _rows(found: pa.Table) -> list[LogRow]:
    words = (5, 6, 7, 8)
    columns = [
        [value.decode("utf-8", "replace") for value in column.to_pylist()] if index in words else column.to_pylist()
        for index, column in enumerate(found.columns)
    ]
    return [LogRow(*values) for values in zip(*columns, strict=True)]


def _arrivals(found: pa.Table) -> list[Arrival]:
    return [
        Arrival(at, row) for at, row in zip(found.column(0).to_pylist(), _rows(found.remove_column(0)), strict=True)
    ]
