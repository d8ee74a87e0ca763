"""PromQL through the API, on the same samples as a Prometheus in the same run: panels, instant queries, dashboards."""

import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cramjam
import httpx
import numpy as np

from bench.processes import Measured, peak_memory, serving, until_quiet
from bench.prometheus import running_prometheus
from bench.results import Options, Result

_STEP_MS = 30_000
_BLOCK_STEPS = 60
"""Samples of a series in one message, in the order in which a store takes them."""
_SERIES_A_MESSAGE = 2000
_TRIES = 5
_SERIES_A_POD = 10
_SERIES_A_TEAM = 1000
_CLIENTS = 20
_PANELS = 20


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query; `step_seconds` 0 is an instant one at the end."""

    work: str
    query: str
    hours: float
    step_seconds: int
    budget_ms: float | None = None
    least_series: int = 0
    """With more series than these kobs should not be slower than Prometheus."""


@dataclass(frozen=True, slots=True)
class _Peer:
    """A server that is asked."""

    process: Measured
    url: str
    http: httpx.Client

    def ask(self, asked: _Asked, end_seconds: float) -> Any:
        """Return an answer's data."""
        parameters: dict[str, str] = {"query": asked.query}
        if asked.step_seconds:
            start = end_seconds - asked.hours * 3600
            parameters |= {"start": f"{start}", "end": f"{end_seconds}", "step": str(asked.step_seconds)}
        else:
            parameters["time"] = f"{end_seconds}"
        path = "query_range" if asked.step_seconds else "query"
        answer = self.http.post(f"{self.url}/api/v1/{path}", data=parameters)
        if answer.status_code != httpx.codes.OK:
            raise RuntimeError(f"{asked.query}: {answer.status_code} {answer.text[:300]}")
        return answer.json()["data"]


def measure(options: Options) -> list[Result]:
    """Ask for 10, 1,000 and up to 50,000 series: 20,000 series of 2 hours, with `full` 100,000 of 6 hours."""
    series, hours = (100_000, 6) if options.full else (20_000, 2)
    end_ms = time.time_ns() // 1_000_000 // _STEP_MS * _STEP_MS
    data = f"{series:,} series x {hours} h at 30 s"
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="kobs-bench-") as name, httpx.Client(timeout=600, trust_env=False) as http:
        folder = Path(name)
        with serving(folder) as server, running_prometheus(folder) as found:
            peers = [_Peer(server, server.url, http)]
            if found is not None:
                peers.append(_Peer(*found, http))
            messages = _messages("http_requests_total", series, hours * 120, end_ms)
            day = _messages("day_total", _SERIES_A_TEAM, 24 * 120, end_ms)
            for message in (*messages, *day):
                for peer in peers:
                    _write(peer, message)
            for peer in peers:
                until_quiet(peer.process)
            for asked in _questions(series, hours):
                results += _compared(peers, asked, end_ms / 1000, data)
            results += _rendering(peers[0], end_ms / 1000, data)
            results += _dashboards(peers, end_ms / 1000, series, data)
    return results


def _questions(series: int, hours: int) -> Iterator[_Asked]:
    name = "http_requests_total"
    count = min(series, 50_000)
    large = f'{name}{{half="0"}}' if series > count else name
    yield _Asked("10-series panel, 1 h", f'rate({name}{{pod="pod-7"}}[5m])', 1, 15, 25)
    yield _Asked("10-series panel, all hours", f'rate({name}{{pod="pod-7"}}[5m])', hours, 60, 25)
    yield _Asked("1,000 series panel", f'sum by (pod) (rate({name}{{team="team-3"}}[5m]))', hours, 60, None, 1000)
    yield _Asked("1,000 series panel, plain", f'{name}{{team="team-3"}}', 1, 15, None, 1000)
    yield _Asked("1,000 series panel, 24 h", "sum by (pod) (rate(day_total[5m]))", 24, 300, 1000, 1000)
    yield _Asked(f"{count:,} series panel", f"sum by (team) (rate({large}[5m]))", hours, 60, None, 1000)
    yield _Asked("10 series, instant", f'rate({name}{{pod="pod-7"}}[5m])', 0, 0, 25)
    yield _Asked("1,000 series, instant", f'sum by (pod) (rate({name}{{team="team-3"}}[5m]))', 0, 0, None, 1000)
    yield _Asked(f"{count:,} series, instant", f"sum by (team) (rate({large}[5m]))", 0, 0, None, 1000)


def _compared(peers: list[_Peer], asked: _Asked, end_seconds: float, data: str) -> list[Result]:
    walls, used, firsts = [], [], []
    for peer in peers:
        with peak_memory(peer.process, every_seconds=0.05) as seen:
            began = time.perf_counter()
            found = peer.ask(asked, end_seconds)["result"]
            took_first = time.perf_counter() - began
        firsts.append(f"the first time {took_first * 1000:.1f} ms, memory from {seen[0]:.0f} to {max(seen):.0f} MiB")
        if not found:
            raise RuntimeError(f"{asked.query}: nothing found")
        took = []
        before = peer.process.cpu_seconds()
        for _ in range(_TRIES):
            began = time.perf_counter()
            peer.ask(asked, end_seconds)
            took.append(time.perf_counter() - began)
        used.append((peer.process.cpu_seconds() - before) / _TRIES)
        walls.append(statistics.median(took))
    told = f"{data}, {used[0]:.3f} CPU s, {firsts[0]}"
    if len(peers) > 1:
        told += f"; Prometheus {walls[1] * 1000:.1f} ms, {used[1]:.3f} CPU s, {firsts[1]}"
    results = [
        Result(name="promql", work=asked.work, measured=walls[0] * 1000, unit="ms", budget=asked.budget_ms, data=told)
    ]
    if asked.least_series and len(peers) > 1:
        ratio = walls[0] / walls[1]
        results.append(
            Result(name="promql", work=f"{asked.work}: / Prometheus", measured=ratio, unit="x", budget=1, data=data)
        )
    return results


