"""Writing samples, their series and what is said of their names.

Every function here may be called again with the same rows. Samples are idempotent by (fp, ts): two copies count once,
and of different values at one time the greatest counts, where a NaN is less than every number. It is readers who apply
that rule, so that writing needs no look-up. (A stale marker is a NaN too. Should another NaN have the same time, one
of the two counts.)
"""

import pyarrow as pa
import pyarrow.compute as pc

from kobs.storage.clickhouse import Store

_SERIES_AN_INSERT = 100_000
_MS = pa.timestamp("ms", "UTC")
_WORD = pa.dictionary(pa.int32(), pa.string())

SAMPLE_ROWS = pa.schema([("metric", _WORD), ("fp", pa.uint64()), ("ts", _MS), ("value", pa.float64())])

SERIES_ROWS = pa.schema(
    [
        ("metric", _WORD),
        ("fp", pa.uint64()),
        ("labels", pa.map_(pa.string(), pa.string())),
        ("day", pa.date32()),
        ("min_ts", _MS),
        ("max_ts", _MS),
    ]
)
"""A series on a day on which it has samples. `labels` are without `__name__`. `min_ts` and `max_ts` bound the times of
its samples; as a row is written once for a day, they are the day's own."""

METADATA_ROWS = pa.schema(
    [
        ("metric", pa.string()),
        ("job", pa.string()),
        ("type", pa.string()),
        ("unit", pa.string()),
        ("help", pa.string()),
        ("updated", pa.timestamp("s", "UTC")),
    ]
)

LOSS_ROWS = pa.schema(
    [
        ("id", pa.string()),
        ("cluster", pa.string()),
        ("node", pa.string()),
        ("reason", pa.string()),
        ("first_ts", _MS),
        ("last_ts", _MS),
        ("samples", pa.uint64()),
        ("detail", pa.string()),
        ("recorded", _MS),
    ]
)


def write_samples(store: Store, rows: pa.Table) -> None:
    """Insert SAMPLE_ROWS of at most 50 days. Their series must be written before."""
    earliest_ms = pc.min(rows["ts"].cast(pa.int64())).as_py()
    if earliest_ms is not None:
        store.insert("metric_samples", rows, earliest_ms=earliest_ms)


def write_series(store: Store, rows: pa.Table) -> None:
    """Register SERIES_ROWS."""
    for start in range(0, rows.num_rows, _SERIES_AN_INSERT):
        store.insert("metric_series", rows.slice(start, _SERIES_AN_INSERT))


def write_metadata(store: Store, rows: pa.Table) -> None:
    """Note METADATA_ROWS; of rows for one metric and job the newest counts."""
    store.insert("metric_metadata", rows)


def write_losses(store: Store, rows: pa.Table) -> None:
    """Put LOSS_ROWS on record; a loss with the same id is the same one."""
    store.insert("sample_losses", rows)
