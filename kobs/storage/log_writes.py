"""Writing logs and their ledger.

Every function here may be called again with the same rows: rows of `logs` are looked up by their positions first by
the caller, everything else only grows or replaces itself.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from kobs.model.scope import Scope, Signal
from kobs.storage.clickhouse import Store
from kobs.storage.scope import where

MOST_PARTITIONS = 50
"""Partitions that one insert may touch: it is not atomic over them, and the engine refuses more than it is told."""

_INDEXED_AT_ONCE = 25_000
"""Rows of an insert whose words are indexed at once. Those of smaller ones are when they are merged, which is soon; to
read them whole for a word until then takes a millisecond or two an insert. One agent's largest request is smaller."""
_WITHOUT_WORDS = {"exclude_materialize_skip_indexes_on_insert": "ix_token"}

_NS = pa.timestamp("ns", "UTC")
_MS = pa.timestamp("ms", "UTC")
_WORD = pa.dictionary(pa.int32(), pa.string())

LOG_ROWS = pa.schema(
    [
        ("ts", _NS),
        ("cluster", _WORD),
        ("namespace", _WORD),
        ("stream", pa.uint64()),
        ("severity", _WORD),
        ("trace_id", pa.string()),
        ("body", pa.binary()),
        ("source", pa.uint64()),
        ("segment", pa.int64()),
        ("offset", pa.uint64()),
        ("size", pa.uint32()),
        ("tail_segment", pa.int64()),
        ("tail_size", pa.uint32()),
        ("attempt", pa.uint8()),
        ("keep_days", pa.uint16()),
    ]
)
"""Columns of rows on their way to `logs`; `received` is set when they are inserted."""

SEGMENT_ROWS = pa.schema(
    [
        ("source", pa.uint64()),
        ("segment", pa.int64()),
        ("cluster", pa.string()),
        ("node", pa.string()),
        ("kind", pa.string()),
        ("namespace", pa.string()),
        ("pod", pa.string()),
        ("uid", pa.string()),
        ("container", pa.string()),
        ("restart", pa.uint32()),
        ("path", pa.string()),
        ("head", pa.uint64()),
        ("claimed", pa.uint64()),
        ("delivered", pa.uint64()),
        ("closed", pa.uint8()),
        ("first_ts", _NS),
        ("last_ts", _NS),
        ("updated", _MS),
    ]
)

LEDGER_ROWS = pa.schema(
    [
        ("source", pa.uint64()),
        ("segment", pa.int64()),
        ("start", pa.uint64()),
        ("reason", pa.string()),
        ("end", pa.uint64()),
        ("bytes", pa.uint64()),
        ("in_row", pa.uint8()),
        ("rows", pa.uint64()),
        ("first_ts", _NS),
        ("last_ts", _NS),
        ("cluster", pa.string()),
        ("node", pa.string()),
        ("namespace", pa.string()),
        ("pod", pa.string()),
        ("container", pa.string()),
        ("path", pa.string()),
        ("detail", pa.string()),
        ("recorded", _MS),
    ]
)

STREAM_ROWS = pa.schema(
    [
        ("cluster", pa.string()),
        ("namespace", pa.string()),
        ("stream", pa.uint64()),
        ("labels", pa.map_(pa.string(), pa.string())),
        ("day", pa.date32()),
        ("first", _MS),
        ("last", _MS),
    ]
)

AGENT_ROWS = pa.schema(
    [
        ("agent", pa.string()),
        ("cluster", pa.string()),
        ("node", pa.string()),
        ("version", pa.string()),
        ("clock_skew_ms", pa.int64()),
        ("held_bytes", pa.uint64()),
        ("streams", pa.uint32()),
        ("backlog_bytes", pa.uint64()),
        ("problems", pa.list_(pa.string())),
        ("seen", _MS),
    ]
)


@dataclass(frozen=True, slots=True)
class Reach:
    """Where rows of some batches can lie: the bounds of a look-up by the sort key."""

    sources: tuple[int, ...]
    namespaces: tuple[str, ...]
    first_ns: int
    last_ns: int


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """What the ledger has of a segment."""

    source: int
    segment: int
    delivered: int
    head: int


