"""The systemd journal: each record is stored once, whatever happens to agent, server and files, or is known as lost."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kobs.storage.clickhouse import Store
from tests.collectors.logs.journals import BEGINNING_NS, Journal, numbers, shown
from tests.collectors.logs.node import Node
from tests.faults import checks
from tests.faults.processes import machine

pytestmark = pytest.mark.clickhouse


@pytest.fixture
def store_url(engine_folder: Path) -> str:
    """The embedded engine alone: these tests are about files."""
    return f"chdb://{engine_folder}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a machine's journal."""
    made = tmp_path / "journal" / "0123456789abcdef0123456789abcdef"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def node(tmp_path: Path, folder: Path, store: Store) -> Node:
    """A node with an empty store and a journal."""
    return Node(tmp_path, store, **{"agent.journal": folder.parent, "agent.stream_bytes": 1 << 20})


def exactly(*journals: Journal) -> Callable[[list[bytes]], bool]:
    """Return what tells whether the bodies are what journalctl shows of each journal, in its order."""
    shown = sorted(journal.shown() for journal in journals)

    def reached(bodies: list[bytes]) -> bool:
        found = numbers(bodies)
        return any(found == [number for each in order for number in each] for order in (shown, shown[::-1]))

    return reached


def losses(report: dict[str, Any]) -> list[tuple[str, int, int | None]]:
    """Return the losses on record: reason, first number, number after the last."""
    return [(loss["reason"], loss["start"], loss["end"]) for source in report["sources"] for loss in source["losses"]]


def test_records_are_stored_with_their_message_unit_severity_and_time(node: Node, folder: Path) -> None:
    journal = Journal(folder)
    records: list[dict[str, bytes | None]] = [
        {"MESSAGE": b"text \xe6\x97\xa5", "PRIORITY": b"6", "_SYSTEMD_UNIT": b"a.service"},
        {"MESSAGE": b"not UTF-8 \xff\x00 {", "PRIORITY": b"3", "_SYSTEMD_UNIT": b"b.service"},
        {"MESSAGE": b"two\n  lines\n", "PRIORITY": b"4", "SYSLOG_IDENTIFIER": b"kernel"},
        {"MESSAGE": None, "PRIORITY": b"7", "_SYSTEMD_UNIT": b"a.service"},
        {"MESSAGE": b"", "PRIORITY": b"2", "_SYSTEMD_UNIT": b"a.service"},
        {"MESSAGE": b"x" * 50_000, "PRIORITY": b"5", "_SYSTEMD_UNIT": b"a.service"},
        {"MESSAGE": b"level=error no priority"},
    ]
    journal.write(records)

    async def scenario() -> None:
        async with node.server(), node.agent():
            bodies = await node.until(lambda bodies: len(bodies) == len(records))
            assert bodies == [record["MESSAGE"] or b"" for record in records]
            rows = node.store.select(
                "SELECT severity, toUnixTimestamp64Nano(ts) AS at, labels['unit'] AS unit FROM logs "
                "LEFT JOIN (SELECT DISTINCT stream, labels FROM log_streams) AS streams USING (stream) ORDER BY offset"
            )
            assert rows["severity"].to_pylist() == ["info", "error", "warn", "debug", "fatal", "info", "error"]
            assert rows["at"].to_pylist() == [BEGINNING_NS + index * 1_000_000 for index in range(len(records))]
            units = ["a.service", "b.service", "kernel", "a.service", "a.service", "a.service", ""]
            assert rows["unit"].to_pylist() == units
        assert (await node.verified())["ok"]

    asyncio.run(scenario())


def test_a_message_beyond_the_limit_is_cut_and_on_record(node: Node, folder: Path) -> None:
    """The 3 MiB are cut by the server; the 12 MiB are more than the agent holds in memory."""
    journal = Journal(folder)
    journal.numbered(1)
    journal.write([{"MESSAGE": b"y" * (3 << 20)}])
    journal.numbered(1)
    large = Journal(folder, "large")
    large.limited = False
    large.write([{"MESSAGE": b"number=90 first"}, {"MESSAGE": b"z" * (12 << 20)}, {"MESSAGE": b"number=91 last"}])

    async def scenario() -> None:
        async with node.server(), node.agent():
            bodies = await node.until(lambda bodies: len(bodies) == 5)
            assert sorted(numbers(bodies)) == [0, 2, 90, 91]
            assert b"y" * (1 << 20) in bodies
            await _until_settled(node)
        report = await node.verified()
        assert sorted(losses(report)) == [("line_too_long", 2, 2), ("line_too_long", 2, 3)]
        assert report["ok"]
        assert not report["totals"]["missing_bytes"]

    asyncio.run(scenario())


