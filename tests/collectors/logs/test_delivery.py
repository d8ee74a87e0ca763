"""Files that rotate, move, shrink and vanish: every line is stored once, or its absence is on record."""

import asyncio
import gzip
from pathlib import Path
from typing import Any

import pytest

from kobs.collectors.logs.discovery import Look
from kobs.storage.clickhouse import Store
from tests.collectors.logs.node import Node
from tests.writing import ContainerLog, compress, numbers

pytestmark = pytest.mark.clickhouse


@pytest.fixture
def store_url(engine_folder: Path) -> str:
    """The embedded engine alone: these tests are about files."""
    return f"chdb://{engine_folder}"


@pytest.fixture
def node(tmp_path: Path, store: Store) -> Node:
    """A node with an empty store."""
    return Node(tmp_path, store)


def exactly(count: int) -> Any:
    """Return what tells whether the numbers are all there, each once and in order."""
    return lambda bodies: numbers(bodies) == list(range(count))


def _losses(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [loss for source in report["sources"] for loss in source["losses"]]


def test_lines_survive_rotation_every_few_hundred_lines(node: Node) -> None:
    async def scenario() -> None:
        log = ContainerLog(node.pods)
        async with node.server(), node.agent():
            for _ in range(8):
                log.numbered(300)
                await asyncio.sleep(0.05)
                log.rotate()
            log.numbered(10)
            await node.until(exactly(log.written))
        assert (await node.verified())["ok"]

    asyncio.run(scenario())


def test_two_rotations_while_the_agent_is_down_lose_nothing(node: Node) -> None:
    async def scenario() -> None:
        log = ContainerLog(node.pods)
        async with node.server():
            async with node.agent():
                log.numbered(100)
                await node.until(exactly(log.written))
            log.numbered(50)
            log.rotate()
            log.numbered(50)
            log.rotate()
            log.numbered(50)
            async with node.agent():
                await node.until(exactly(log.written))
        assert (await node.verified())["ok"]

    asyncio.run(scenario())


def test_a_line_that_goes_on_over_a_rotation_is_one_entry(node: Node) -> None:
    """The P part ends one file, the F part begins the next; both files are covered to the byte."""

    async def scenario() -> None:
        log = ContainerLog(node.pods)
        async with node.server(), node.agent():
            log.numbered(3)
            log.line(b"begin-", tag="P")
            log.rotate()
            log.line(b"middle-", tag="P")
            log.line(b"end")
            log.numbered(3)
            bodies = await node.until(lambda bodies: len(numbers(bodies)) == 6)
            assert b"begin-middle-end" in bodies
            assert len(bodies) == 7
        report = await node.verified()
        assert report["ok"]
        assert report["totals"]["pending_bytes"] == 0

    asyncio.run(scenario())


def test_a_partial_line_is_kept_back_until_its_rest_arrives(node: Node) -> None:
    async def scenario() -> None:
        log = ContainerLog(node.pods)
        async with node.server():
            async with node.agent():
                log.numbered(2)
                log.line(b"first half, ", tag="P")
                await node.until(exactly(2))
            async with node.agent():
                await asyncio.sleep(0.5)
                assert len(await node.bodies()) == 2
                log.line(b"second half")
                bodies = await node.until(lambda bodies: len(bodies) == 3)
                assert bodies[-1] == b"first half, second half"

    asyncio.run(scenario())


def test_a_compressed_rest_of_a_half_read_file_is_read_on(node: Node) -> None:
    async def scenario() -> None:
        log = ContainerLog(node.pods)
        async with node.server():
            async with node.agent():
                log.numbered(40)
                await node.until(exactly(40))
            log.numbered(40)
            compress(log.rotate())
            log.numbered(5)
            async with node.agent():
                await node.until(exactly(85))
        report = await node.verified()
        assert report["ok"]
        assert not _losses(report)

    asyncio.run(scenario())


def test_the_same_file_read_as_gz_after_loss_of_state_gives_no_double(node: Node) -> None:
    async def scenario() -> None:
        log = ContainerLog(node.pods)
        plain = node.files / "app.log"
        async with node.server():
            async with node.agent():
                log.numbered(40)
                plain.write_bytes(b"".join(b"2026-11-22T10:00:00Z plain %d\n" % i for i in range(20)))
                await node.until(lambda bodies: len(bodies) == 60)
            node.lose_state()
            compress(log.rotate())
            log.numbered(5)
            compress(plain.rename(node.files / "app.log.1"))
            plain.write_bytes(b"2026-11-22T10:00:01Z plain 20\n")
            async with node.agent():
                await node.until(lambda bodies: len(bodies) >= 66)
                await asyncio.sleep(0.5)
                assert len(await node.bodies()) == 66
        report = await node.verified()
        assert report["totals"]["doubled_rows"] == 0
        assert report["ok"]

    asyncio.run(scenario())


def test_lost_state_and_vanished_files_neither_double_nor_hide(node: Node) -> None:
    """What was delivered stays single; the files that are left are read on."""

    async def scenario() -> None:
        log = ContainerLog(node.pods)
        async with node.server():
            async with node.agent():
                log.numbered(100)
                await node.until(exactly(100))
                log.rotate().unlink()
                log.numbered(30)
                await node.until(exactly(130))
            node.lose_state()
            async with node.agent():
                log.numbered(10)
                await node.until(exactly(140))

    asyncio.run(scenario())


def test_a_file_that_is_gone_before_it_was_read_is_on_record(node: Node) -> None:
    """Two files come and one goes while the agent is down: source, segment and window of time are in the ledger."""

    async def scenario() -> None:
        log = ContainerLog(node.pods)
        async with node.server():
            async with node.agent():
                log.numbered(20)
                await node.until(exactly(20))
            log.numbered(20)
            log.rotate().unlink()
            log.numbered(20)
            async with node.agent():
                await node.until(lambda bodies: numbers(bodies) == [*range(20), *range(40, 60)])
                await asyncio.sleep(0.3)
        report = await node.verified()
        assert not report["ok"]
        (loss,) = _losses(report)
        assert loss["reason"] == "rotated_away"
        assert loss["bytes"] is None
        assert int(loss["first"]) < int(loss["last"])
        assert report["totals"]["missing_bytes"] == 0

    asyncio.run(scenario())


def test_a_file_that_is_compressed_during_the_first_look_is_read_on(node: Node) -> None:
    """The look saw its old name, and nothing is there under it any more when the file is opened."""

    async def scenario() -> None:
        log = ContainerLog(node.pods)
        async with node.server():
            async with node.agent():
                log.numbered(20)
                await node.until(exactly(20))
            log.numbered(20)
            rotated = log.rotate()
            log.numbered(20)
            async with node.agent() as agent:
                look = agent._discovery.look  # the only place between listing and opening

                def look_and_compress(now: float) -> Look | None:
                    found = look(now)
                    if rotated.exists():
                        compress(rotated)
                    return found

                agent._discovery.look = look_and_compress  # type: ignore[method-assign]
                await node.until(exactly(60))
        report = await node.verified()
        assert report["ok"]

    asyncio.run(scenario())


def test_a_pod_that_goes_after_all_was_read_is_no_loss(node: Node) -> None:
    async def scenario() -> None:
        log = ContainerLog(node.pods)
        async with node.server():
            async with node.agent():
                log.numbered(20)
                await node.until(exactly(20))
                log.path.unlink()
                log.folder.rmdir()
                log.folder.parent.rmdir()
                await asyncio.sleep(1.5)
            async with node.agent():
                await asyncio.sleep(0.5)
        report = await node.verified()
        assert report["ok"]
        assert not _losses(report)
        assert report["totals"]["pending_bytes"] == 0

    asyncio.run(scenario())


def test_a_deleted_file_that_is_still_open_is_read_to_its_end(node: Node) -> None:
    async def scenario() -> None:
        log = ContainerLog(node.pods)
        async with node.server(), node.agent():
            log.numbered(20)
            await node.until(exactly(20))
            log.path.unlink()
            log.numbered(20)
            await node.until(exactly(40))

    asyncio.run(scenario())


def test_a_reused_name_with_new_content_is_a_new_segment(node: Node) -> None:
    async def scenario() -> None:
        log = ContainerLog(node.pods)
        async with node.server():
            async with node.agent():
                log.numbered(20)
                await node.until(exactly(20))
            log.close()
            log.path.unlink()
            again = ContainerLog(node.pods)
            again.written = 20
            again.numbered(5)  # a smaller file, perhaps under the same inode
            async with node.agent():
                await node.until(exactly(25))

    asyncio.run(scenario())


@pytest.mark.parametrize("restarted", [False, True], ids=["while it runs", "while it is down"])
def test_a_truncated_file_goes_on_as_a_new_segment(node: Node, restarted: bool) -> None:  # noqa: FBT001 - a parameter of the test
    async def scenario() -> None:
        path = node.files / "app.log"
        with path.open("ab", buffering=0) as file:
            async with node.server():
                async with node.agent():
                    file.write(b"".join(b"banner\n" if i == 0 else b"number=%d old\n" % (i - 1) for i in range(21)))
                    await node.until(exactly(20))
                    if not restarted:
                        file.truncate(0)
                        file.write(b"banner\nnumber=20 new\n")
                        await node.until(exactly(21))
                if restarted:
                    file.truncate(0)
                    file.write(b"banner\nnumber=20 new\n")
                    async with node.agent():
                        await node.until(exactly(21))
        assert (await node.verified())["totals"]["doubled_rows"] == 0

    asyncio.run(scenario())


def test_copytruncate_reads_the_unread_rest_from_the_copy(node: Node) -> None:
    async def scenario() -> None:
        path = node.files / "app.log"
        with path.open("ab", buffering=0) as file:
            async with node.server(), node.agent():
                file.write(b"".join(b"number=%d\n" % i for i in range(20)))
                await node.until(exactly(20))
                node.down = True
                file.write(b"".join(b"number=%d\n" % i for i in range(20, 30)))
                await asyncio.sleep(0.2)
                (node.files / "app.log.1").write_bytes(path.read_bytes())
                file.truncate(0)
                file.write(b"number=30\n")
                await asyncio.sleep(0.2)
                node.down = False
                bodies = await node.until(lambda bodies: len(bodies) == 31)
                assert sorted(numbers(bodies)) == list(range(31))
                await asyncio.sleep(0.3)
        report = await node.verified()
        assert report["ok"]

    asyncio.run(scenario())


def test_a_renamed_file_that_matches_the_pattern_stays_its_source(node: Node) -> None:
    async def scenario() -> None:
        path = node.files / "app.log"
        path.write_bytes(b"".join(b"number=%d\n" % i for i in range(20)))
        async with node.server(), node.agent():
            await node.until(exactly(20))
            path.rename(node.files / "app-old.log")
            path.write_bytes(b"number=20\n")
            await node.until(lambda bodies: len(bodies) >= 21)
            await asyncio.sleep(0.5)
            assert sorted(numbers(await node.bodies())) == list(range(21))

    asyncio.run(scenario())


def test_an_answer_that_is_cut_off_doubles_nothing(node: Node) -> None:
    async def scenario() -> None:
        log = ContainerLog(node.pods)
        async with node.server(), node.agent():
            for _ in range(10):
                node.cut_answers = 1
                log.numbered(50)
                await asyncio.sleep(0.1)
            await node.until(exactly(500))
        report = await node.verified()
        assert report["ok"]

    asyncio.run(scenario())


def test_a_new_server_instance_finds_what_the_last_one_stored(node: Node) -> None:
    """The answer is cut, both end, and both start again."""

    async def scenario() -> None:
        log = ContainerLog(node.pods)
        for _ in range(4):
            log.numbered(50)
            before = len(await node.bodies())
            node.cut_answers = 1_000_000
            async with node.server(), node.agent():
                await node.until(lambda bodies, before=before: len(bodies) > before)
            node.cut_answers = 0
            async with node.server(), node.agent():
                await node.until(exactly(log.written))
                await asyncio.sleep(0.3)
        report = await node.verified()
        assert report["ok"]
        assert report["totals"]["pending_bytes"] == 0

    asyncio.run(scenario())


def test_rotated_files_are_held_while_the_server_is_away(node: Node) -> None:
    async def scenario() -> None:
        log = ContainerLog(node.pods)
        async with node.server(), node.agent():
            log.numbered(10)
            await node.until(exactly(10))
            node.down = True
            for _ in range(3):
                log.numbered(50)
                await asyncio.sleep(0.6)
                log.rotate().unlink()
            log.numbered(1)
            await asyncio.sleep(0.6)
            node.down = False
            await node.until(exactly(161))
        assert (await node.verified())["ok"]

    asyncio.run(scenario())


def test_what_exceeds_the_held_bytes_is_on_record(tmp_path: Path, store: Store) -> None:
    async def scenario() -> None:
        node = Node(tmp_path, store, **{"agent.held_bytes": 20_000})
        log = ContainerLog(node.pods)
        async with node.server(), node.agent():
            log.numbered(10)
            await node.until(exactly(10))
            node.down = True
            for _ in range(4):
                log.numbered(200)
                await asyncio.sleep(0.6)
                log.rotate().unlink()
            log.numbered(1)
            await asyncio.sleep(1.0)
            node.down = False
            bodies = await node.until(lambda bodies: log.written - 1 in numbers(bodies))
            await asyncio.sleep(0.5)
        report = await node.verified()
        got = numbers(bodies)
        assert got == sorted(set(got))
        assert len(got) < log.written
        assert {loss["reason"] for loss in _losses(report)} == {"rotated_away"}
        assert all(loss["bytes"] for loss in _losses(report))
        assert report["totals"]["missing_bytes"] == 0
        assert report["totals"]["doubled_rows"] == 0
        assert not report["ok"]

    asyncio.run(scenario())


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "container"])
def test_a_line_that_is_too_long_is_cut_and_on_record(node: Node, plain: bool) -> None:  # noqa: FBT001 - a parameter of the test
    async def scenario() -> None:
        size = 9 * 1024 * 1024
        if plain:
            (node.files / "app.log").write_bytes(b"number=0\n" + b"y" * size + b"\nnumber=1\n")
        else:
            log = ContainerLog(node.pods)
            log.numbered(1)
            for _ in range(size // 16384):
                log.line(b"y" * 16384, tag="P")
            log.line(b"end")
            log.numbered(1)
        async with node.server(), node.agent():
            bodies = await node.until(lambda bodies: numbers(bodies) == [0, 1])
            await asyncio.sleep(0.3)
            assert max(map(len, bodies)) == 1024 * 1024
        report = await node.verified()
        assert report["ok"]
        assert report["totals"]["left_out_bytes"] > 4 * 1024 * 1024
        assert {loss["reason"] for loss in _losses(report)} == {"line_too_long"}
        assert report["totals"]["missing_bytes"] == 0
        assert report["totals"]["pending_bytes"] == 0

    asyncio.run(scenario())


def test_invalid_utf8_is_stored_byte_for_byte(node: Node) -> None:
    async def scenario() -> None:
        log = ContainerLog(node.pods)
        content = bytes(range(32, 256)) + b"\xff\xfe\x00\xc3("
        async with node.server(), node.agent():
            log.line(content)
            log.numbered(1)
            bodies = await node.until(lambda bodies: len(bodies) == 2)
            assert bodies[0] == content

    asyncio.run(scenario())


def test_a_damaged_gz_is_on_record_and_stops_nothing(node: Node) -> None:
    async def scenario() -> None:
        log = ContainerLog(node.pods)
        log.numbered(2000)
        renamed = log.rotate()
        whole = gzip.compress(renamed.read_bytes())
        renamed.unlink()
        renamed.with_name(renamed.name + ".gz").write_bytes(whole[: len(whole) // 2])
        log.numbered(5)
        async with node.server(), node.agent():
            bodies = await node.until(lambda bodies: 2004 in numbers(bodies))
            # The line in which the file breaks off may lack a part of its number.
            got = numbers([body for body in bodies if b" " in body])
            assert got == sorted(set(got))
            assert len(got) > 500
            await asyncio.sleep(0.3)
        report = await node.verified()
        assert [loss["reason"] for loss in _losses(report)] == ["unreadable"]
        assert report["totals"]["missing_bytes"] == 0

    asyncio.run(scenario())


def test_quiet_containers_are_not_starved(node: Node) -> None:
    """Each request has room for every container, however much one of them has written."""

    async def scenario() -> None:
        logs = [ContainerLog(node.pods, pod=f"quiet-{index}") for index in range(50)]
        noisy = ContainerLog(node.pods, pod="noisy")
        noisy.numbered(60_000)
        for log in logs:
            log.numbered(1)
        async with node.server(), node.agent():
            first = await node.until(lambda bodies: len(bodies) > 0)
            assert len(first) < 60_000
            bodies = await node.until(lambda bodies: len(bodies) == 60_050)
            assert len(bodies) == 60_050
            rows = node.store.select(
                "SELECT namespace, uniqExact(stream) AS quiet, max(received) AS at FROM logs "
                "WHERE stream IN (SELECT stream FROM log_streams WHERE labels['pod'] != 'noisy') GROUP BY namespace"
            )
            quiet_at = rows["at"][0].as_py()
            noisy_at = node.store.select("SELECT max(received) AS at FROM logs")["at"][0].as_py()
            assert quiet_at < noisy_at

    asyncio.run(scenario())
