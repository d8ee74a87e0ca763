"""Log rows and their streams for tests that read: entries as values, inserted as the ingest would."""

from dataclasses import dataclass, field

import pyarrow as pa

from kobs.model.labels import fingerprint
from kobs.storage.clickhouse import Store

NS = pa.timestamp("ns", "UTC")
MS = pa.timestamp("ms", "UTC")
DAY_NS = 86_400_000_000_000
T0_NS = 1_767_323_045_000_000_000
"""2026-01-02T03:04:05Z."""
SHOP = {"cluster": "east", "namespace": "shop", "pod": "web-1", "container": "app", "node": "n1", "stream": "stdout"}


@dataclass(frozen=True)
class Entry:
    """A stored entry; what tests do not care about has a default."""

    time_ns: int
    body: bytes = b"a line"
    labels: dict[str, str] = field(default_factory=lambda: SHOP)
    severity: str = "info"
    trace_id: str = ""
    source: int = 2**64 - 1
    segment: int = -5
    offset: int = 0
    received_ms: int = T0_NS // 1_000_000

    @property
    def order(self) -> tuple[int, int, int, int]:
        return (self.time_ns, self.source, self.segment, self.offset)

    @property
    def position(self) -> str:
        return f"{self.source}:{self.segment}:{self.offset}"


def insert(store: Store, entries: list[Entry]) -> None:
    """Insert entries with the label sets of their days, streams first, as the ingest does."""
    days = {(fingerprint(entry.labels), entry.time_ns // DAY_NS): entry.labels for entry in entries}
    streams = [
        {
            "cluster": labels.get("cluster", ""),
            "namespace": labels.get("namespace", ""),
            "stream": stream,
            "labels": list(labels.items()),
            "day": day,
            "first": day * 86_400_000,
            "last": day * 86_400_000 + 86_399_999,
        }
        for (stream, day), labels in days.items()
    ]
    store.insert(
        "log_streams",
        pa.Table.from_pylist(
            streams,
            schema=pa.schema(
                [
                    ("cluster", pa.string()),
                    ("namespace", pa.string()),
                    ("stream", pa.uint64()),
                    ("labels", pa.map_(pa.string(), pa.string())),
                    ("day", pa.date32()),
                    ("first", MS),
                    ("last", MS),
                ]
            ),
        ),
    )
    store.insert("logs", rows(entries))


def rows(entries: list[Entry]) -> pa.Table:
    """Return entries as rows of the table logs."""
    return pa.table(
        {
            "ts": pa.array([entry.time_ns for entry in entries], NS),
            "received": pa.array([entry.received_ms for entry in entries], MS),
            "cluster": pa.array([entry.labels.get("cluster", "") for entry in entries]).dictionary_encode(),
            "namespace": pa.array([entry.labels.get("namespace", "") for entry in entries]).dictionary_encode(),
            "stream": pa.array([fingerprint(entry.labels) for entry in entries], pa.uint64()),
            "severity": pa.array([entry.severity for entry in entries]).dictionary_encode(),
            "trace_id": pa.array([entry.trace_id for entry in entries], pa.string()),
            "body": pa.array([entry.body for entry in entries], pa.binary()),
            "source": pa.array([entry.source for entry in entries], pa.uint64()),
            "segment": pa.array([entry.segment for entry in entries], pa.int64()),
            "offset": pa.array([entry.offset for entry in entries], pa.uint64()),
            "size": pa.array([len(entry.body) + 1 for entry in entries], pa.uint32()),
            "keep_days": pa.array([30] * len(entries), pa.uint16()),
        }
    )
