"""`kobs logs` as a process against a real server: what it prints, in a pipe and on a terminal, and how it follows."""

import contextlib
import functools
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from kobs.cli.log_lines import as_bytes, as_json, on_terminal
from kobs.config import ServerSettings
from kobs.storage.clickhouse import Store
from tests.api.conftest import store as store  # noqa: PLC0414 - a fixture is used by being named here
from tests.api.server import Server, serve
from tests.api.test_logs import record, wait_for
from tests.ports import free_port
from tests.query.rows import SHOP, Entry, insert

NOW_NS = time.time_ns()
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("KOBS_")} | {"TZ": "UTC"}
ROOT = Path(__file__).parent.parent.parent


def entry(line: str, **values: object) -> dict[str, object]:
    return {
        "time": "1767323045000000007",
        "line": line,
        "labels": SHOP,
        "severity": "error",
        "position": "1:2:3",
        **values,
    }


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "kobs", "logs", *arguments],
        env=ENVIRONMENT | variables,
        capture_output=True,
        timeout=60,
        check=False,
    )


class TestLines:
    def test_a_pipe_gets_the_exact_bytes(self) -> None:
        line = as_bytes(entry("a \ufffd\x1b[31m", line_base64="YSD/G1szMW0="))
        assert line == b"2026-01-02T03:04:05.000000007Z error shop/web-1/app a \xff\x1b[31m\n"

    def test_a_terminal_gets_no_control_characters(self) -> None:
        line = on_terminal(entry("", line_base64="G10wO3gHYf8N4oCu"), in_colour=False)
        assert b"shop/web-1/app \\x1b]0;x\\x07a\\xff\\x0d\\u202e\n" in line
        hostile = entry("x", labels={"pod": "\x1b[2J", "namespace": "n"}, severity="\x07")
        assert b"\x1b" not in on_terminal(hostile, in_colour=False)
        assert b"\x07" not in on_terminal(hostile, in_colour=False)

    def test_further_lines_of_an_entry_are_indented(self) -> None:
        assert on_terminal(entry("one\ntwo\t2\n"), in_colour=False).endswith(b"app one\n    two\t2\n")

    def test_colours_are_closed(self) -> None:
        line = on_terminal(entry("x"), in_colour=True)
        assert line.count(b"\x1b[0m") == 3
        assert b"\x1b[31merror\x1b[0m" in line

    def test_a_file_of_a_host_is_named_by_node_and_path(self) -> None:
        host = entry("x", labels={"node": "n1", "filename": "/var/log/syslog"})
        assert b" n1/var/log/syslog x" in as_bytes(host)

    def test_json_is_one_line(self) -> None:
        assert json.loads(as_json(entry("a\n\u2028"))) == entry("a\n\u2028")
        assert as_json(entry("a\n")).count(b"\n") == 1


@pytest.fixture
def server(store: Store) -> Iterator[Server]:
    with serve(store) as running:
        yield running


def lines_of(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    assert done.returncode == 0, done.stderr
    return [line.rsplit(maxsplit=1)[-1] for line in done.stdout.decode().splitlines()]


@pytest.mark.clickhouse
class TestSearch:
    def test_the_newest_lines_come_oldest_first(self, store: Store, server: Server) -> None:
        insert(store, [Entry(NOW_NS + number, body=b"l%d" % number, offset=number) for number in range(2500)])
        done = run("--server", server.url, "-n", "2300", "--namespace", "shop", "--since", "1h")
        assert lines_of(done) == [f"l{number}" for number in range(200, 2500)]
        assert b"there are more than these 2300 lines; -n shows more" in done.stderr
        done = run("--server", server.url, "-n", "3000", "--token", "l7", "--json")
        assert [json.loads(line)["line"] for line in done.stdout.splitlines()] == ["l7"]
        assert done.stderr == b""

    def test_known_losses_are_told_on_standard_error(self, store: Store, server: Server) -> None:
        record(store, first_ts=NOW_NS, last_ts=NOW_NS)
        done = run("--server", server.url)
        assert done.returncode == 0
        assert done.stdout == b""
        assert b"kobs: 1 known loss in this window (rotated_away)" in done.stderr

    def test_an_error_of_the_server_is_one_line(self, server: Server) -> None:
        done = run("--server", server.url, "--regex", "(")
        assert done.returncode == 1
        assert done.stderr.startswith(b"kobs: regex='(': expected a regular expression in RE2's syntax")
        assert done.stderr.count(b"\n") == 1

    def test_server_and_token_come_from_the_settings(self, store: Store) -> None:
        insert(store, [Entry(NOW_NS, body=b"hello")])
        with serve(store, ServerSettings(token=SecretStr("t0ken"))) as server:
            listen = f"127.0.0.1:{server.port}"
            assert lines_of(run(KOBS_SERVER__LISTEN=listen, KOBS_SERVER__TOKEN="t0ken")) == ["hello"]
            done = run(KOBS_SERVER__LISTEN=listen)
        assert done.returncode == 2
        assert b"KOBS_SERVER__TOKEN" in done.stderr

    def test_a_reader_that_has_seen_enough_is_no_error(self, store: Store, server: Server) -> None:
        insert(store, [Entry(NOW_NS + number, body=b"x" * 1000, offset=number) for number in range(500)])
        program = (
            f"{sys.executable} -m kobs logs --server {server.url} -n 500 | head -n 1 | wc -l; echo ${{PIPESTATUS[0]}}"
        )
        done = subprocess.run(
            ["bash", "-c", program], env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
        )
        assert (done.stdout.split(), done.stderr) == (["1", "0"], "")

    @pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}], ids=["colour", "NO_COLOR"])
    def test_a_terminal_is_in_colour_unless_told_otherwise(
        self,
        store: Store,
        server: Server,
        variables: dict[str, str],
    ) -> None:
        insert(store, [Entry(NOW_NS, body=b"hello", severity="error")])
        controller, terminal = pty.openpty()
        try:
            subprocess.run(
                [sys.executable, "-m", "kobs", "logs", "--server", server.url],
                env=ENVIRONMENT | variables,
                stdout=terminal,
                timeout=60,
                check=True,
            )
            shown = os.read(controller, 10_000)
        finally:
            os.close(controller)
            os.close(terminal)
        assert b"hello" in shown
        assert (b"\x1b[31merror\x1b[0m" in shown) is not bool(variables)


