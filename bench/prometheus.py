"""A Prometheus beside kobs, if `make peers` has built it: its process, which takes remote write and answers."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from bench.processes import Measured, free_port

_START_SECONDS = 60.0
_CONFIGURATION = """
global: {scrape_interval: 1h}
storage: {tsdb: {out_of_order_time_window: 30d}}
"""


@contextmanager
def running_prometheus(folder: Path, *, configuration: str = _CONFIGURATION) -> Iterator[tuple[Measured, str] | None]:
    """Run a Prometheus while the block runs: its process and URL; None where the program is missing.

    Without another configuration it takes remote write, and scrapes nothing.
    """
    programs = Path(os.environ.get("KOBS_PEERS") or Path.home() / ".cache" / "kobs-peers") / "bin"
    if not (programs / "prometheus").exists():
        yield None
        return
    (folder / "prometheus.yml").write_text(configuration)
    port = free_port()
    output = folder / "prometheus.out"
    arguments = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb"]
    arguments += [f"--web.listen-address=127.0.0.1:{port}", "--web.enable-remote-write-receiver"]
    with output.open("wb") as stream:
        process = subprocess.Popen([programs / "prometheus", *arguments], stdout=stream, stderr=subprocess.STDOUT)
    measured = Measured(process, output)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(f"{url}/-/ready"):
            measured.check()
            if time.monotonic() > deadline:
                raise RuntimeError("Prometheus is not ready")
            time.sleep(0.2)
        yield measured, url
    finally:
        measured.stop()


def samples_appended(url: str) -> float:
    """Return how many samples a Prometheus has stored since it began."""
    for line in httpx.get(f"{url}/metrics", trust_env=False).text.splitlines():
        if line.startswith('prometheus_tsdb_head_samples_appended_total{type="float"}'):
            return float(line.rpartition(" ")[2])
    raise RuntimeError("Prometheus does not tell how many samples it has stored")


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
