"""Writing what agents scrape: the rows of a report first, then the report, which makes them count."""

import pyarrow as pa

from kobs.storage.clickhouse import Store

_MS = pa.timestamp("ms", "UTC")
_LABELS = pa.map_(pa.string(), pa.string())

TARGET_ROWS = pa.schema(
    [
        ("cluster", pa.string()),
        ("node", pa.string()),
        ("state", pa.string()),
        ("pool", pa.string()),
        ("url", pa.string()),
        ("identity", pa.uint64()),
        ("global_url", pa.string()),
        ("discovered", _LABELS),
        ("labels", _LABELS),
        ("health", pa.string()),
        ("error", pa.string()),
        ("started_ns", pa.int64()),
        ("seconds", pa.float64()),
        ("scrape_interval", pa.string()),
        ("scrape_timeout", pa.string()),
        ("seen", _MS),
    ]
)
"""`state` is `active` or `dropped`; `identity` tells targets of one URL apart."""

REPORT_ROWS = pa.schema(
    [
        ("cluster", pa.string()),
        ("node", pa.string()),
        ("dropped_counts", pa.map_(pa.string(), pa.uint64())),
        ("seen", _MS),
    ]
)


def write_report(store: Store, targets: pa.Table, report: pa.Table) -> None:
    """Write TARGET_ROWS of a report and its REPORT_ROWS, which have the same `seen`."""
    if targets.num_rows:
        store.insert("scrape_targets", targets)
    store.insert("scrape_reports", report)
