"""What the ledger's summary knows of a node: its sources, and what of them was claimed and never delivered."""

from dataclasses import dataclass

from kobs.model.logs import LossReason
from kobs.model.scope import Scope, Signal
from kobs.storage.clickhouse import Store
from kobs.storage.scope import where


@dataclass(frozen=True, slots=True)
class OpenSegment:
    """A segment that has grown beyond what was delivered of it. Times are ns UTC; 0 where nothing was delivered."""

    source: int
    segment: int
    delivered: int
    claimed: int
    head: int
    delivered_to_ns: int
    claimed_at_ms: int
    kind: str
    namespace: str
    pod: str
    uid: str
    container: str
    restart: int
    path: str


def find_node_sources(store: Store, scope: Scope, *, cluster: str, node: str) -> dict[int, str]:
    """Return the namespace of each source of a node."""
    condition, parameters = where(scope, Signal.LEDGER)
    found = store.select(
        "SELECT source, anyLast(namespace) AS of_namespace FROM log_segments "
        f"WHERE cluster = {{cluster:String}} AND node = {{node:String}} AND {condition} GROUP BY source",
        {**parameters, "cluster": cluster, "node": node},
    )
    return dict(zip(*(column.to_pylist() for column in found.columns), strict=True))


def find_open_segments(store: Store, scope: Scope, *, cluster: str, node: str) -> list[OpenSegment]:
    """Return every segment of a node that was claimed and not delivered whole.

    Those of which the ledger says that their end will never come are not among them.
    """
    condition, parameters = where(scope, Signal.LEDGER)
    found = store.select(
        "SELECT source, segment, max(delivered) AS reached, max(claimed) AS grown, max(head) AS known_head, "
        "toUnixTimestamp64Nano(max(last_ts)) AS delivered_to, toUnixTimestamp64Milli(max(updated)) AS claimed_at, "
        "anyLast(kind) AS of_kind, anyLast(namespace) AS of_namespace, anyLast(pod) AS of_pod, anyLast(uid) AS of_uid, "
        "anyLast(container) AS of_container, max(restart) AS of_restart, anyLast(path) AS of_path FROM log_segments "
        f"WHERE cluster = {{cluster:String}} AND node = {{node:String}} AND {condition} GROUP BY source, segment "
        "HAVING grown > reached AND (source, segment) NOT IN (SELECT source, segment FROM ledger "
        "WHERE reason IN {reasons:Array(String)} AND end = 0 AND in_row = 0)",
        {**parameters, "cluster": cluster, "node": node, "reasons": [reason.value for reason in LossReason]},
    )
    return [OpenSegment(*row) for row in zip(*(column.to_pylist() for column in found.columns), strict=True)]
