"""Reading what agents have told of samples that they lost; newest first."""

from dataclasses import dataclass

from kobs.model.scope import Scope, Signal
from kobs.storage.clickhouse import Store
from kobs.storage.scope import NOTHING, where


@dataclass(frozen=True, slots=True)
class SampleLossRow:
    """Samples that were lost between two times; 0 samples where nobody can tell how many."""

    id: str
    cluster: str
    node: str
    reason: str
    first_ms: int
    last_ms: int
    samples: int
    detail: str
    recorded_ms: int


def find_sample_losses(
    store: Store, scope: Scope, *, start_ms: int | None, end_ms: int | None, limit: int, comment: str = ""
) -> list[SampleLossRow]:
    """Return the losses that overlap [start, end), at most `limit` of them, those of the newest samples first."""
    condition, parameters = where(scope, Signal.LEDGER, namespace="''")
    if Signal.METRICS not in scope.signals:
        condition = NOTHING
    if start_ms is not None:
        condition += " AND toUnixTimestamp64Milli(last_ts) >= {start:Int64}"
        parameters["start"] = start_ms
    if end_ms is not None:
        condition += " AND toUnixTimestamp64Milli(first_ts) < {end:Int64}"
        parameters["end"] = end_ms
    found = store.select(
        "SELECT id, cluster, node, reason, toUnixTimestamp64Milli(first_ts) AS first_ms, "
        "toUnixTimestamp64Milli(last_ts) AS last_ms, samples, detail, "
        "toUnixTimestamp64Milli(recorded) AS recorded_ms "
        f"FROM sample_losses FINAL WHERE {condition} ORDER BY last_ms DESC, id LIMIT {int(limit)}",
        parameters,
        comment=comment,
    )
    return [SampleLossRow(**row) for row in found.to_pylist()]
