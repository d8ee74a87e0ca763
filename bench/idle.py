"""What kobs takes when nothing happens: all of `kobs up` on this machine, and an agent beside many old files."""

import tempfile
import time
from pathlib import Path

from bench.agent import agent
from bench.lines import ContainerLines
from bench.processes import Measured, Server, serving, until_quiet
from bench.results import Options, Result
from bench.writing import pod_folder

_WATCHED_SECONDS = 60.0
_FILES = 5000
_CONTAINERS = 200


def everything(_: Options) -> list[Result]:
    """`kobs up` observes this machine with its default settings."""
    with (
        tempfile.TemporaryDirectory(prefix="kobs-bench-") as name,
        serving(Path(name), command=("up",)) as server,
    ):
        time.sleep(10)
        until_quiet(server, share=0.2, seconds=5)
        cpu = _share(server)
        resident = server.resident_mib()
        found = server.output.read_text()
    node = next((line.split(":", 1)[1].split(";")[0].strip() for line in found.splitlines() if " node " in line), "")
    data = f"{_WATCHED_SECONDS:.0f} s on this machine: {node or 'nothing found'}"
    return [
        Result(name="idle", work="idle kobs up, CPU", measured=cpu * 100, unit="% of a core", budget=3, data=data),
        Result(name="idle", work="idle kobs up, resident", measured=resident, unit="MiB", budget=700, data=data),
    ]


def many_files(_: Options) -> list[Result]:
    """An agent knows 5,000 old plain files and 200 containers, and nothing is written."""
    with tempfile.TemporaryDirectory(prefix="kobs-bench-") as name:
        folder = Path(name)
        old, pods = folder / "old", folder / "pods"
        lines = ContainerLines(0, seed=4)
        for number in range(_FILES):
            place = old / f"{number % 50:02d}"
            place.mkdir(parents=True, exist_ok=True)
            text = "".join(f"{number} {lines.line(time.time_ns())}\n" for _ in range(5))
            (place / f"app-{number}.log").write_text(text)
        for number in range(_CONTAINERS):
            place = pod_folder(pods, number)
            place.mkdir(parents=True)
            content, _count = ContainerLines(number, seed=4).framed(
                start_ns=time.time_ns(), step_ns=1_000_000, size=2000
            )
            (place / "0.log").write_bytes(content)
        with serving(folder) as server, agent(server, folder=folder, pods=pods, files=f'["{old}/*/*.log"]') as process:
            _until_found(server, _FILES + _CONTAINERS)
            # Files that grew a while ago are looked at less often.
            time.sleep(35)
            until_quiet(process, share=0.5, seconds=5)
            cpu = _share(process, seconds=30)
            resident = process.resident_mib()
    data = f"{_FILES:,} old files and {_CONTAINERS} quiet containers, 30 s"
    return [
        Result(name="files", work="idle agent, CPU", measured=cpu * 100, unit="% of a core", budget=2, data=data),
        Result(name="files", work="idle agent, resident", measured=resident, unit="MiB", data=data),
    ]


def _share(process: Measured, *, seconds: float = _WATCHED_SECONDS) -> float:
    before, began = process.cpu_seconds(), time.monotonic()
    time.sleep(seconds)
    return (process.cpu_seconds() - before) / (time.monotonic() - began)


def _until_found(server: Server, sources: int) -> None:
    deadline = time.monotonic() + 180
    while True:
        found = server.get("/kobs/v1/verify")["totals"]
        if found["sources"] >= sources and not found["pending_bytes"]:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"not delivered: {found}")
        time.sleep(1)
