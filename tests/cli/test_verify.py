"""`kobs verify` against a real server over a real store, and its second reading of the files of a real agent."""

import asyncio
import contextlib
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click.testing
import pyarrow as pa
import pytest

from kobs.cli import kobs
from kobs.errors import KobsError
from kobs.storage.clickhouse import Store
from kobs.storage.log_writes import LOG_ROWS
from tests.api.server import serve
from tests.collectors.logs.node import Node
from tests.ports import free_port
from tests.writing import ContainerLog, compress, numbers

COLUMNS = ", ".join(LOG_ROWS.names)


@dataclass(frozen=True)
class Told:
    """What the command said."""

    code: int
    text: str
    errors: str

    @property
    def answer(self) -> dict[str, Any]:
        return dict(json.loads(self.text))

    @property
    def files(self) -> dict[str, dict[str, Any]]:
        """The files' reports by file name."""
        return {Path(each["path"]).name: each for each in self.answer["files"]}


Verify = Callable[..., Told]


@pytest.fixture
def store_url(engine_folder: Path) -> str:
    """The embedded engine alone: how it is reached makes no difference to a client of the server."""
    return f"chdb://{engine_folder}"


@pytest.fixture
def node(tmp_path: Path, store: Store) -> Node:
    return Node(tmp_path, store)


@pytest.fixture
def verify(store: Store) -> Iterator[Verify]:
    """What runs `kobs verify` against a server over the store."""
    with serve(store) as server:

        def run(*arguments: object) -> Told:
            words = ["verify", "--server", server.url, *map(str, arguments)]
            done = click.testing.CliRunner().invoke(kobs, words)
            if isinstance(done.exception, KobsError):
                return Told(1, done.stdout, str(done.exception))  # as kobs.cli.main tells it
            assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
            return Told(done.exit_code, done.stdout, done.stderr)

        yield run


def deliver(node: Node, *steps: Callable[[], object], until: int) -> None:
    """Run an agent while files are written, until as many numbered lines are stored."""

    async def scenario() -> None:
        async with node.server(), node.agent():
            for step in steps:
                step()
                await asyncio.sleep(0.1)
            await node.until(lambda bodies: len(numbers(bodies)) >= until)
            await asyncio.sleep(0.3)

    asyncio.run(scenario())


def identity(*, cluster: str = "c1", name: str = "n1") -> tuple[str, ...]:
    return ("--cluster", cluster, "--node", name)


def rows_of(store: Store, condition: str) -> pa.Table:
    return store.select(f"SELECT {COLUMNS} FROM logs WHERE {condition} ORDER BY segment, offset", binary=True)


def replace_row(store: Store, offset: int, change: dict[str, Any] | None) -> None:
    """Delete the row at an offset, and put a changed one there if one is given."""
    (row,) = rows_of(store, f"offset = {offset}").to_pylist()
    store.command(f"DELETE FROM logs WHERE offset = {offset}", settings={"lightweight_deletes_sync": 2})
    if change is not None:
        store.insert("logs", pa.Table.from_pylist([row | change], schema=LOG_ROWS))