def insert_rows(store: Store, rows: pa.Table, *, received_ms: int, comment: str) -> None:
    """Insert rows of LOG_ROWS' columns, at most MOST_PARTITIONS partitions at once."""
    received = pa.repeat(pa.scalar(received_ms, pa.int64()), rows.num_rows).cast(_MS)
    rows = rows.append_column("received", received)
    for part in _by_partitions(rows):
        is_small = part.num_rows < _INDEXED_AT_ONCE and all(map(store.knows_setting, _WITHOUT_WORDS))
        store.insert("logs", part, settings=_WITHOUT_WORDS if is_small else None, comment=comment)


def _by_partitions(rows: pa.Table) -> Iterable[pa.Table]:
    days = pc.divide(pc.cast(rows["ts"], pa.int64()), 86_400_000_000_000)
    keys = pc.add(pc.multiply(days, 1000), pc.cast(rows["keep_days"], pa.int64()))
    different = pc.unique(keys)
    if len(different) <= MOST_PARTITIONS:
        yield rows
        return
    ordered = different.sort()
    for begin in range(0, len(ordered), MOST_PARTITIONS):
        yield rows.filter(pc.is_in(keys, value_set=ordered[begin : begin + MOST_PARTITIONS]))


def find_positions(store: Store, scope: Scope, reach: Reach) -> set[tuple[int, int, int]]:
    """Return (source, segment, offset) of the rows that lie within a reach."""
    condition, parameters = where(scope, Signal.LOGS)
    found = store.select(
        "SELECT source, segment, offset FROM logs WHERE ts >= {first:DateTime64(9, 'UTC')} "
        "AND ts <= {last:DateTime64(9, 'UTC')} AND namespace IN {namespaces:Array(String)} "
        f"AND source IN {{sources:Array(UInt64)}} AND {condition}",
        {
            **parameters,
            "first": timestamp(reach.first_ns),
            "last": timestamp(reach.last_ns),
            "namespaces": list(reach.namespaces),
            "sources": list(reach.sources),
        },
    )
    return set(zip(found["source"].to_pylist(), found["segment"].to_pylist(), found["offset"].to_pylist(), strict=True))


def find_segments(store: Store, scope: Scope, sources: Sequence[int]) -> list[StoredSegment]:
    """Return what the ledger has of some sources' segments."""
    condition, parameters = where(scope, Signal.LEDGER)
    found = store.select(
        "SELECT source, segment, max(delivered) AS reached, max(head) AS known_head FROM log_segments "
        f"WHERE source IN {{sources:Array(UInt64)}} AND {condition} GROUP BY source, segment",
        {**parameters, "sources": list(sources)},
    )
    return [StoredSegment(*row) for row in zip(*(column.to_pylist() for column in found.columns), strict=True)]


def find_highest_offsets(store: Store, scope: Scope, sources: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return (source, segment, highest offset of a row) of some sources; it reads their column of the whole table."""
    condition, parameters = where(scope, Signal.LOGS)
    found = store.select(
        "SELECT source, segment, max(offset) AS highest FROM logs "
        f"WHERE source IN {{sources:Array(UInt64)}} AND {condition} GROUP BY source, segment",
        {**parameters, "sources": list(sources)},
    )
    return list(zip(*(column.to_pylist() for column in found.columns), strict=True))


def delete_beyond(store: Store, source: int, segment: int, offset: int) -> None:
    """Delete a segment's rows from an offset on."""
    store.command(
        "DELETE FROM logs WHERE source = {source:UInt64} AND segment = {segment:Int64} AND offset >= {offset:UInt64}",
        {"source": source, "segment": segment, "offset": offset},
        settings={"lightweight_deletes_sync": 2},
    )


def write_segments(store: Store, rows: pa.Table) -> None:
    """Add to the ledger's summary; all values only grow."""
    store.insert("log_segments", rows)


def write_ledger(store: Store, rows: pa.Table) -> None:
    """Record losses and findings, each once by (source, segment, start, reason)."""
    store.insert("ledger", rows)


def write_streams(store: Store, rows: pa.Table) -> None:
    """Register label sets for a day."""
    store.insert("log_streams", rows)


def write_agents(store: Store, rows: pa.Table) -> None:
    """Note how agents are."""
    store.insert("agents", rows)


def timestamp(time_ns: int) -> str:
    """Return a time as the engine's parameters take it, to the nanosecond."""
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    moment = dt.datetime.fromtimestamp(seconds, tz=dt.UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{nanoseconds:09d}"