def test_the_agent_goes_on_where_it_was(node: Node, folder: Path) -> None:
    async def scenario() -> None:
        journal = Journal(folder)
        journal.numbered(20)
        async with node.server():
            for _ in range(3):
                async with node.agent():
                    await node.until(exactly(journal))
                    journal.numbered(5)
                    await node.until(exactly(journal))
                journal.numbered(5)
            async with node.agent():
                await node.until(exactly(journal))
        assert (await node.verified())["ok"]

    asyncio.run(scenario())


def test_a_batch_whose_answer_was_cut_is_read_again(node: Node, folder: Path) -> None:
    """The agent ends before it hears of it; the journal has grown and was rotated when the next one reads again."""

    async def scenario() -> None:
        journal = Journal(folder)
        journal.numbered(20)
        async with node.server():
            node.cut_answers = 1000
            async with node.agent():
                await node.until(exactly(journal))
                node.down = True
            journal.rotate()
            node.down, node.cut_answers = False, 0
            async with node.agent() as agent:
                assert [entry.pending.end for entry in agent._registry.logs.values() if entry.pending] == [21]
                await node.until(exactly(journal))
                await _until_settled(node)
        assert (await node.verified())["ok"]

    asyncio.run(scenario())


def test_rotation_goes_on_with_the_numbers(node: Node, folder: Path) -> None:
    async def scenario() -> None:
        journal = Journal(folder)
        journal.numbered(3)
        async with node.server():
            async with node.agent():
                journal.rotate()
                journal.numbered(3)
                await node.until(exactly(journal))
            journal.rotate()
            journal.numbered(3)
            async with node.agent():
                await node.until(exactly(journal))
            assert len(journal.archived()) == 2
        report = await node.verified()
        assert report["ok"]
        assert report["totals"]["segments"] == 1

    asyncio.run(scenario())


def test_records_vacuumed_while_the_agent_was_away_are_on_record(node: Node, folder: Path) -> None:
    async def scenario() -> None:
        journal = Journal(folder)
        journal.numbered(10)
        async with node.server():
            async with node.agent():
                await node.until(exactly(journal))
                await _until_settled(node)
            journal.rotate()
            journal.vacuum()
            left = journal.shown()
            async with node.agent():
                await node.until(lambda bodies: numbers(bodies) == [*range(10), *left])
                await _until_settled(node)
        report = await node.verified()
        first = journal.written - len(left) + 1
        assert [(reason, start) for reason, start, _ in losses(report)] == [("rotated_away", 11)]
        assert losses(report)[0][2] in (first, first + 1)
        assert report["totals"]["missing_bytes"] == 0
        assert report["totals"]["pending_bytes"] == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("was_stored", [True, False])
def test_a_pending_batch_that_was_vacuumed_is_lost_only_if_it_was_not_stored(
    node: Node, folder: Path, *, was_stored: bool
) -> None:
    async def scenario() -> None:
        journal = Journal(folder)
        journal.numbered(10)
        async with node.server():
            async with node.agent() as agent:
                if was_stored:
                    node.cut_answers = 1000
                await node.until(exactly(journal))
                if not was_stored:
                    await _until_settled(node)
                    node.down = True
                    journal.numbered(5)
                    await _until(lambda: any(entry.pending for entry in agent._registry.logs.values()))
            journal.rotate()
            journal.vacuum()
            left = journal.shown()
            node.down, node.cut_answers = False, 0
            async with node.agent():
                await node.until(lambda bodies: numbers(bodies) == [*range(10), *left])
                await _until_settled(node)
        report = await node.verified()
        assert [(reason, start) for reason, start, _ in losses(report)] == [("rotated_away", 11)]
        assert report["totals"]["missing_bytes"] == 0

    asyncio.run(scenario())