class TestUsage:
    def test_no_server_is_told_with_what_to_do(self) -> None:
        done = run("--server", f"http://127.0.0.1:{free_port()}")
        assert done.returncode == 1
        assert b"start one with `kobs up`, or name it with --server" in done.stderr

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--since", "1h", "--start", "1"], b"two ways"),
            (["--since", "tomorrow"], b"--since: duration 'tomorrow'"),
            (["-f", "--end", "1"], b"--follow has no end"),
            (["--server", "127.0.0.1:9700"], b"expected a URL"),
        ],
        ids=["since and start", "since", "follow and end", "server"],
    )
    def test_wrong_usage_exits_2(self, arguments: list[str], message: bytes) -> None:
        done = run(*arguments)
        assert done.returncode == 2
        assert message in done.stderr


class Follower:
    """`kobs logs -f` as a process, and what it has printed so far."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kobs", "logs", "-f", *arguments],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.printed: list[str] = []
        self.told: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.printed)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.told)),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, pipe: Iterator[str], into: list[str]) -> None:
        for line in pipe:
            into.append(line.rstrip("\n").rsplit(maxsplit=1)[-1] if into is self.printed else line)

    def has_printed(self, line: str) -> bool:
        return line in self.printed

    def stop(self) -> int:
        """Interrupt it, as Ctrl-C does, and return its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(timeout=30)
        for reader in self._readers:
            reader.join()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.stdout.close()
        self.process.stderr.close()
        return code


@contextlib.contextmanager
def followed(*arguments: str) -> Iterator[Follower]:
    follower = Follower(*arguments)
    try:
        yield follower
    finally:
        if follower.process.stdout is not None and not follower.process.stdout.closed:
            follower.stop()


@pytest.mark.clickhouse
class TestFollow:
    def test_it_goes_on_over_lost_connections_without_gaps_and_repeats(self, store: Store) -> None:
        """Lines arrive all the time, some with old times, while the server goes and comes twice."""
        port = free_port()
        stopping = threading.Event()
        written: list[str] = []

        def write() -> None:
            while not stopping.is_set():
                number = len(written)
                time_ns = NOW_NS - (number % 7) * 1_000_000_000
                received_ms = time.time_ns() // 1_000_000
                insert(store, [Entry(time_ns, body=b"n%d" % number, offset=number, received_ms=received_ms)])
                written.append(f"n{number}")
                stopping.wait(0.01)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            with contextlib.ExitStack() as stack:
                with serve(store, port=port):
                    follower = stack.enter_context(followed("--server", f"http://127.0.0.1:{port}", "-n", "100000"))
                    wait_for(lambda: len(follower.printed) > 20, seconds=40)
                for _ in range(2):
                    wait_for(lambda: any("trying again" in line for line in follower.told))
                    follower.told.clear()
                    while_away = written[-1]
                    with serve(store, port=port):
                        wait_for(functools.partial(follower.has_printed, while_away), seconds=40)
                with serve(store, port=port):
                    stopping.set()
                    writer.join()
                    wait_for(lambda: follower.has_printed(written[-1]), seconds=40)
                    assert follower.stop() == 130
        finally:
            stopping.set()
            writer.join()
        assert sorted(follower.printed) == sorted(written)

    def test_without_a_server_there_is_nothing_to_follow(self) -> None:
        with followed("--server", f"http://127.0.0.1:{free_port()}") as follower:
            assert follower.wait() == 1

    def test_only_what_matches_is_followed(self, store: Store, server: Server) -> None:
        insert(store, [Entry(NOW_NS, body=b"old", received_ms=NOW_NS // 1_000_000)])
        with followed("--server", server.url, "-n", "1", "--severity", "info", "--pod", "web-1") as follower:
            wait_for(lambda: follower.printed == ["old"], seconds=40)
            received_ms = time.time_ns() // 1_000_000
            insert(
                store,
                [
                    Entry(NOW_NS, body=b"debug", severity="debug", offset=1, received_ms=received_ms),
                    Entry(NOW_NS, body=b"other", labels={**SHOP, "pod": "web-2"}, offset=2, received_ms=received_ms),
                    Entry(NOW_NS, body=b"new", offset=3, received_ms=received_ms),
                ],
            )
            wait_for(lambda: "new" in follower.printed)
            assert follower.printed == ["old", "new"]
