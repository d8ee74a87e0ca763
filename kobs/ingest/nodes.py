"""What this server knows of the nodes whose agents send to it: one request of each at a time, how its agent is."""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, field

import pyarrow as pa

from kobs import telemetry
from kobs.errors import KobsError
from kobs.storage import log_writes
from kobs.storage.clickhouse import Store
from kobs.wire.ship import AgentReport, LogRequest

_NOTE_SECONDS = 10.0
_MOST_NODES = 10_000

log = telemetry.get_logger(__name__)


@dataclass(slots=True)
class Node:
    """What this server knows of a node's agent."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    report: AgentReport | None = None
    noted_at: float = 0.0
    taken_over: tuple[str, int] = ("", -1)
    """The agent and attempt that were taken over from another server."""


class Nodes:
    """The nodes that one server has seen."""

    def __init__(self) -> None:
        self._nodes: OrderedDict[tuple[str, str], Node] = OrderedDict()

    def of(self, cluster: str, name: str) -> Node:
        """Return what is known of a node. Its requests are taken one at a time, also those of an agent that lost its
        state and so its name: the request that it sent before may still be under way.
        """
        key = (cluster, name)
        node = self._nodes.setdefault(key, Node())
        self._nodes.move_to_end(key)
        while len(self._nodes) > _MOST_NODES:
            oldest = next(iter(self._nodes))
            if self._nodes[oldest].lock.locked():
                break
            del self._nodes[oldest]
        return node

    def reports(self) -> dict[str, AgentReport]:
        """Return the last report of each node's agent that this server has seen, by the node's name."""
        return {name: node.report for (_, name), node in self._nodes.items() if node.report is not None}


async def note(store: Store, node: Node, request: LogRequest, *, now_ns: int) -> None:
    """Take a request's report, and write it down now and then."""
    node.report = report = request.report
    now = time.monotonic()
    if now - node.noted_at < _NOTE_SECONDS:
        return
    node.noted_at = now
    seen_ms = now_ns // 1_000_000
    row = {
        "agent": request.agent,
        "cluster": request.cluster,
        "node": request.node,
        "version": report.version,
        "clock_skew_ms": request.sent_ns // 1_000_000 - seen_ms,
        "held_bytes": report.held_bytes,
        "streams": report.streams,
        "backlog_bytes": report.backlog_bytes,
        "problems": report.problems,
        "seen": seen_ms,
    }
    try:
        await store.run(log_writes.write_agents, store, pa.Table.from_pylist([row], schema=log_writes.AGENT_ROWS))
    except KobsError as error:
        log.warning("How an agent is could not be noted.", agent=request.agent, error=error)
