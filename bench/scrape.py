"""What scraping takes: to parse expositions whose series are known, and the agent whole, from target to server."""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Measured, Server, kobs, serving
from bench.prometheus import running_prometheus, samples_appended
from bench.results import Options, Result
from bench.targets import exposition
from kobs.wire.exposition.lines import MetaLine
from kobs.wire.exposition.parsing import TEXT, Parser
from tests.parts import recorded

_PIECE_BYTES = 64 * 1024
_LEAST_SAMPLES = 400_000
_TARGETS, _SERIES, _INTERVAL_SECONDS = 50, 2000, 5
_SETTLE_SECONDS, _SECONDS = 20.0, 40.0


def parse(_: Options) -> list[Result]:
    """Parse recorded expositions again and again, as of targets that show the same series each time."""
    folder = recorded("kubelet-cadvisor") / "k8s-1.34"
    bodies = {path.stem: path.read_bytes() for path in sorted(folder.glob("*.prom"))}
    bodies["node-exporter"] = (recorded("node-exporter") / "scrape-1.prom").read_bytes()
    samples = first_seconds = seconds = 0.0
    for body in bodies.values():
        known: dict[bytes, int] = {}
        meta: dict[bytes, MetaLine | None] = {}
        first_seconds += _parse(body, known, meta)[1]
        count = 0
        while count < _LEAST_SAMPLES / len(bodies):
            found, took = _parse(body, known, meta)
            count += found
            seconds += took
        samples += count
    firsts = sum(_parse(body, {}, {})[0] for body in bodies.values())
    size = sum(map(len, bodies.values())) / firsts
    data = f"{len(bodies)} recorded expositions of {firsts} samples, {size:.0f} B each"
    return [
        Result(
            name="scrape",
            work="parsing, known series",
            measured=samples / seconds,
            unit="samples/s a core",
            budget=1_000_000,
            more_is_better=True,
            data=data,
        ),
        Result(
            name="scrape",
            work="parsing, new series",
            measured=firsts / first_seconds,
            unit="samples/s a core",
            more_is_better=True,
            data=f"{data}, without registering",
        ),
    ]


def _parse(body: bytes, known: dict[bytes, int], meta: dict[bytes, MetaLine | None]) -> tuple[int, float]:
    def resolve(text: bytes, _: dict[str, str]) -> int:
        return known.setdefault(text, len(known))

    began = time.process_time()
    parser = Parser(TEXT, known, resolve, meta=meta)
    for start in range(0, len(body), _PIECE_BYTES):
        parser.feed(body[start : start + _PIECE_BYTES])
    parser.finish()
    return len(parser.values) + len(parser.timed_values), time.process_time() - began


@dataclass(frozen=True, slots=True)
class _Taken:
    """What one side took meanwhile."""

    samples: float
    cpu_seconds: float
    resident_mib: float

    def a_million(self) -> float:
        return self.cpu_seconds / self.samples * 1e6


def whole(options: Options) -> list[Result]:
    """Scrape 50 targets of 2,000 series each, and ship to a real server; a Prometheus scrapes the same targets.

    Every 5 s, with `full` every 15 s for ten minutes.
    """
    interval, settle, lasting = (15, 60.0, 600.0) if options.full else (_INTERVAL_SECONDS, _SETTLE_SECONDS, _SECONDS)
    with tempfile.TemporaryDirectory(prefix="kobs-bench-") as name, _targets() as port:
        folder = Path(name)
        path = folder / "scrape.yaml"
        groups = "\n".join(
            f"  - {{targets: ['127.0.0.1:{port}'], labels: {{instance: host-{number}}}}}" for number in range(_TARGETS)
        )
        configuration = (
            f"global: {{scrape_interval: {interval}s}}\n"
            f"scrape_configs:\n- job_name: bench\n  static_configs:\n{groups}\n"
        )
        path.write_text(configuration)
        with (
            serving(folder) as server,
            _agent(server, folder=folder, path=path) as agent,
            running_prometheus(folder, configuration=configuration) as prometheus,
        ):
            time.sleep(settle)
            sides = [(agent, lambda: _stored(server)), (server, lambda: _stored(server))]
            if prometheus is not None:
                process, url = prometheus
                sides.append((process, lambda: samples_appended(url)))
            began = time.monotonic()
            before = [(process.cpu_seconds(), stored()) for process, stored in sides]
            time.sleep(lasting)
            server.check()
            seconds = time.monotonic() - began
            taken = [
                _Taken(stored() - samples, process.cpu_seconds() - cpu_seconds, process.resident_mib())
                for (process, stored), (cpu_seconds, samples) in zip(sides, before, strict=True)
            ]
    shown = len([line for line in exposition(_SERIES, seed=0).splitlines() if not line.startswith(b"#")])
    expected = _TARGETS * shown * seconds / interval
    if min(each.samples for each in taken) < 0.8 * expected:
        raise RuntimeError(f"{taken} of {expected:.0f} samples were stored: the figures are worthless")
    data = f"{_TARGETS} targets of {shown} series every {interval} s, {seconds:.0f} s"
    names = ("agent, scraping and shipping", "server, samples from agents", "a Prometheus that scrapes the same")
    budgets = ((3.0, 200.0), (2.0, None), (None, None))
    results = []
    for work, (budget, most_mib), each in zip(names, budgets, taken, strict=False):
        told = f"{data}, {each.samples / seconds:.0f} samples/s stored"
        cpu = each.a_million()
        results += [
            Result(name="scraping", work=work, measured=cpu, unit="CPU s a million samples", budget=budget, data=told),
            Result(
                name="scraping",
                work=f"{work}: resident",
                measured=each.resident_mib,
                unit="MiB",
                budget=most_mib,
                data=told,
            ),
        ]
    if prometheus is not None:
        ratio = (taken[0].a_million() + taken[1].a_million()) / taken[2].a_million()
        results.append(
            Result(name="scraping", work="agent and server: / Prometheus", measured=ratio, unit="x", data=data)
        )
    return results


def _stored(server: Server) -> float:
    for line in server.http.get(f"{server.url}/metrics").text.splitlines():
        if line.startswith("kobs_ingest_samples_total "):
            return float(line.rpartition(" ")[2])
    raise RuntimeError("the server does not tell how many samples it has stored")


@contextlib.contextmanager
def _targets(series: int = _SERIES) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-m", "bench.targets", str(series)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _agent(server: Server, *, folder: Path, path: Path) -> Iterator[Measured]:
    arguments = ["agent", "--server", server.url, "--state", str(folder / "state"), "--scrape-config", str(path)]
    settings = {
        "KOBS_AGENT__FILES": "[]",
        "KOBS_AGENT__JOURNAL": "",
        "KOBS_AGENT__POD_LOGS": "",
        "KOBS_AGENT__LISTEN": "",
    }
    with kobs([*arguments, "--node", "n1"], folder=folder, settings=settings) as process:
        yield process
