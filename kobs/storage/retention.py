"""Retention of logs: whole partitions leave the store when their time is over.

The partition key holds day and retention class, so expiry is a file delete. It is done here and not by the engine's
TTL, because what leaves must be counted by segment first: `kobs verify` could not tell it from a loss otherwise.
"""

from dataclasses import dataclass

from kobs.model.scope import Scope, Signal
from kobs.storage.clickhouse import Store


@dataclass(frozen=True, slots=True)
class Partition:
    """One day of one retention class. `day` counts from 1970."""

    id: str
    day: int
    keep_days: int


def find_expired(store: Store, scope: Scope, *, today: int) -> list[Partition]:
    """Return the partitions of `logs` whose day and retention are over."""
    if Signal.LOGS not in scope.signals:
        return []
    found = store.select(
        "SELECT partition_id, toInt32(toDate(extract(partition, '\\'(.*)\\''))) AS day, "
        "toUInt16(extract(partition, ',(\\\\d+)\\\\)')) AS keep FROM system.parts "
        "WHERE database = {database:String} AND table = 'logs' AND active "
        "GROUP BY partition_id, partition HAVING day + keep < {today:Int32} ORDER BY day",
        {"database": store.database, "today": today},
    )
    return [Partition(*row) for row in zip(*(column.to_pylist() for column in found.columns), strict=True)]


def expire(store: Store, partition: Partition) -> None:
    """Count what a partition holds of each segment, then drop it. Broken off in between, it may be done again."""
    bounds = {"day": partition.day, "keep": partition.keep_days}
    store.command(
        "INSERT INTO log_expired "
        "SELECT source, segment, toDate({day:Int32}), {keep:UInt16}, count(), sum(bytes), now64(3) "
        "FROM (SELECT source, segment, offset, any(size + tail_size) AS bytes FROM logs "
        "WHERE toDate(ts) = toDate({day:Int32}) AND keep_days = {keep:UInt16} GROUP BY source, segment, offset) "
        "GROUP BY source, segment",
        bounds,
    )
    store.command("ALTER TABLE logs DROP PARTITION ID {partition:String}", {"partition": partition.id})


def expire_ledger(store: Store, *, days: int) -> None:
    """Delete what the ledger says of segments that have not changed for `days` days.

    It outlives the rows, so that expired lines do not come back from files that are still there.
    """
    for table, changed in (("log_segments", "updated"), ("ledger", "recorded"), ("log_expired", "recorded")):
        store.command(
            f"DELETE FROM {table} WHERE {changed} < now64(3) - toIntervalDay({{days:UInt16}})", {"days": days}
        )
