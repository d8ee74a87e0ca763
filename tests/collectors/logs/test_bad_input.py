"""What goes wrong around the agent and the store: nothing else is lost by it, and it is told."""

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kobs.storage.clickhouse import Store
from tests.collectors.logs.node import Node
from tests.collectors.logs.test_delivery import exactly
from tests.parts import require
from tests.writing import ContainerLog, numbers

pytestmark = pytest.mark.clickhouse


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A tmpfs of this size."""
    folder.mkdir()
    mounted = os.geteuid() == 0 and shutil.which("mount") is not None
    if mounted:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0
    require(mounted, "a small disk needs the right to mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Write until nothing more fits, and return the file."""
    ballast = folder / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)
    return ballast


@pytest.fixture
def store_url(engine_folder: Path) -> str:
    """The embedded engine alone: these tests are about files and disks."""
    return f"chdb://{engine_folder}"


def test_a_full_disk_under_the_agents_state_stops_sending_and_loses_nothing(tmp_path: Path, store: Store) -> None:
    async def scenario() -> None:
        with small_disk(tmp_path / "small", "2m") as small:
            node = Node(tmp_path, store, **{"agent.state": small / "state"})
            node.state = small / "state"
            log = ContainerLog(node.pods)
            async with node.server(), node.agent() as agent:
                log.numbered(50)
                await node.until(exactly(50))
                ballast = fill(small)
                for _ in range(40):
                    log.numbered(50)
                    log.rotate()
                    await asyncio.sleep(0.02)
                for _ in range(200):
                    if "state cannot be written" in str(agent._report().problems):
                        break
                    await asyncio.sleep(0.05)
                else:
                    pytest.fail("the agent did not tell that its state cannot be written")
                ballast.unlink()
                await node.until(exactly(2050))
            assert (await node.verified())["ok"]

    asyncio.run(scenario())


def test_a_full_disk_under_the_store_delays_and_loses_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        with small_disk(tmp_path / "small", "48m") as small:
            store = Store(f"chdb://{small}/store", threads=2)
            try:
                node = Node(tmp_path, store)
                log = ContainerLog(node.pods)
                async with node.server(), node.agent():
                    log.numbered(50)
                    await node.until(exactly(50))
                    ballast = fill(small)
                    for _ in range(20):
                        log.numbered(500)
                        await asyncio.sleep(0.05)
                    await asyncio.sleep(1.0)
                    got = numbers(await node.bodies())
                    assert got == sorted(set(got))
                    assert len(got) < log.written, "the disk was not full"
                    ballast.unlink()
                    await node.until(exactly(log.written))
                assert (await node.verified())["ok"]
            finally:
                store.close()

    asyncio.run(scenario())


def test_five_thousand_old_files_are_read_once(tmp_path: Path, store: Store) -> None:
    async def scenario() -> None:
        node = Node(tmp_path, store)
        for index in range(5000):
            (node.files / f"old-{index:04}.log").write_bytes(b"number=%d\n" % index)
        async with node.server():
            async with node.agent():
                await node.until(lambda bodies: len(bodies) >= 5000)
            async with node.agent():
                with (node.files / "old-0007.log").open("ab") as old:
                    old.write(b"number=5000\n")
                await node.until(lambda bodies: len(bodies) >= 5001)
                await asyncio.sleep(0.5)
            assert sorted(numbers(await node.bodies())) == list(range(5001))
        assert (await node.verified())["ok"]

    asyncio.run(scenario())


def test_what_is_no_log_file_is_left_alone(tmp_path: Path, store: Store) -> None:
    """Fifos, folders with a log's name, dangling links and empty files stop nothing."""

    async def scenario() -> None:
        node = Node(tmp_path, store)
        os.mkfifo(node.files / "fifo.log")
        (node.files / "folder.log").mkdir()
        (node.files / "dangling.log").symlink_to(tmp_path / "nowhere")
        (node.files / "empty.log").touch()
        (node.pods / "not-a-pod").mkdir()
        (node.pods / "file").touch()
        log = ContainerLog(node.pods)
        (log.folder / "notes.txt").write_text("x")
        async with node.server(), node.agent():
            log.numbered(5)
            (node.files / "real.log").write_bytes(b"number=5\n")
            bodies = await node.until(lambda bodies: len(bodies) == 6)
            assert sorted(numbers(bodies)) == list(range(6))

    asyncio.run(scenario())


def test_garbage_in_a_container_file_is_kept_and_stops_nothing(tmp_path: Path, store: Store) -> None:
    async def scenario() -> None:
        node = Node(tmp_path, store)
        log = ContainerLog(node.pods)
        async with node.server(), node.agent():
            log.raw(b"no such format\n\x00\x01\xff\n\n")
            log.numbered(5)
            log.raw(b"2026-13-45T99:99:99Z stdout F number=5 in month 13\n")
            bodies = await node.until(lambda bodies: 5 in numbers(bodies))
            assert b"no such format" in bodies
            assert b"\x00\x01\xff" in bodies
        report = await node.verified()
        assert report["ok"]
        assert report["totals"]["pending_bytes"] == 0

    asyncio.run(scenario())


def test_files_are_found_by_polling_where_they_cannot_be_watched(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_inotify(**_: object) -> None:
        raise OSError(24, "Too many open files")

    # the machine's limit of inotify instances cannot be lowered for one test
    monkeypatch.setattr("kobs.collectors.logs.folder_watching.INotify", no_inotify)
    monkeypatch.setattr("kobs.collectors.logs.watching.INotify", no_inotify)

    async def scenario() -> None:
        node = Node(tmp_path, store, **{"agent.discovery_ms": 50})
        async with node.server(), node.agent():
            await asyncio.sleep(0.2)
            log = ContainerLog(node.pods)
            log.numbered(5)
            log.rotate()
            log.numbered(5)
            await node.until(exactly(10))
            await asyncio.sleep(2.5)  # it is quiet now
            log.numbered(5)
            await node.until(exactly(15))

    asyncio.run(scenario())
