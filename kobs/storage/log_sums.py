"""What the store has of each segment, counted from the rows themselves: for `kobs verify`."""

from dataclasses import dataclass

from kobs.model.scope import Scope, Signal
from kobs.storage.clickhouse import Store
from kobs.storage.scope import where

_ROWS_AT_ONCE = 20_000_000


@dataclass(frozen=True, slots=True)
class SegmentClaim:
    """A segment as the ledger's summary has it: how far it has grown, and up to where it was acknowledged."""

    source: int
    segment: int
    cluster: str
    node: str
    kind: str
    namespace: str
    pod: str
    container: str
    path: str
    claimed: int
    delivered: int
    closed: bool


@dataclass(frozen=True, slots=True)
class SegmentSum:
    """Rows of a segment below `delivered`. `bytes` counts each position once."""

    source: int
    segment: int
    rows: int
    positions: int
    bytes: int


@dataclass(frozen=True, slots=True)
class SegmentLoss:
    """A ledger entry of a segment."""

    source: int
    segment: int
    reason: str
    start: int
    end: int
    bytes: int | None
    in_row: bool
    rows: int
    first_ns: int
    last_ns: int
    detail: str


def claims(store: Store, scope: Scope) -> list[SegmentClaim]:
    """Return every segment that the ledger's summary has."""
    condition, parameters = where(scope, Signal.LEDGER)
    found = store.select(
        "SELECT source, segment, anyLast(cluster) AS of_cluster, anyLast(node) AS of_node, anyLast(kind) AS of_kind, "
        "anyLast(namespace) AS of_namespace, anyLast(pod) AS of_pod, anyLast(container) AS of_container, "
        "anyLast(path) AS of_path, max(claimed) AS grown, max(delivered) AS reached, max(closed) = 1 AS ended "
        f"FROM log_segments WHERE {condition} GROUP BY source, segment",
        parameters,
    )
    return [SegmentClaim(*row) for row in zip(*(column.to_pylist() for column in found.columns), strict=True)]


def sums(store: Store, scope: Scope) -> list[SegmentSum]:
    """Return the sums of all rows that the ledger says are delivered, by segment.

    Counted in several passes where there are many rows, so that memory stays bounded.
    """
    condition, parameters = where(scope, Signal.LOGS)
    counted = store.select(f"SELECT count() AS rows FROM logs WHERE {condition}", parameters)
    passes = int(counted["rows"][0].as_py()) // _ROWS_AT_ONCE + 1
    # An entry that goes on over a rotation counts in both segments, each with its own bytes.
    pieces = (
        "SELECT source, segment, offset, 0 AS is_tail, size AS piece FROM logs "
        f"WHERE {condition} AND source % {{passes:UInt64}} = {{pass:UInt64}} "
        "UNION ALL SELECT source, tail_segment AS segment, offset, 1 AS is_tail, tail_size AS piece FROM logs "
        f"WHERE {condition} AND source % {{passes:UInt64}} = {{pass:UInt64}} AND tail_size > 0"
    )
    once = (
        "SELECT source, segment, offset, is_tail, any(piece) AS covered, count() AS copies FROM "
        f"({pieces}) GROUP BY source, segment, offset, is_tail"
    )
    reached = (
        "SELECT source, segment, max(delivered) AS reached FROM log_segments "
        "WHERE source % {passes:UInt64} = {pass:UInt64} GROUP BY source, segment"
    )
    result: list[SegmentSum] = []
    for number in range(passes):
        found = store.select(
            "SELECT source, segment, sumIf(copies, is_tail = 0) AS rows, countIf(is_tail = 0) AS positions, "
            "sum(covered) AS bytes "
            f"FROM ({once}) AS pieces LEFT JOIN ({reached}) AS ledger USING (source, segment) "
            "WHERE is_tail = 1 OR offset < reached GROUP BY source, segment",
            {**parameters, "passes": passes, "pass": number},
        )
        result += [SegmentSum(*row) for row in zip(*(column.to_pylist() for column in found.columns), strict=True)]
    return result


def losses(store: Store, scope: Scope) -> list[SegmentLoss]:
    """Return every ledger entry."""
    condition, parameters = where(scope, Signal.LEDGER)
    found = store.select(
        "SELECT source, segment, reason, start, end, bytes, in_row, rows, toUnixTimestamp64Nano(first_ts) AS first, "
        f"toUnixTimestamp64Nano(last_ts) AS last, detail FROM ledger FINAL WHERE {condition} "
        "ORDER BY source, segment, start",
        parameters,
    )
    return [
        SegmentLoss(source, segment, reason, start, end, size, bool(in_row), rows, first, last, detail)
        for source, segment, reason, start, end, size, in_row, rows, first, last, detail in zip(
            *(column.to_pylist() for column in found.columns), strict=True
        )
    ]


def expired(store: Store, scope: Scope) -> dict[tuple[int, int], int]:
    """Return the bytes by (source, segment) that left the store because their time was over."""
    if Signal.LEDGER not in scope.signals:
        return {}
    found = store.select("SELECT source, segment, sum(bytes) AS gone FROM log_expired FINAL GROUP BY source, segment")
    return {
        (source, segment): gone
        for source, segment, gone in zip(*(column.to_pylist() for column in found.columns), strict=True)
    }


def entries(
    store: Store, scope: Scope, source: int, segment: int, *, after: int, limit: int
) -> list[tuple[int, int, int, bytes]]:
    """Return (offset, size, copies, body) of a segment's rows from an offset on, in their order."""
    condition, parameters = where(scope, Signal.LOGS)
    found = store.select(
        "SELECT offset, any(size) AS covered, count() AS copies, any(body) AS content FROM logs "
        "WHERE source = {source:UInt64} AND segment = {segment:Int64} AND offset >= {after:UInt64} "
        f"AND {condition} GROUP BY offset ORDER BY offset LIMIT {{limit:UInt32}}",
        {**parameters, "source": source, "segment": segment, "after": after, "limit": limit},
        binary=True,
    )
    return list(zip(*(column.to_pylist() for column in found.columns), strict=True))
