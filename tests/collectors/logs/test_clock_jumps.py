"""The node's clock is set: lines are read in the order in which they were written, each once."""

import asyncio
import time
from pathlib import Path

import pytest

from kobs.storage.clickhouse import Store
from tests.collectors.logs.node import Node
from tests.writing import ContainerLog, numbers

pytestmark = pytest.mark.clickhouse

_HOUR_NS = 3_600_000_000_000


@pytest.fixture
def store_url(engine_folder: Path) -> str:
    """The embedded engine alone: these tests are about files."""
    return f"chdb://{engine_folder}"


class _Clock:
    """Stands for the machine's clock, which a test must not set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead_ns = 0
        real = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: real() + self.ahead_ns)


@pytest.mark.parametrize("jump_ns", [-_HOUR_NS, _HOUR_NS], ids=["back", "ahead"])
def test_a_clock_that_is_set_between_rotations_loses_and_doubles_nothing(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, jump_ns: int
) -> None:
    """After a jump back, the live file has an earlier time than the rotated one, whose end must not wait for it."""
    clock = _Clock(monkeypatch)

    async def scenario() -> None:
        node = Node(tmp_path, store)
        log = ContainerLog(node.pods)
        async with node.server(), node.agent():
            log.numbered(50)
            await node.until(lambda bodies: len(bodies) == 50)
            log.numbered(10)
            log.line(b"begin-", tag="P")
            log.rotate()
            clock.ahead_ns = jump_ns
            log._time_ns = 0
            log.line(b"end")
            log.numbered(40)
            await node.until(lambda bodies: len(bodies) == 101)
            log.rotate()
            log.numbered(10)
            bodies = await node.until(lambda bodies: len(bodies) == 111)
        assert sorted(numbers(bodies)) == list(range(110))
        assert b"begin-end" in bodies
        report = await node.verified()
        assert report["ok"], report["totals"]
        assert report["totals"]["pending_bytes"] == 0

    asyncio.run(scenario())


def test_how_far_the_nodes_clock_is_off_is_on_record(tmp_path: Path, store: Store) -> None:
    async def scenario() -> None:
        node = Node(tmp_path, store)
        log = ContainerLog(node.pods)
        async with node.server() as ingest, node.agent():
            ingest._now_ns = lambda: time.time_ns() - _HOUR_NS
            log.numbered(5)
            await node.until(lambda bodies: len(bodies) == 5)
        ((skew,),) = zip(*store.select("SELECT clock_skew_ms FROM agents FINAL").to_pydict().values(), strict=True)
        assert 3_600_000 - 60_000 < skew < 3_600_000 + 60_000

    asyncio.run(scenario())
