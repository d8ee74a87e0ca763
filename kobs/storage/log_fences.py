"""Moves of agents between servers over one store: the fence, and the sweep behind it.

A fence belongs to a node and not to an agent's id: an agent that lost its state has a new id, and what was sent under
the old one may still be under way. The column `agent` holds the node's name (`fence_name`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from kobs.model.scope import Scope, Signal
from kobs.storage.clickhouse import Store
from kobs.storage.log_writes import Reach, timestamp
from kobs.storage.scope import where

_FENCE_ROWS = pa.schema(
    [
        ("agent", pa.string()),
        ("attempt", pa.uint64()),
        ("server", pa.string()),
        ("sources", pa.list_(pa.uint64())),
        ("namespaces", pa.list_(pa.string())),
        ("first_ts", pa.timestamp("ns", "UTC")),
        ("last_ts", pa.timestamp("ns", "UTC")),
        ("swept", pa.uint8()),
        ("at", pa.timestamp("ms", "UTC")),
    ]
)


LATEST_NS = 9_000_000_000_000_000_000
"""Later than any line: the end of a reach whose times nobody knows. Its beginning is 0."""
_RECEIVED_BEFORE_MS = 3_600_000
"""How long before a fence rows may have been stamped that came after it: a server stood still in between."""


@dataclass(frozen=True, slots=True)
class Fence:
    """A node's agent moved to `server` with its `attempt`-th try; rows of `reach` may have been inserted twice."""

    node: str
    attempt: int
    server: str
    reach: Reach
    swept: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Doubles:
    """Positions of a segment that had more than one row, and how many rows were removed."""

    source: int
    segment: int
    first_offset: int
    last_offset: int
    rows: int


def fence_name(cluster: str, node: str) -> str:
    """Return the name of a node's fences."""
    return f"{cluster}/{node}"


def raise_fence(store: Store, fence: Fence) -> None:
    """Record a move, or that one was swept once more."""
    row = {
        "agent": fence.node,
        "attempt": fence.attempt,
        "server": fence.server,
        "sources": list(fence.reach.sources),
        "namespaces": list(fence.reach.namespaces),
        "first_ts": fence.reach.first_ns,
        "last_ts": fence.reach.last_ns,
        "swept": fence.swept,
        "at": fence.at_ms,
    }
    store.insert("log_fences", pa.Table.from_pylist([row], schema=_FENCE_ROWS))


def find_highest_attempt(store: Store, scope: Scope, node: str) -> int:
    """Return the attempt of the latest move of a node's agents; 0 if none ever moved."""
    if Signal.LEDGER not in scope.signals:
        return 0
    found = store.select("SELECT max(attempt) AS highest FROM log_fences WHERE agent = {node:String}", {"node": node})
    return int(found["highest"][0].as_py() or 0)


def find_unswept(store: Store, scope: Scope, *, server: str | None, since_ms: int, times: int) -> list[Fence]:
    """Return moves since a time that were swept less than `times` times; of one server, or of all."""
    if Signal.LEDGER not in scope.signals:
        return []
    found = store.select(
        "SELECT agent, attempt, server, sources, namespaces, toUnixTimestamp64Nano(first_ts) AS first, "
        "toUnixTimestamp64Nano(last_ts) AS last, swept, toUnixTimestamp64Milli(at) AS moved FROM log_fences FINAL "
        "WHERE at >= {since:DateTime64(3, 'UTC')} AND swept < {times:UInt8} "
        "AND ({server:String} = '' OR server = {server:String})",
        {"since": timestamp(since_ms * 1_000_000), "times": times, "server": server or ""},
    )
    return [
        Fence(node, attempt, by, Reach(tuple(sources), tuple(namespaces), first, last), swept, moved)
        for node, attempt, by, sources, namespaces, first, last, swept, moved in zip(
            *(column.to_pylist() for column in found.columns), strict=True
        )
    ]


def sweep(store: Store, scope: Scope, fence: Fence) -> list[Doubles]:
    """Leave one row of each position within a reach: that of the latest attempt, and of these the latest received.

    Where the times of its lines are not known, rows of the time around the fence are looked at, and all others of
    their positions are too old to have doubles.
    """
    reach = fence.reach
    condition, parameters = where(scope, Signal.LOGS)
    if reach.last_ns >= LATEST_NS:
        times = "received >= {since:DateTime64(3, 'UTC')}"
        parameters |= {"since": timestamp((fence.at_ms - _RECEIVED_BEFORE_MS) * 1_000_000)}
    else:
        times = "ts >= {first:DateTime64(9, 'UTC')} AND ts <= {last:DateTime64(9, 'UTC')}"
        parameters |= {"first": timestamp(reach.first_ns), "last": timestamp(reach.last_ns)}
    bounds = (
        f"{times} AND namespace IN {{namespaces:Array(String)}} AND source IN {{sources:Array(UInt64)}} AND {condition}"
    )
    parameters = {**parameters, "namespaces": list(reach.namespaces), "sources": list(reach.sources)}
    doubled = (
        "SELECT source, segment, offset, max((attempt, received)) AS kept, count() AS copies "
        f"FROM logs WHERE {bounds} GROUP BY source, segment, offset HAVING copies > 1"
    )
    found = store.select(
        "SELECT source, segment, min(offset) AS first_offset, max(offset) AS last_offset, sum(copies - 1) AS spare "
        f"FROM ({doubled}) GROUP BY source, segment",
        parameters,
    )
    doubles = [Doubles(*row) for row in zip(*(column.to_pylist() for column in found.columns), strict=True)]
    if doubles:
        store.command(
            "DELETE FROM logs WHERE "
            f"{bounds} AND (source, segment, offset) IN (SELECT source, segment, offset FROM ({doubled})) "
            "AND (source, segment, offset, attempt, received) NOT IN "
            f"(SELECT source, segment, offset, kept.1, kept.2 FROM ({doubled}))",
            parameters,
            settings={"lightweight_deletes_sync": 2},
        )
    return doubles


def within(reaches: Iterable[Reach]) -> Reach:
    """Return the reach that holds all of some."""
    every: Sequence[Reach] = list(reaches)
    return Reach(
        sources=tuple(sorted({source for reach in every for source in reach.sources})),
        namespaces=tuple(sorted({namespace for reach in every for namespace in reach.namespaces})),
        first_ns=min(reach.first_ns for reach in every),
        last_ns=max(reach.last_ns for reach in every),
    )
