"""Reading how the whole is: what arrives, from where, and how the agents are. Answers are bounded, newest first."""

from dataclasses import dataclass

from kobs.model.scope import Scope, Signal
from kobs.storage.clickhouse import Store
from kobs.storage.log_writes import timestamp
from kobs.storage.scope import where


@dataclass(frozen=True, slots=True)
class SourceSummary:
    """The sources of one kind, node and namespace. `newest_ns` is the time of their newest entry, or 0."""

    kind: str
    cluster: str
    node: str
    namespace: str
    sources: int
    segments: int
    newest_ns: int
    updated_ms: int
    pending: int
    """Bytes that were claimed and not delivered; records where the kind is a journal."""


@dataclass(frozen=True, slots=True)
class AgentRow:
    """An agent as it last reported."""

    agent: str
    cluster: str
    node: str
    version: str
    clock_skew_ms: int
    held_bytes: int
    streams: int
    backlog_bytes: int
    problems: tuple[str, ...]
    seen_ms: int


def answers(store: Store, scope: Scope) -> None:
    """Ask the store for something small; it raises where it does not answer."""
    condition, parameters = where(scope, Signal.LEDGER)
    store.select(
        f"SELECT 1 AS one FROM log_segments WHERE {condition} LIMIT 1",
        parameters,
        settings={"max_execution_time": 5},
    )


def find_sources(store: Store, scope: Scope, *, limit: int) -> list[SourceSummary]:
    """Return summaries of all sources by kind, cluster, node and namespace, those with the newest entries first."""
    condition, parameters = where(scope, Signal.LEDGER)
    found = store.select(
        "SELECT kind_, cluster_, node_, namespace_, uniqExact(source) AS sources, count() AS segments, "
        "toUnixTimestamp64Nano(max(newest)) AS newest_ns, toUnixTimestamp64Milli(max(at)) AS updated_ms, "
        "sum(pending) AS missing FROM ("
        "SELECT source, segment, any(kind) AS kind_, any(cluster) AS cluster_, any(node) AS node_, "
        "any(namespace) AS namespace_, max(last_ts) AS newest, max(updated) AS at, "
        "if(max(claimed) > max(delivered), max(claimed) - max(delivered), 0) AS pending "
        f"FROM log_segments WHERE {condition} GROUP BY source, segment) "
        "GROUP BY kind_, cluster_, node_, namespace_ "
        f"ORDER BY newest_ns DESC, kind_, cluster_, node_, namespace_ LIMIT {int(limit)}",
        parameters,
    )
    return [SourceSummary(*values) for values in zip(*(column.to_pylist() for column in found.columns), strict=True)]


def find_agents(store: Store, scope: Scope, *, since_ms: int, limit: int) -> list[AgentRow]:
    """Return the agents that reported since a time, the last to report first.

    An agent belongs to its host: it is data without a namespace.
    """
    condition, parameters = where(scope, Signal.LEDGER, namespace="''")
    found = store.select(
        "SELECT agent, cluster, node, version, clock_skew_ms, held_bytes, streams, backlog_bytes, problems, "
        "toUnixTimestamp64Milli(seen) AS seen_ms FROM agents FINAL "
        f"WHERE seen >= {{since:DateTime64(3, 'UTC')}} AND {condition} ORDER BY seen DESC, agent LIMIT {int(limit)}",
        {**parameters, "since": timestamp(since_ms * 1_000_000)},
    )
    columns = dict(zip(found.column_names, (column.to_pylist() for column in found.columns), strict=True))
    columns["problems"] = [tuple(problems) for problems in columns["problems"]]
    return [AgentRow(*values) for values in zip(*columns.values(), strict=True)]
