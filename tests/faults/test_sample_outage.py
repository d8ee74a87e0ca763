"""Samples of a real agent outlive an outage of its server and the agent's own death: what was on disk is stored."""

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from tests.faults.processes import AgentProgram, ServerProgram, machine

pytestmark = pytest.mark.clickhouse

_SECONDS = 60.0


def ups(server: ServerProgram) -> list[float]:
    """Return the times of the samples of `up` of the agent's node."""
    parameters = {"query": 'up{job="node"}[10m]', "time": f"{time.time():.3f}"}
    answer = httpx.get(f"{server.url}/api/v1/query", params=parameters, trust_env=False, timeout=20).json()
    return [each[0] for series in answer["data"]["result"] for each in series["values"]]


def spooled_bytes(agent: AgentProgram) -> int:
    return sum(path.stat().st_size for path in (agent.state / "samples").glob("*.spool"))


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_what_waited_on_disk_is_stored_after_server_and_agent_have_died(tmp_path: Path) -> None:
    with machine(tmp_path) as here:
        server = here.server(settings={"KOBS_SERVER__SAMPLE_DELAY_MS": "50"})
        agent = here.agent(server.url, settings={"KOBS_AGENT__HOST_METRICS_SECONDS": "0.5"})
        server.start()
        server.wait_until_ready()
        agent.start()
        until(lambda: len(ups(server)) >= 2, "no samples arrive")
        server.kill()
        until(lambda: spooled_bytes(agent) > 0, "nothing goes to disk")
        before = spooled_bytes(agent)
        until(lambda: spooled_bytes(agent) > before, "no more goes to disk")
        agent.kill()
        died = time.time()
        torn = max((agent.state / "samples").glob("*.spool"))
        with torn.open("ab") as file:
            # A record that was being written: its size says more than there is.
            file.write(b"\x00\x10\x00\x00" + b"\x05\x00\x00\x00" + b"\x00" * 24)
        server.start()
        server.wait_until_ready()
        agent.start()
        until(lambda: ups(server)[-1] > died and spooled_bytes(agent) == 0, "the agent does not catch up")
        times = ups(server)
        # Each half second of the outage, but what was in memory when the agent died: at most a pause between two tries.
        gaps = [(one, other) for one, other in pairwise(times) if other - one > 2.0]
        assert len([gap for gap in gaps if gap[1] < died - 8.0]) == 0, gaps
        until(lambda: _losses(server), "the torn record is not on record")
        assert _losses(server) == [("spool_damaged", 5)]


def _losses(server: ServerProgram) -> list[tuple[str, int]]:
    answer = httpx.get(f"{server.url}/kobs/v1/ledger/samples", trust_env=False, timeout=20)
    assert answer.status_code == 200, answer.text
    return [(loss["reason"], loss["samples"]) for loss in answer.json()["losses"]]