def middle_offset(store: Store) -> int:
    offsets = rows_of(store, "1")["offset"].to_pylist()
    return int(offsets[len(offsets) // 2])


@pytest.mark.clickhouse
def test_all_delivered_is_ok_by_claims_and_by_the_files(node: Node, verify: Verify) -> None:
    log = ContainerLog(node.pods)
    plain = node.files / "app.log"
    plain.write_text("".join(f"number={number} plain\n" for number in range(50)))
    deliver(node, lambda: log.numbered(300), until=350)
    told = verify()
    assert told.code == 0
    assert "shop/web-1/app" in told.text
    assert str(plain) in told.text
    assert told.text.splitlines()[-1].startswith("ok: every line that was seen is stored exactly once (2 sources, ")
    told = verify("--files", node.pods, *identity(), "--json")
    assert (told.code, told.answer["ok"]) == (0, True)
    size = log.path.stat().st_size
    assert told.files["0.log"]["covered_bytes"] == size
    assert told.files["0.log"]["unchecked"] == []
    told = verify("--files", node.files, *identity(), "--json")
    assert (told.code, told.files["app.log"]["covered_bytes"]) == (0, plain.stat().st_size)


@pytest.mark.clickhouse
def test_rotated_compressed_and_interleaved_files_are_covered_to_the_byte(node: Node, verify: Verify) -> None:
    """Stack traces of two streams that interleave, partial lines, an entry over a rotation, a .gz, invalid UTF-8."""
    log = ContainerLog(node.pods)

    def first() -> None:
        log.numbered(100)
        log.line(b"number=100 Traceback (most recent call last):", stream="stderr")
        log.line(b"number=101 between", stream="stdout")
        log.line(b'  File "a.py", line 1, in <module>', stream="stderr")
        log.line(b"part ", tag="P")
        log.line(b"ValueError: x", stream="stderr")
        log.line(b"and number=102 \xff\xfe", tag="F")
        log.written = 103

    def over_the_rotation() -> None:
        log.line(b"begin ", tag="P")
        log.rotate()
        log.line(b"number=103 end", tag="F")
        log.written = 104
        log.numbered(20)

    def again() -> None:
        renamed = log.rotate()
        log.numbered(10)
        compress(renamed)

    deliver(node, first, over_the_rotation, again, until=134)
    told = verify("--files", node.pods, *identity(), "--json")
    assert told.code == 0, told.text
    assert sorted(told.files) == ["0.log", "0.log.20261122-000001", "0.log.20261122-000002.gz"]
    for path in log.folder.iterdir():
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        report = told.files[path.name]
        assert (report["covered_bytes"], report["unchecked"], report["findings"]) == (len(data), [], [])


@pytest.mark.clickhouse
def test_a_deleted_row_is_found_by_both(node: Node, store: Store, verify: Verify) -> None:
    log = ContainerLog(node.pods)
    deliver(node, lambda: log.numbered(200), until=200)
    offset = middle_offset(store)
    size = rows_of(store, f"offset = {offset}")["size"][0].as_py()
    replace_row(store, offset, None)
    told = verify()
    assert told.code == 1
    assert f"missing: {size} B of segment" in told.text
    assert told.text.splitlines()[-1].startswith(f"FAILED: {size} B missing")
    told = verify("--files", node.pods, *identity(), "--json")
    report = told.files["0.log"]
    assert (told.code, report["missing_bytes"]) == (1, size)
    assert report["findings"] == [f"bytes {offset} to {offset + size} are not stored and no loss is on record"]


@pytest.mark.clickhouse
def test_a_deleted_last_row_is_missing_and_not_pending(node: Node, store: Store, verify: Verify) -> None:
    log = ContainerLog(node.pods)
    deliver(node, lambda: log.numbered(50), until=50)
    replace_row(store, int(rows_of(store, "1")["offset"].to_pylist()[-1]), None)
    told = verify("--files", node.pods, *identity(), "--json")
    assert told.code == 1
    assert told.files["0.log"]["missing_bytes"] > 0
    assert told.files["0.log"]["pending_bytes"] == 0


@pytest.mark.clickhouse
def test_a_doubled_row_is_found_by_both(node: Node, store: Store, verify: Verify) -> None:
    log = ContainerLog(node.pods)
    deliver(node, lambda: log.numbered(200), until=200)
    store.insert("logs", rows_of(store, f"offset = {middle_offset(store)}"))
    told = verify()
    assert told.code == 1
    assert told.text.splitlines()[-1].startswith("FAILED: 1 rows doubled")
    told = verify("--files", node.pods, *identity(), "--json")
    assert (told.code, told.files["0.log"]["doubled_rows"], told.files["0.log"]["missing_bytes"]) == (1, 1, 0)


@pytest.mark.clickhouse
@pytest.mark.parametrize("length", [0, 5], ids=["other content", "shorter content"])
def test_only_the_files_tell_of_a_changed_body(node: Node, store: Store, verify: Verify, length: int) -> None:
    log = ContainerLog(node.pods)
    deliver(node, lambda: log.numbered(200), until=200)
    offset = middle_offset(store)
    body = rows_of(store, f"offset = {offset}")["body"][0].as_py()
    replace_row(store, offset, {"body": body[:length] if length else b"x" * len(body)})
    assert verify().code == 0
    told = verify("--files", node.pods, *identity(), "--json")
    report = told.files["0.log"]
    assert (told.code, report["altered_rows"], report["missing_bytes"]) == (1, 1, 0)
    assert report["findings"] == [f"the row at {offset} does not hold what its lines do"]


@pytest.mark.clickhouse
def test_a_file_that_no_agent_saw_is_told(node: Node, verify: Verify) -> None:
    log = ContainerLog(node.pods)
    deliver(node, lambda: log.numbered(20), until=20)
    unseen = ContainerLog(node.pods, pod="web-2")
    unseen.numbered(5)
    old = 1_700_000_000
    os.utime(unseen.path, (old, old))
    assert verify().code == 0
    told = verify("--files", node.pods, *identity(), "--json")
    assert told.code == 1
    report = next(each for each in told.answer["files"] if each["source"] == "shop/web-2/app")
    assert (report["unseen"], report["missing_bytes"]) == (True, unseen.path.stat().st_size)
    assert report["findings"] == ["the store knows nothing of it"]


@pytest.mark.clickhouse
def test_lines_just_written_are_pending_and_no_failure(node: Node, verify: Verify) -> None:
    log = ContainerLog(node.pods)
    deliver(node, lambda: log.numbered(20), until=20)
    before = log.path.stat().st_size
    log.numbered(5)
    told = verify("--files", node.pods, *identity(), "--json")
    assert (told.code, told.files["0.log"]["pending_bytes"]) == (0, log.path.stat().st_size - before)


@pytest.mark.clickhouse
def test_known_losses_are_told_with_reason_and_window(node: Node, verify: Verify) -> None:
    """A file that is deleted while the agent is down, after it had grown: what was claimed of it is on record."""
    log = ContainerLog(node.pods)
    deliver(node, lambda: log.numbered(30), until=30)
    log.numbered(30)
    log.rotate().unlink()
    log.numbered(10)
    deliver(node, until=40)
    told = verify()
    assert told.code == 1
    assert "rotated_away: an unknown number of bytes of segment" in told.text
    # A window within one second is told as a moment.
    assert ", between 20" in told.text or ", at 20" in told.text
    assert "1 losses of unknown size" in told.text.splitlines()[-1]
    told = verify("--files", node.pods, *identity(), "--json")
    assert told.files["0.log"]["missing_bytes"] == 0


@pytest.mark.clickhouse
def test_a_line_over_the_limit_is_on_record_and_no_failure(node: Node, verify: Verify) -> None:
    node.overrides |= {"server.max_line_bytes": 1000}
    log = ContainerLog(node.pods)

    def write() -> None:
        log.numbered(10)
        log.line(b"number=10 " + b"y" * 5000)
        log.written = 11
        log.numbered(10)

    deliver(node, write, until=21)
    told = verify("--files", node.pods, *identity())
    assert told.code == 0, told.text
    assert "line_too_long: 3.9 KiB of segment" in told.text


@pytest.mark.clickhouse
def test_the_rest_of_a_very_long_line_is_on_record(node: Node, verify: Verify) -> None:
    """A line beyond the longest batch is cut while it is read: its rest is a loss of its own, in no row."""
    plain = node.files / "app.log"
    long = b"number=1 " + b"y" * (5 * 1024 * 1024)
    plain.write_bytes(b"number=0\n" + long + b"\nnumber=2\n")
    deliver(node, until=3)
    told = verify("--files", node.files, *identity(), "--json")
    report = told.files["app.log"]
    assert (told.code, report["findings"], report["unchecked"]) == (0, [], [])
    assert report["lost_bytes"] > 3 * 1024 * 1024
    assert report["covered_bytes"] + report["lost_bytes"] == plain.stat().st_size


@pytest.mark.clickhouse
def test_what_cannot_be_checked_is_told_and_no_failure(node: Node, verify: Verify) -> None:
    """The file in which an entry began is gone; a compressed plain file is known by another inode."""
    log = ContainerLog(node.pods)
    plain = node.files / "app.log"
    plain.write_text("number=0 a\nnumber=1 b\n")

    def over_the_rotation() -> None:
        log.line(b"number=2 begin ", tag="P")
        log.rotate()
        log.line(b"end", tag="F")
        log.line(b"number=3")

    deliver(node, over_the_rotation, until=4)
    (log.folder / "0.log.20261122-000001").unlink()
    told = verify("--files", node.pods, *identity(), "--json")
    report = told.files["0.log"]
    assert (told.code, report["missing_bytes"]) == (0, 0)
    assert [each.partition(" may belong")[0] for each in report["unchecked"]] == ["bytes 0 to 44"]
    plain.rename(plain.with_name("app.log.1"))
    compress(plain.with_name("app.log.1"))
    plain.write_text("")
    told = verify("--files", node.files, *identity(), "--json")
    report = told.files["app.log.1.gz"]
    assert (told.code, report["missing_bytes"], len(report["unchecked"])) == (0, 0, 1)


@pytest.mark.clickhouse
def test_a_truncated_file_that_begins_alike_is_compared_with_its_own_rows(node: Node, verify: Verify) -> None:
    plain = node.files / "app.log"
    plain.write_text("number=0 start\nnumber=1 first\nnumber=2 first\n")

    async def scenario() -> None:
        async with node.server(), node.agent():
            await node.until(lambda bodies: len(bodies) == 3)
            plain.write_text("number=0 start\nnumber=1 then\n")
            await node.until(lambda bodies: len(bodies) == 5)
            await asyncio.sleep(0.3)

    asyncio.run(scenario())
    told = verify("--files", node.files, *identity(), "--json")
    report = told.files["app.log"]
    assert (told.code, report["covered_bytes"], report["findings"]) == (0, plain.stat().st_size, [])


@pytest.mark.clickhouse
def test_a_wrong_node_name_is_told_with_those_that_there_are(node: Node, verify: Verify) -> None:
    log = ContainerLog(node.pods)
    deliver(node, lambda: log.numbered(5), until=5)
    old = 1_700_000_000
    os.utime(log.path, (old, old))
    told = verify("--files", node.pods, *identity(name="n2"))
    assert told.code != 0
    assert "from node 'n2' of cluster 'c1'" in told.errors
    assert "the store knows --cluster 'c1' --node 'n1'" in told.errors


@pytest.mark.clickhouse
def test_sources_are_chosen_by_label(node: Node, verify: Verify) -> None:
    logs = [ContainerLog(node.pods, pod=name) for name in ("web-1", "web-2")]
    deliver(node, *(lambda each=log: each.numbered(5) for log in logs), until=10)
    answer = verify("--pod", "web-2", "--json").answer
    assert [each["labels"]["pod"] for each in answer["sources"]] == ["web-2"]
    assert answer["totals"]["sources"] == 1


@pytest.mark.clickhouse
def test_an_empty_store_is_ok_and_says_so(verify: Verify) -> None:
    told = verify()
    assert (told.code, told.text) == (0, "nothing: no agent has told of any log yet\n")


def test_a_server_that_is_not_there_is_one_clear_line_and_exit_code_1() -> None:
    port = free_port()
    done = subprocess.run(
        [sys.executable, "-m", "kobs", "verify", "--server", f"http://127.0.0.1:{port}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"kobs: no kobs answers at http://127.0.0.1:{port}")
    with contextlib.suppress(json.JSONDecodeError):
        assert json.loads(done.stdout) is None