def _rendering(peer: _Peer, end_seconds: float, data: str) -> list[Result]:
    """Return which share of a large plain answer is not its evaluation: JSON and HTTP."""
    parameters = {"query": 'http_requests_total{team="team-3"}', "stats": "all", "step": "10"}
    parameters |= {"start": f"{end_seconds - 3600}", "end": f"{end_seconds}"}
    shares = []
    for _ in range(_TRIES):
        began = time.perf_counter()
        answer = peer.http.post(f"{peer.url}/api/v1/query_range", data=parameters)
        took = time.perf_counter() - began
        shares.append(1 - answer.json()["data"]["stats"]["timings"]["execTotalTime"] / took)
    told = f"{data}; 1,000 series x 361 points"
    share = statistics.median(shares) * 100
    return [Result(name="promql", work="share of JSON and HTTP", measured=share, unit="%", data=told)]


def _dashboards(peers: list[_Peer], end_seconds: float, series: int, data: str) -> list[Result]:
    """Return how long panels take when 20 clients at once open dashboards of 20 panels, and refresh them."""
    results = []
    pods = series // _SERIES_A_POD
    for number, peer in enumerate(peers):

        def refresh(client: int, peer: _Peer = peer) -> list[float]:
            took = []
            with httpx.Client(timeout=600, trust_env=False) as http:
                own = _Peer(peer.process, peer.url, http)
                for panel in range(_PANELS):
                    pod = (client * _PANELS + panel) * 7 % pods
                    query = f'sum by (half) (rate(http_requests_total{{pod="pod-{pod}"}}[5m]))'
                    began = time.perf_counter()
                    own.ask(_Asked("", query, 1, 15), end_seconds)
                    took.append(time.perf_counter() - began)
            return took

        whose = "kobs" if number == 0 else "Prometheus"
        for turn in ("opened", "refreshed"):
            before = peer.process.cpu_seconds()
            with ThreadPoolExecutor(_CLIENTS) as clients:
                times = sorted(each for took in clients.map(refresh, range(_CLIENTS)) for each in took)
            used = peer.process.cpu_seconds() - before
            results.append(
                Result(
                    name="promql",
                    work=f"20 clients x 20 panels, {turn}, p95 ({whose})",
                    measured=times[int(len(times) * 0.95)] * 1000,
                    unit="ms",
                    data=f"{data}, {used:.2f} CPU s in all",
                )
            )
    return results


# -- samples -----------------------------------------------------------------------------------------------------------


def _messages(name: str, series: int, steps: int, end_ms: int) -> Iterator[bytes]:
    """Yield messages of remote write 1.0 with counters that grow at different speeds, in the order of time."""
    random = np.random.default_rng(8)
    heads = [_labels(name, number) for number in range(series)]
    values = np.zeros(series)
    speeds = random.gamma(0.6, 40.0, series)
    for first in range(0, steps, _BLOCK_STEPS):
        count = min(_BLOCK_STEPS, steps - first)
        times = end_ms - (steps - 1 - first - np.arange(count)) * _STEP_MS
        for start in range(0, series, _SERIES_A_MESSAGE):
            part = slice(start, start + _SERIES_A_MESSAGE)
            grown = values[part, None] + np.cumsum(
                random.poisson(speeds[part, None], (len(heads[part]), count)), axis=1
            )
            values[part] = grown[:, -1]
            yield b"".join(_series(head, times, each) for head, each in zip(heads[part], grown, strict=True))


_SAMPLE = np.dtype([("head", "u1", 3), ("value", "<f8"), ("tag", "u1"), ("time", "u1", 6)])
"""A sample as a field of a series: value and a time that takes six bytes, as those of our years do."""


def _series(labels: bytes, times_ms: "np.ndarray[Any, Any]", values: "np.ndarray[Any, Any]") -> bytes:
    samples = np.zeros(len(values), dtype=_SAMPLE)
    samples["head"] = [0x12, 16, 0x09]
    samples["value"] = values
    samples["tag"] = 0x10
    for byte in range(6):
        samples["time"][:, byte] = ((times_ms >> (7 * byte)) & 127) | (128 if byte < 5 else 0)
    return _field(1, labels + samples.tobytes())


def _labels(name: str, number: int) -> bytes:
    pod, team = number // _SERIES_A_POD, number // _SERIES_A_TEAM
    labels = {
        "__name__": name,
        "half": str(number % 2),
        "handler": f"/api/v1/resource/{number % _SERIES_A_POD}",
        "instance": f"10.{pod % 250}.3.{pod % 200}:8080",
        "job": "app",
        "namespace": f"team-{team}",
        "pod": f"pod-{pod}",
        "team": f"team-{team}",
    }
    return b"".join(_field(1, _field(1, key.encode()) + _field(2, value.encode())) for key, value in labels.items())


def _field(number: int, content: bytes) -> bytes:
    size, made = len(content), bytearray([number << 3 | 2])
    while size > 127:
        made.append(size & 127 | 128)
        size >>= 7
    made.append(size)
    return bytes(made) + content


def _write(peer: _Peer, message: bytes) -> None:
    headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}
    body = bytes(cramjam.snappy.compress_raw(message))
    answer = peer.http.post(f"{peer.url}/api/v1/write", content=body, headers=headers)
    if answer.status_code >= 300:
        raise RuntimeError(f"not written: {answer.status_code} {answer.text[:300]}")
