"""A real node_exporter, and what it shows as series."""

import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kobs.collectors.host.points import Point
from tests.peers import peer
from tests.ports import free_port

Series = tuple[str, frozenset[tuple[str, str]]]


@contextmanager
def running_node_exporter(*arguments: str, before: Sequence[str] = ()) -> Iterator[str]:
    """Run one while the block lasts, and yield the address of its metrics. `before` runs it, as nsenter does."""
    port = free_port()
    command = [
        *before,
        peer("node_exporter"),
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
        *arguments,
    ]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}/metrics"
            _wait_for(url)
            yield url
        finally:
            process.terminate()


def get(url: str) -> str:
    """Return what an address answers."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read().decode())


def parse(text: str) -> dict[Series, float]:
    """Return the machine's series in a text that node_exporter answered."""
    series = {}
    for line in text.splitlines():
        if line.startswith("node_"):
            named, _, value = line.rpartition(" ")
            name, _, rest = named.partition("{")
            labels = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', rest)
            series[name, frozenset((key, _unescape(text)) for key, text in labels if text)] = float(value)
    return series


def types_in(text: str) -> dict[str, str]:
    """Return the types that a text tells of the machine's metrics."""
    return dict(re.findall(r"^# TYPE (node_\S+) (\S+)$", text, re.M))


def series_of(point: Point) -> Series:
    """Return a point as such a series."""
    return point.name, frozenset((key, value) for key, value in point.labels if value)


def _unescape(text: str) -> str:
    return text.replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\")


def _wait_for(url: str) -> None:
    for _ in range(200):
        try:
            get(url)
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionError):
                raise
            time.sleep(0.05)
        else:
            return
    raise AssertionError("node_exporter does not answer")
