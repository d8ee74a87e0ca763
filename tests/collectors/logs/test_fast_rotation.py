"""A container that rotates several times a second: nothing that could be read is lost, and nothing falls behind."""

import asyncio
from pathlib import Path

import pytest

from kobs.storage.clickhouse import Store
from tests.collectors.logs.node import Node
from tests.collectors.logs.test_delivery import exactly
from tests.writing import ContainerLog, numbers

pytestmark = pytest.mark.clickhouse

_ROTATIONS = 30
_KEPT_FILES = 10


@pytest.fixture
def store_url(engine_folder: Path) -> str:
    """The embedded engine alone: these tests are about files."""
    return f"chdb://{engine_folder}"


def test_a_container_that_rotates_several_times_a_second_is_kept_up_with(tmp_path: Path, store: Store) -> None:
    """Old files go, as the kubelet deletes them."""

    async def scenario() -> None:
        node = Node(tmp_path, store)
        log = ContainerLog(node.pods)
        rotated: list[tuple[Path, int]] = []
        async with node.server(), node.agent():
            for _ in range(_ROTATIONS):
                log.numbered(20)
                log.line(b"\tat com.example.Main.main(Main.java:1)")
                rotated.append((log.rotate(), log.written))
                await asyncio.sleep(0.2)
                while len(rotated) > _KEPT_FILES:
                    # A slow machine must not make it a test of its speed: only what was taken is deleted.
                    path, written = rotated.pop(0)
                    await node.until(lambda bodies, written=written: len(numbers(bodies)) >= written - 1)
                    path.unlink()
            log.numbered(1)
            await node.until(exactly(log.written))
        report = await node.verified()
        assert report["ok"], report["totals"]
        assert report["totals"]["pending_bytes"] == 0

    asyncio.run(scenario())


def test_the_grace_of_rotated_files_runs_for_all_of_them_at_once(tmp_path: Path, store: Store) -> None:
    """Forty files that wait do not take a second each: the test would run out of its time."""

    async def scenario() -> None:
        node = Node(tmp_path, store)
        log = ContainerLog(node.pods)
        async with node.server(), node.agent():
            for _ in range(40):
                log.numbered(20)
                log.rotate()
            log.numbered(1)
            await node.until(exactly(log.written), seconds=30)

    asyncio.run(scenario())
