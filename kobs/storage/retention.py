"""Retention: whole partitions leave the store when their time is over.

The partition keys hold the day, that of logs the retention class too, so expiry is a file delete. It is done here and
not by the engine's TTL: what leaves of logs must be counted by segment first, for `kobs verify` could not tell it from
a loss otherwise; and how long samples are kept is a setting, which counts for those that are there too.
"""

import datetime as dt
from dataclasses import dataclass

from kobs.model.scope import Scope, Signal
from kobs.storage.clickhouse import Store
from kobs.storage.log_writes import timestamp

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


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
    rows_of_partition = "FROM logs WHERE toDate(ts) = toDate({day:Int32}) AND keep_days = {keep:UInt16}"
    # An entry that goes on over a rotation counts in both segments, each with its own bytes.
    pieces = (
        "SELECT source, segment, offset, 1 AS begins, any(size) AS bytes "
        f"{rows_of_partition} GROUP BY source, segment, offset "
        "UNION ALL SELECT source, tail_segment AS segment, offset, 0 AS begins, any(tail_size) AS bytes "
        f"{rows_of_partition} AND tail_size > 0 GROUP BY source, segment, offset"
    )
    store.command(
        "INSERT INTO log_expired "
        "SELECT source, segment, toDate({day:Int32}), {keep:UInt16}, sum(begins), sum(bytes), now64(3) "
        f"FROM ({pieces}) GROUP BY source, segment",
        bounds,
    )
    store.command("ALTER TABLE logs DROP PARTITION ID {partition:String}", {"partition": partition.id})


def find_expired_samples(store: Store, scope: Scope, *, today: int, keep_days: int) -> list[tuple[str, str]]:
    """Return the partitions of samples and series whose days are all over, as table and id."""
    if Signal.METRICS not in scope.signals:
        return []
    found = store.select(
        "SELECT table, partition_id FROM system.parts WHERE database = {database:String} "
        "AND table IN ('metric_samples', 'metric_series') AND active "
        "GROUP BY table, partition_id ORDER BY partition_id",
        {"database": store.database},
    )
    expired = []
    for table, partition in zip(found["table"].to_pylist(), found["partition_id"].to_pylist(), strict=True):
        # The id of a partition by date is its digits. A partition of series is a week, named by its first day.
        day = (dt.datetime.strptime(partition, "%Y%m%d").replace(tzinfo=dt.UTC) - _EPOCH).days
        last_day = day if table == "metric_samples" else day + 6
        if last_day + keep_days < today:
            expired.append((table, partition))
    return expired


def expire_samples(store: Store, table: str, partition: str) -> None:
    """Drop a partition that `find_expired_samples` returned."""
    store.command(f"ALTER TABLE {table} DROP PARTITION ID {{partition:String}}", {"partition": partition})


def expire_sample_losses(store: Store, *, before_ms: int) -> None:
    """Delete the losses of samples that were put on record before a time."""
    store.command(
        "DELETE FROM sample_losses WHERE recorded < {before:DateTime64(3, 'UTC')}",
        {"before": timestamp(before_ms * 1_000_000)},
    )


def expire_ledger(store: Store, *, before_ms: int) -> None:
    """Delete what the ledger says of segments that have not changed since a time.

    It outlives the rows, so that expired lines do not come back from files that are still there. A segment that still
    grows keeps all that is on record of it, however old: its bytes could not be accounted for otherwise.
    """
    before = {"before": timestamp(before_ms * 1_000_000)}
    store.command(
        "DELETE FROM log_segments WHERE (source, segment) IN (SELECT source, segment FROM log_segments "
        "GROUP BY source, segment HAVING max(updated) < {before:DateTime64(3, 'UTC')})",
        before,
        settings={"lightweight_deletes_sync": 2},
    )
    for table in ("ledger", "log_expired"):
        store.command(
            f"DELETE FROM {table} WHERE recorded < {{before:DateTime64(3, 'UTC')}} "
            "AND (source, segment) NOT IN (SELECT source, segment FROM log_segments)",
            before,
        )
