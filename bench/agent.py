"""What the agent takes to deliver container logs to a real server: written steadily, and as a backlog."""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.lines import ContainerLines
from bench.processes import Measured, Server, kobs, peak_memory, serving
from bench.results import Options, Result
from bench.writing import pod_folder

_CONTAINERS = 200
_RATE_BYTES = 5 * 2**20
_STEADY_SECONDS = 20.0
_BACKLOG_BYTES = 200 * 2**20
_DELIVERY_SECONDS = 300.0


def steady(_: Options) -> list[Result]:
    """200 containers write 5 MiB/s together."""
    with tempfile.TemporaryDirectory(prefix="kobs-bench-") as name:
        folder = Path(name)
        pods = folder / "pods"
        pods.mkdir()
        amount = ["--containers", str(_CONTAINERS), "--bytes-a-second", str(_RATE_BYTES)]
        amount += ["--seconds", str(_STEADY_SECONDS)]
        writer = subprocess.Popen(
            [sys.executable, "-m", "bench.writing", str(pods), *amount],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdin is not None
        assert writer.stdout is not None
        try:
            writer.stdout.readline()
            with serving(folder) as server, agent(server, folder=folder, pods=pods) as process:
                time.sleep(3)
                before = process.cpu_seconds()
                with peak_memory(process) as peak:
                    writer.stdin.write("go\n")
                    writer.stdin.flush()
                    total = int(writer.stdout.readline())
                    _until_delivered(server, total)
                used = process.cpu_seconds() - before
        finally:
            writer.kill()
            writer.wait()
    mib = total / 2**20
    data = f"{mib:.0f} MiB in {_STEADY_SECONDS:.0f} s, {_CONTAINERS} containers"
    return [
        Result(
            name="agent",
            work="agent, container logs",
            measured=used / mib,
            unit="core per MiB/s",
            budget=0.05,
            data=data,
        ),
        Result(
            name="agent",
            work="agent, resident memory",
            measured=max(peak),
            unit="MiB",
            budget=100,
            data=f"{data}, peak",
        ),
    ]


def backlog(_: Options) -> list[Result]:
    """200 MiB are there when the agent starts."""
    with tempfile.TemporaryDirectory(prefix="kobs-bench-") as name:
        folder = Path(name)
        pods = folder / "pods"
        total = 0
        size = _BACKLOG_BYTES // _CONTAINERS
        for number in range(_CONTAINERS):
            place = pod_folder(pods, number)
            place.mkdir(parents=True)
            lines = ContainerLines(number, seed=2)
            content, _count = lines.framed(
                start_ns=time.time_ns() - 3_600_000_000_000 + number, step_ns=600_000_000, size=size
            )
            (place / "0.log").write_bytes(content)
            total += len(content)
        with serving(folder) as server, agent(server, folder=folder, pods=pods) as process:
            with peak_memory(process) as peak:
                _until_delivered(server, total)
            used = process.cpu_seconds()
    mib = total / 2**20
    data = f"a backlog of {mib:.0f} MiB in {_CONTAINERS} files, the agent's start included"
    return [
        Result(
            name="backlog",
            work="agent, catching up",
            measured=used / mib,
            unit="core per MiB/s",
            budget=0.05,
            data=data,
        ),
        Result(name="backlog", work="agent, resident memory", measured=max(peak), unit="MiB", data=f"{data}, peak"),
    ]


@contextlib.contextmanager
def agent(server: Server, *, folder: Path, pods: Path, files: str = "[]") -> Iterator[Measured]:
    """Run an agent that reads a folder of container logs."""
    arguments = ["agent", "--server", server.url, "--state", str(folder / "state"), "--pod-logs", str(pods)]
    settings = {"KOBS_AGENT__FILES": files, "KOBS_AGENT__JOURNAL": ""}
    with kobs([*arguments, "--node", "n1", "--cluster", "c1"], folder=folder, settings=settings) as process:
        yield process


def _until_delivered(server: Server, total: int) -> None:
    """Return when the server says that all bytes are stored; each once, or the figures are worthless."""
    deadline = time.monotonic() + _DELIVERY_SECONDS
    rows = -1
    while True:
        server.check()
        before, rows = rows, server.rows()
        if rows == before:
            totals = server.get("/kobs/v1/verify")["totals"]
            if totals["delivered_bytes"] == total:
                break
        if time.monotonic() > deadline:
            raise RuntimeError(f"not delivered in {_DELIVERY_SECONDS:.0f} s: {rows} rows")
        time.sleep(1.0)
    if totals["missing_bytes"] or totals["doubled_rows"] or totals["lost_bytes"]:
        raise RuntimeError(f"delivered wrongly: {totals}")