def test_sequences_side_by_side_are_each_whole(node: Node, folder: Path) -> None:
    """A user's journal beside the system's; its records are written late, with times before what was read already."""

    async def scenario() -> None:
        system, user = Journal(folder), Journal(folder, "user-1000")
        system.numbered(10)
        user.written = 1000
        user.begins_ns -= 3_600_000_000_000
        async with node.server():
            async with node.agent():
                await node.until(exactly(system))
                user.numbered(10)
                await node.until(exactly(system, user))
                for _ in range(3):
                    system.numbered(2)
                    user.numbered(2)
                await node.until(exactly(system, user))
            user.numbered(3)
            system.numbered(3)
            async with node.agent():
                await node.until(exactly(system, user))
                await _until_settled(node)
        report = await node.verified()
        assert report["ok"]
        assert report["totals"]["segments"] == 2

    asyncio.run(scenario())


def test_a_new_journal_in_place_of_the_old_one_is_a_new_segment(node: Node, folder: Path) -> None:
    async def scenario() -> None:
        old = Journal(folder)
        old.numbered(10)
        async with node.server():
            async with node.agent():
                await node.until(exactly(old))
                await _until_settled(node)
            old.path.unlink()
            new = Journal(folder)
            new.numbered(5)
            async with node.agent():
                await node.until(lambda bodies: numbers(bodies) == [*range(10), *range(5)])
                await _until_settled(node)
        report = await node.verified()
        assert report["ok"]
        assert report["totals"]["segments"] == 2
        # what the old journal had got meanwhile cannot be known
        assert losses(report) == [("gone_while_away", 11, None)]

    asyncio.run(scenario())


def test_an_agent_without_state_doubles_nothing(node: Node, folder: Path) -> None:
    async def scenario() -> None:
        system, user = Journal(folder), Journal(folder, "user-1000")
        system.numbered(10)
        user.written = 1000
        user.numbered(10)
        async with node.server():
            async with node.agent():
                await node.until(exactly(system, user))
                await _until_settled(node)
            node.lose_state()
            system.numbered(5)
            async with node.agent():
                await node.until(exactly(system, user))
                await _until_settled(node)
        report = await node.verified()
        assert report["ok"]
        assert report["totals"]["segments"] == 2

    asyncio.run(scenario())


def test_a_damaged_file_is_a_problem_and_stops_no_other(node: Node, folder: Path) -> None:
    """Rotated, it is on record; the records after it are read."""

    async def scenario() -> None:
        journal, other = Journal(folder), Journal(folder, "other")
        journal.rotate()
        other.numbered(3)
        damaged = journal.archived()[0]
        with damaged.open("r+b") as file:
            file.seek(12)  # the flags of features that a reader must know
            file.write(b"\xff" * 4)
        os.sync()
        left = shown([journal.path])
        async with node.server(), node.agent() as agent:
            await node.until(lambda bodies: sorted(numbers(bodies)) == sorted([*left, 0, 1, 2]))
            assert str(damaged) in agent._report().problems[0]

    asyncio.run(scenario())


def test_kills_lose_and_double_nothing(tmp_path: Path, folder: Path) -> None:
    """Processes: agent and server are killed while records come and files rotate."""
    with machine(tmp_path) as made:
        server = made.server()
        agent = made.agent(server.url, settings={"KOBS_AGENT__JOURNAL": str(folder.parent)})
        server.start()
        server.wait_until_ready()
        agent.start()
        journal = Journal(folder)
        for index in range(4):
            ends = time.monotonic() + 1.0 + 0.2 * index
            while time.monotonic() < ends:
                journal.numbered(50)
            if index == 1:
                journal.rotate()
            for program in (agent, server) if index % 2 else (agent,):
                program.kill()
                program.start()
        server.wait_until_ready()
        shown = journal.shown()
        start = str(BEGINNING_NS - 1)
        found = checks.until(
            lambda: [
                int(number)
                for entry in checks.entries(server.url, start=start)
                for number in [entry["line"].split()[0].removeprefix("number=")]
            ],
            lambda found: len(found) >= len(shown),
        )
        assert found == shown
        report = checks.until(
            lambda: checks.verify(server.url), lambda report: bool(report["totals"]["pending_bytes"] == 0)
        )
        checks.assert_whole(report)
        agent.stop()
        server.stop()


async def _until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def _until_settled(node: Node) -> None:
    """Wait until what the agent claims is stored or lost, and the server knows it."""
    deadline = time.monotonic() + 30
    while (report := await node.verified())["totals"]["pending_bytes"] or not report["sources"]:
        assert time.monotonic() < deadline, report["totals"]
        await asyncio.sleep(0.1)
