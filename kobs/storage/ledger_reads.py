"""Reading the ledger: what is known to be lost, and what is on its way.

Losses leave in the order of their last line's time, newest first; those whose time nobody knows come last.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from kobs.model.log_filter import SourceFilter
from kobs.model.logs import LossReason
from kobs.model.scope import Scope, Signal
from kobs.storage.clickhouse import Store
from kobs.storage.log_writes import timestamp
from kobs.storage.scope import where


class LossPosition(NamedTuple):
    """Where a loss stands in the ledger's order; its parts but the time are the loss's identity."""

    last_ns: int
    source: int
    segment: int
    start: int
    reason: str


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """A loss or finding on record. Times are 0 where they are not known, `end` is 0 where nobody saw the end."""

    source: int
    segment: int
    start: int
    reason: str
    end: int
    bytes: int | None
    in_row: bool
    rows: int
    first_ns: int
    last_ns: int
    cluster: str
    node: str
    namespace: str
    pod: str
    container: str
    path: str
    detail: str
    recorded_ms: int

    @property
    def position(self) -> LossPosition:
        """Where it stands in the ledger's order."""
        return LossPosition(self.last_ns, self.source, self.segment, self.start, self.reason)

    @property
    def labels(self) -> dict[str, str]:
        """Its source's labels, without empty ones."""
        names = ("cluster", "node", "namespace", "pod", "container")
        return {name: getattr(self, name) for name in names if getattr(self, name)}


@dataclass(frozen=True, slots=True)
class LossSummary:
    """What is lost of one reason."""

    reason: str
    count: int
    bytes: int
    """Of those losses whose size is known."""


@dataclass(frozen=True, slots=True)
class Pending:
    """What agents have claimed and not delivered yet. A journal counts in records."""

    bytes: int
    records: int


_COLUMNS = (
    "source, segment, start, reason, end, bytes, in_row, rows, toUnixTimestamp64Nano(first_ts) AS first_ns, "
    "toUnixTimestamp64Nano(last_ts) AS last_ns, cluster, node, namespace, pod, container, path, detail, "
    "toUnixTimestamp64Milli(recorded) AS recorded_ms"
)
_KEY = "(toUnixTimestamp64Nano(last_ts), source, segment, start, reason)"


def find_losses(
    store: Store,
    scope: Scope,
    sources: SourceFilter,
    *,
    reasons: Sequence[str],
    start_ns: int | None,
    end_ns: int | None,
    limit: int,
    after: LossPosition | None = None,
    signal: Signal = Signal.LEDGER,
) -> list[LedgerRow]:
    """Return what is on record of some reasons and overlaps the window [start, end), in the ledger's order.

    A reader of logs may know what they lack: for that, `signal` is LOGS.
    """
    condition, parameters = _condition(scope, sources, signal=signal, reasons=reasons, start_ns=start_ns, end_ns=end_ns)
    if after is not None:
        condition += (
            f" AND {_KEY} < ({{at:Int64}}, {{at_source:UInt64}}, {{at_segment:Int64}}, {{at_start:UInt64}}, "
            "{at_reason:String})"
        )
        parameters |= {
            "at": after.last_ns,
            "at_source": after.source,
            "at_segment": after.segment,
            "at_start": after.start,
            "at_reason": after.reason,
        }
    found = store.select(
        f"SELECT {_COLUMNS} FROM ledger FINAL WHERE {condition} "
        f"ORDER BY last_ts DESC, source DESC, segment DESC, start DESC, reason DESC LIMIT {int(limit)}",
        parameters,
        binary=True,
    )
    return [LedgerRow(*values) for values in _values(found)]


def sum_losses(
    store: Store,
    scope: Scope,
    sources: SourceFilter,
    *,
    reasons: Sequence[str],
    start_ns: int | None,
    end_ns: int | None,
    signal: Signal = Signal.LEDGER,
) -> list[LossSummary]:
    """Return what `find_losses` has in all, by reason."""
    condition, parameters = _condition(scope, sources, signal=signal, reasons=reasons, start_ns=start_ns, end_ns=end_ns)
    found = store.select(
        "SELECT reason, count() AS count, sum(ifNull(bytes, 0)) AS size FROM ledger FINAL "
        f"WHERE {condition} GROUP BY reason ORDER BY reason",
        parameters,
    )
    return [LossSummary(*values) for values in _values(found)]


def find_pending(store: Store, scope: Scope, sources: SourceFilter, *, start_ns: int, end_ns: int) -> Pending:
    """Return what is on its way to the store and may belong to the window [start, end).

    Bytes that are not delivered lie after the last delivered entry of their segment, and before their claim. Those of
    which the ledger says that they will never come do not count.
    """
    condition, parameters = where(scope, Signal.LOGS)
    conditions = [condition]
    for name, values in sources.by_label().items():
        conditions.append(f"{name} IN {{{name}:Array(String)}}")
        parameters[name] = list(values)
    matching = " AND ".join(conditions)
    found = store.select(
        "SELECT sumIf(missing, is_journal = 0) AS bytes, sumIf(missing, is_journal = 1) AS records FROM ("
        "SELECT source, segment, max(claimed) AS grown, max(delivered) AS reached, grown - reached AS missing, "
        "any(kind) = 'journal' AS is_journal, max(last_ts) AS newest, max(updated) AS claimed_at FROM log_segments "
        "WHERE source IN (SELECT source FROM log_segments WHERE updated >= {start:DateTime64(9, 'UTC')} "
        f"AND {matching}) AND {matching} GROUP BY source, segment "
        "HAVING grown > reached AND newest < {end:DateTime64(9, 'UTC')} "
        "AND claimed_at >= {start:DateTime64(9, 'UTC')} "
        "AND (source, segment) NOT IN (SELECT source, segment FROM ledger WHERE reason IN {reasons:Array(String)} "
        "AND end = 0 AND in_row = 0))",
        {
            **parameters,
            "start": timestamp(start_ns),
            "end": timestamp(end_ns),
            "reasons": [reason.value for reason in LossReason],
        },
    )
    ((sent, records),) = _values(found)
    return Pending(bytes=int(sent), records=int(records))


def _condition(
    scope: Scope,
    sources: SourceFilter,
    *,
    signal: Signal,
    reasons: Sequence[str],
    start_ns: int | None,
    end_ns: int | None,
) -> tuple[str, dict[str, object]]:
    condition, parameters = where(scope, signal)
    conditions = [condition, "reason IN {reasons:Array(String)}"]
    parameters["reasons"] = list(reasons)
    for name, values in sources.by_label().items():
        conditions.append(f"{name} IN {{{name}:Array(String)}}")
        parameters[name] = list(values)
    # a time of 0 is not known: the first line may be as old as any, the last is not younger than the record
    if end_ns is not None:
        conditions.append("first_ts < {end:DateTime64(9, 'UTC')}")
        parameters["end"] = timestamp(end_ns)
    if start_ns is not None:
        conditions.append(
            "if(toUnixTimestamp64Nano(last_ts) = 0, toDateTime64(recorded, 9, 'UTC'), last_ts) "
            ">= {start:DateTime64(9, 'UTC')}"
        )
        parameters["start"] = timestamp(start_ns)
    return " AND ".join(conditions), parameters


def _values(found: pa.Table) -> list[tuple[Any, ...]]:
    columns = [
        [value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in column.to_pylist()]
        for column in found.columns
    ]
    return list(zip(*columns, strict=True))
