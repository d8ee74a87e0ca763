"""What the server takes for samples until they are stored and merged: from agents, and by remote write."""

import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import msgspec
import numpy as np

from bench.processes import Measured, Server, serving, until_quiet
from bench.prometheus import running_prometheus
from bench.results import Options, Result
from bench.series import STEP_MS, MovingSeries
from bench.write_requests import MESSAGES, Maker
from kobs.model.labels import canonical
from kobs.wire.samples import SampleAnswer, SampleRequest, SampleStatus, encode

_TABLES = ("metric_samples", "metric_series")
_AGENTS = 4
_SERIES_TOLD = 20_000
_SAMPLES_A_REQUEST = 2000
"""What Prometheus sends at once by default, and for up to 50 requests at a time."""
_SENDERS = 50


def measure(options: Options) -> list[Result]:
    """Frames of agents; remote write 1.0 and 2.0, beside the same to a Prometheus; a steady load."""
    return [*_frames(options), *_remote_write(options), *_steady(options)]


def _frames(options: Options) -> list[Result]:
    series, steps = (100_000, 120) if options.full else (20_000, 240)
    with tempfile.TemporaryDirectory(prefix="kobs-bench-") as name:
        folder = Path(name)
        with serving(folder) as server:
            made = [_made_frames(agent, series // _AGENTS, steps) for agent in range(_AGENTS)]
            before = until_quiet(server)
            _post_frames(server, [telling for telling, _ in made])
            told = until_quiet(server)
            _post_frames(server, [frames for _, frames in made])
            used = until_quiet(server) - told
            resident = server.resident_mib()
        size, series_size = (_merged_bytes(folder / "data" / "store", table) for table in _TABLES)
    count = series * steps
    data = f"{count:,} samples of {series:,} series, {_AGENTS} agents, 50,000 or more a frame, merges included"
    merged = f"{count:,} samples, {steps} a series, 15 s apart, merged"
    return [
        Result(
            name="samples",
            work="server, samples from agents",
            measured=count / used,
            unit="samples/s a core",
            budget=2_000_000,
            more_is_better=True,
            data=data,
        ),
        _result("server, new series", (told - before) / series * 1e6, "CPU s a million", f"{series:,} series"),
        _result("server, resident memory", resident, "MiB", data),
        _result("storage, bytes a sample", size / count, "bytes", merged, budget=2.1),
        _result("storage, bytes a series and day", series_size / series, "bytes", merged),
    ]


def _made_frames(agent: int, series: int, steps: int) -> tuple[list[bytes], list[bytes]]:
    """Return an agent's frames that tell series with a sample of each, and its frames of the other samples."""
    start_ms = (time.time_ns() // 1_000_000 - steps * STEP_MS) // 3_600_000 * 3_600_000
    moving = MovingSeries(series, seed=5 + agent, start_ms=start_ms, first=agent * series)
    keys = [canonical(labels) for labels in moving.labels]
    time_ms, values = moving.step()
    telling = []
    for at in range(0, series, _SERIES_TOLD):
        numbers = range(at, min(at + _SERIES_TOLD, series))
        part = values[numbers.start : numbers.stop]
        request = SampleRequest(
            session=f"bench-{agent}",
            node="n1",
            told=at,
            series=keys[numbers.start : numbers.stop],
            numbers=list(numbers),
            count=len(part),
        )
        telling.append(_encoded(request, [time_ms] * len(part), part, list(numbers)))
    frames = []
    steps_a_frame = -(-50_000 // series)
    left = steps - 1
    while left:
        taken = [moving.step() for _ in range(min(steps_a_frame, left))]
        left -= len(taken)
        request = SampleRequest(session=f"bench-{agent}", node="n1", told=series, count=series * len(taken))
        times = np.concatenate([np.full(series, at) for at, _ in taken]).tolist()
        numbers = list(range(series)) * len(taken)
        frames.append(_encoded(request, times, np.concatenate([each for _, each in taken]), numbers))
    return telling, frames


def _encoded(request: SampleRequest, times_ms: list[int], values: "np.ndarray", numbers: list[int]) -> bytes:  # type: ignore[type-arg]
    return encode(
        request, times_ms=array("q", times_ms), values=array("d", values.tolist()), numbers=array("I", numbers)
    )


def _post_frames(server: Server, of_agents: list[list[bytes]]) -> None:
    def post(frames: list[bytes]) -> None:
        for frame in frames:
            _post_frame(server, frame)

    with ThreadPoolExecutor(len(of_agents)) as agents:
        list(agents.map(post, of_agents))


def _post_frame(server: Server, frame: bytes) -> None:
    answer = server.http.post(f"{server.url}/kobs/v1/ship/samples", content=frame)
    answer.raise_for_status()
    found = msgspec.json.decode(answer.content, type=SampleAnswer)
    if found.status is not SampleStatus.STORED or found.rejected:
        raise RuntimeError(f"not stored: {answer.text}")


def _remote_write(options: Options) -> list[Result]:
    series, steps = (100_000, 40) if options.full else (100_000, 10)
    results = []
    for version in MESSAGES:
        data = f"{series * steps:,} samples of {series:,} series, {_SAMPLES_A_REQUEST} a request, merges included"
        with tempfile.TemporaryDirectory(prefix="kobs-bench-") as name, serving(Path(name)) as server:
            used = _written(server, server.url, version, series, steps)
        results.append(
            Result(
                name="samples",
                work=f"server, remote write {version}",
                measured=series * (steps - 1) / used,
                unit="samples/s a core",
                budget=500_000,
                more_is_better=True,
                data=data,
            )
        )
        with tempfile.TemporaryDirectory(prefix="kobs-bench-") as name, running_prometheus(Path(name)) as found:
            if found is None:
                continue
            process, url = found
            used = _written(process, url, version, series, steps)
        results.append(
            Result(
                name="samples",
                work=f"Prometheus' receiver, remote write {version}",
                measured=series * (steps - 1) / used,
                unit="samples/s a core",
                more_is_better=True,
                data=data,
            )
        )
    return results


def _written(process: Measured, url: str, version: str, series: int, steps: int) -> float:
    """Write series for some steps and return the CPU seconds of all steps but the first, which tells the series."""
    now_ms = time.time_ns() // 1_000_000 // STEP_MS * STEP_MS
    moving = MovingSeries(series, seed=6, start_ms=now_ms - (steps - 1) * STEP_MS)
    maker = Maker(moving.labels, version=version, series_a_request=_SAMPLES_A_REQUEST)
    headers = {"Content-Type": MESSAGES[version], "Content-Encoding": "snappy"}
    used = 0.0
    with (
        httpx.Client(
            trust_env=False, timeout=120, limits=httpx.Limits(max_connections=_SENDERS, keepalive_expiry=2)
        ) as http,
        ThreadPoolExecutor(_SENDERS) as senders,
    ):

        def post(body: bytes) -> None:
            answer = http.post(f"{url}/api/v1/write", content=body, headers=headers)
            if answer.status_code >= 300:
                raise RuntimeError(f"not written: {answer.status_code} {answer.text[:300]}")

        for step in range(steps):
            bodies = maker.requests(*moving.step())
            before = process.cpu_seconds()
            list(senders.map(post, bodies))
            if step == 0:
                until_quiet(process)
            else:
                used += process.cpu_seconds() - before
    # What goes on after the last answer belongs to the work: merges.
    before = process.cpu_seconds()
    return used + until_quiet(process) - before


def _until(condition: Callable[[], bool], *, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} is not ready")
        time.sleep(0.2)


def _steady(options: Options) -> list[Result]:
    """100,000 series at 15 s through one server."""
    seconds = 600 if options.full else 60
    with tempfile.TemporaryDirectory(prefix="kobs-bench-") as name, serving(Path(name)) as server:
        # The first minute tells the series.
        arguments = ["--server", server.url, "--seconds", str(seconds + 60), "--state", f"{name}/state"]
        shipping = subprocess.Popen([sys.executable, "-m", "bench.shipping", *arguments], stdout=subprocess.PIPE)
        agent = Measured(shipping, server.output)
        try:
            time.sleep(60)
            before, agent_before = server.cpu_seconds(), agent.cpu_seconds()
            stored = _stored(server)
            peak = 0.0
            for _ in range(seconds):
                time.sleep(1)
                peak = max(peak, server.resident_mib())
            used, agent_used = server.cpu_seconds() - before, agent.cpu_seconds() - agent_before
            millions = (_stored(server) - stored) / 1e6
            agent_resident = agent.resident_mib()
        finally:
            agent.stop()
    data = f"100,000 series every 15 s for {seconds} s, {millions:.1f} million samples"
    return [
        Result(
            name="samples", work="server, steady", measured=used / millions, unit="CPU s a million", budget=2, data=data
        ),
        Result(name="samples", work="server, steady, resident", measured=peak, unit="MiB", data=f"{data}, peak"),
        Result(
            name="samples",
            work="shipping alone, steady",
            measured=agent_used / millions,
            unit="CPU s a million",
            data=data,
        ),
        Result(name="samples", work="shipping alone, resident", measured=agent_resident, unit="MiB", data=data),
    ]


def _result(work: str, measured: float, unit: str, data: str, *, budget: float | None = None) -> Result:
    return Result(name="samples", work=work, measured=measured, unit=unit, data=data, budget=budget)


def _stored(server: Server) -> int:
    for line in server.http.get(f"{server.url}/metrics").text.splitlines():
        if line.startswith("kobs_ingest_samples_total "):
            return int(float(line.rpartition(" ")[2]))
    return 0


def _merged_bytes(store: Path, table: str) -> int:
    """Return what a table takes once it is merged. The engine runs in a process of its own."""
    found = subprocess.run(
        [sys.executable, "-m", "bench.merging", str(store), table], check=True, capture_output=True, text=True
    )
    return int(found.stdout.split()[0])
