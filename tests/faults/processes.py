"""Agents and servers as processes, that a test starts, kills, suspends and starts again, each by its process id.

What they write goes to files; a test that fails prints the ends of them.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from tests.ports import free_port

_START_SECONDS = 40.0
_STOP_SECONDS = 20.0
_PRINTED_BYTES = 6000


class Program:
    """One program; it may run many times, one after the other. Its output is appended to one file."""

    def __init__(self, name: str, arguments: Sequence[str], *, settings: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.prefix: Sequence[str] = ()
        """A program that starts it, and becomes it."""
        self.output = folder / f"{name}.out"
        self._arguments = [sys.executable, "-m", *arguments]
        self._settings = dict(settings)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it must not run."""
        assert self._process is None
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("KOBS_")}
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [*self.prefix, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**inherited, **self._settings},
            )

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as an operator does; it must end well."""
        assert self._end(signal.SIGTERM) == 0, f"{self.name} did not stop cleanly"

    def suspend(self) -> None:
        """Take the processor from it, and return when it stands still."""
        process = self._running()
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        """Let it go on."""
        self._running().send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it, if it runs, in whatever state it is."""
        if self._process is not None:
            self.kill()

    def end_of_output(self) -> str:
        """Return the last part of what it has written."""
        content = self.output.read_bytes() if self.output.exists() else b""
        return content[-_PRINTED_BYTES:].decode(errors="replace")

    def has_failed(self) -> bool:
        """Whether it ended by itself, or wrote a traceback."""
        ended = self._process is not None and self._process.poll() is not None
        return ended or (self.output.exists() and b"Traceback (most recent call last)" in self.output.read_bytes())

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, f"{self.name} does not run"
        assert self._process.poll() is None, f"{self.name} has ended by itself:\n{self.end_of_output()}"
        return self._process

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        assert process is not None, f"{self.name} does not run"
        assert process.poll() is None, f"{self.name} has ended by itself:\n{self.end_of_output()}"
        process.send_signal(number)
        if number is signal.SIGKILL:
            process.send_signal(signal.SIGCONT)
        return process.wait(_STOP_SECONDS)


class ServerProgram(Program):
    """A `kobs server`."""

    def __init__(
        self, name: str, *, folder: Path, storage: str = "", settings: Mapping[str, str] | None = None
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.data = folder / f"{name}-data"
        arguments = ["kobs", "server", "--listen", f"127.0.0.1:{self.port}", "--data", str(self.data)]
        arguments += ["--storage", storage] if storage else []
        super().__init__(name, arguments, settings={"KOBS_STORAGE__THREADS": "4", **(settings or {})}, folder=folder)

    def wait_until_ready(self) -> None:
        """Return when it answers and its store does."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            self._running()
            with suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/-/ready", trust_env=False, timeout=5).status_code == httpx.codes.OK:
                    return
            assert time.monotonic() < deadline, f"{self.name} is not ready:\n{self.end_of_output()}"
            time.sleep(0.05)


class AgentProgram(Program):
    """A `kobs agent` that reads a folder of container logs."""

    def __init__(
        self, name: str, *, servers: Sequence[str], folder: Path, pods: Path, settings: Mapping[str, str] | None = None
    ) -> None:
        self.state = folder / f"{name}-state"
        arguments = ["kobs", "agent", "--state", str(self.state), "--pod-logs", str(pods)]
        arguments += ["--node", "n1", "--cluster", "c1"]
        for url in servers:
            arguments += ["--server", url]
        own = {
            "KOBS_AGENT__FILES": "[]",
            "KOBS_AGENT__JOURNAL": "",
            "KOBS_AGENT__POLL_MS": "20",
            "KOBS_AGENT__HOLD_MS": "100",
            "KOBS_AGENT__HOST_METRICS_SECONDS": "3600",
        }
        super().__init__(name, arguments, settings={**own, **(settings or {})}, folder=folder)


class Machine:
    """A machine's folders, and the programs of a test on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pods = root / "pods"
        self.pods.mkdir()
        self.programs: list[Program] = []

    def server(
        self, name: str = "server", *, storage: str = "", settings: Mapping[str, str] | None = None
    ) -> ServerProgram:
        """Return a new server, not started."""
        program = ServerProgram(name, folder=self.root, storage=storage, settings=settings)
        self.programs.append(program)
        return program

    def agent(self, *servers: str, name: str = "agent", settings: Mapping[str, str] | None = None) -> AgentProgram:
        """Return a new agent that ships to `servers`, not started."""
        program = AgentProgram(name, servers=servers, folder=self.root, pods=self.pods, settings=settings)
        self.programs.append(program)
        return program


@contextmanager
def machine(root: Path) -> Iterator[Machine]:
    """Lend a machine; at the end its programs are killed, their output is printed, and none may have failed."""
    made = Machine(root)
    try:
        yield made
    finally:
        failed = [program.name for program in made.programs if program.has_failed()]
        for program in made.programs:
            with suppress(AssertionError):
                program.close()
            # pytest shows it where the test fails
            sys.stdout.write(f"--- {program.name}\n{program.end_of_output()}\n")
    assert not failed, f"ended by themselves, or wrote a traceback: {', '.join(failed)}"
