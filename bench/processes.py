"""Processes of kobs that are measured, and their CPU seconds and memory, children included. Ended by process id."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


class Measured:
    """A running process, and what it uses."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self._process = process
        self._ps = psutil.Process(process.pid)
        self.output = output

    def cpu_seconds(self) -> float:
        """Return the CPU seconds that it and its children have used."""
        total = 0.0
        for process in self._all():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total

    def resident_mib(self) -> float:
        """Return the memory that it and its children hold; what they share counts for each."""
        total = 0
        for process in self._all():
            with suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total / 2**20

    def check(self) -> None:
        """Raise if it has ended."""
        if self._process.poll() is not None:
            raise RuntimeError(f"a process of kobs ended by itself: {self.output.read_text()[-3000:]}")

    def stop(self) -> None:
        """End it as an operator does, by its id."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _all(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return [self._ps, *self._ps.children(recursive=True)]
        return []


@contextmanager
def peak_memory(process: Measured, *, every_seconds: float = 0.5) -> Iterator[list[float]]:
    """Look at the memory of a process while the block runs; what was seen, in MiB, is in the list behind it."""
    seen = [process.resident_mib()]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(every_seconds):
            seen.append(process.resident_mib())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


@contextmanager
def kobs(arguments: Sequence[str], *, folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[Measured]:
    """Run a command of kobs while the block runs. Its output goes to a file in `folder`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("KOBS_")}
    output = folder / f"{arguments[0]}.out"
    with output.open("ab") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "kobs", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**inherited, **(settings or {})},
        )
    measured = Measured(process, output)
    try:
        yield measured
        measured.check()
    finally:
        measured.stop()


class Server(Measured):
    """A `kobs server` or `kobs up` that answers at `url`."""

    url: str
    http: httpx.Client

    def get(self, path: str, **parameters: str | int) -> Any:
        """Return a JSON answer."""
        answer = self.http.get(self.url + path, params=parameters)
        answer.raise_for_status()
        return answer.json()

    def rows(self) -> int:
        """Return how many log rows it has inserted."""
        for line in self.http.get(f"{self.url}/metrics").text.splitlines():
            if line.startswith("kobs_ingest_log_rows_total "):
                return int(float(line.rpartition(" ")[2]))
        return 0


@contextmanager
def serving(
    folder: Path, *, command: Sequence[str] = ("server",), settings: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Run a server on a free port with a store of its own below `folder`, until it answers and while the block runs."""
    port = free_port()
    arguments = [*command, "--listen", f"127.0.0.1:{port}", "--data", str(folder / "data")]
    with (
        kobs(arguments, folder=folder, settings=settings) as process,
        httpx.Client(timeout=120, trust_env=False) as http,
    ):
        process.__class__ = Server
        assert isinstance(process, Server)
        process.url = f"http://127.0.0.1:{port}"
        process.http = http
        deadline = time.monotonic() + _START_SECONDS
        while True:
            process.check()
            with suppress(httpx.TransportError):
                if http.get(f"{process.url}/-/ready").status_code == httpx.codes.OK:
                    break
            if time.monotonic() > deadline:
                raise RuntimeError(f"the server is not ready: {process.output.read_text()[-3000:]}")
            time.sleep(0.1)
        yield process


def until_quiet(process: Measured, *, share: float = 0.05, seconds: float = 3.0, most_seconds: float = 180.0) -> float:
    """Wait until a process has used less than `share` of a core for `seconds`; return its CPU seconds before that."""
    deadline = time.monotonic() + most_seconds
    while True:
        process.check()
        before = process.cpu_seconds()
        time.sleep(seconds)
        if process.cpu_seconds() - before < share * seconds or time.monotonic() > deadline:
            return before


def free_port() -> int:
    """Return a port that was free just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
