"""A real Prometheus as a peer: a process on loopback that takes samples by remote write and answers queries."""

import contextlib
import json
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cramjam
import httpx

from kobs.model.samples import Sample
from tests.peers import peer
from tests.ports import free_port

_CONFIG = """
global: {scrape_interval: 1h}
storage: {tsdb: {out_of_order_time_window: 3650d}}
"""
_START_SECONDS = 60
_SERIES_A_REQUEST = 2000


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str, pid: int) -> None:
        self.url = url
        self.pid = pid
        self._http = httpx.Client(timeout=120)

    def write(self, samples: Sequence[Sample]) -> None:
        """Store samples; when this returns, queries see them."""
        by_series: dict[tuple[tuple[str, str], ...], list[tuple[int, float]]] = {}
        for sample in samples:
            by_series.setdefault(tuple(sorted(sample.labels.items())), []).append((sample.time_ms, sample.value))
        series = [(dict(labels), points) for labels, points in by_series.items()]
        for start in range(0, len(series), _SERIES_A_REQUEST):
            self.write_request(write_request(series[start : start + _SERIES_A_REQUEST]))

    def write_request(self, message: bytes) -> None:
        """Send a remote-write message."""
        answer = self._http.post(
            f"{self.url}/api/v1/write",
            content=bytes(cramjam.snappy.compress_raw(message)),
            headers={"Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"},
        )
        assert answer.status_code // 100 == 2, answer.text

    def get(self, path: str, **parameters: str | float) -> Any:
        """Return an answer's JSON, also that of an error."""
        return json.loads(self._http.get(f"{self.url}{path}", params=parameters).content)

    def instant(self, query: str, time_ms: int) -> Any:
        """Return the data of an instant query, which must succeed."""
        return self._data(self.get("/api/v1/query", query=query, time=time_ms / 1000))

    def range(self, query: str, start_ms: int, end_ms: int, step_ms: int) -> Any:
        """Return the data of a range query, which must succeed."""
        times = {"start": start_ms / 1000, "end": end_ms / 1000, "step": step_ms / 1000}
        return self._data(self.get("/api/v1/query_range", query=query, **times))

    def close(self) -> None:
        """Close the connections to it."""
        self._http.close()

    @staticmethod
    def _data(answer: Mapping[str, Any]) -> Any:
        assert answer["status"] == "success", answer
        return answer["data"]


@contextlib.contextmanager
def running_prometheus(folder: Path, *arguments: str, configuration: str = _CONFIG) -> Iterator[Prometheus]:
    """Run a Prometheus while the block runs, its data in `folder`."""
    program = peer("prometheus")
    config = folder / "prometheus.yml"
    config.write_text(configuration)
    port = free_port()
    with (
        (folder / "prometheus.out").open("wb") as output,
        subprocess.Popen(
            [
                program,
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                "--storage.tsdb.retention.time=3650d",
                f"--web.listen-address=127.0.0.1:{port}",
                "--web.enable-remote-write-receiver",
                "--enable-feature=promql-experimental-functions",
                *arguments,
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        server = Prometheus(f"http://127.0.0.1:{port}", process.pid)
        try:
            _wait_until_ready(server, process, folder)
            yield server
        finally:
            server.close()
            process.terminate()


def write_request(series: Sequence[tuple[Mapping[str, str], Sequence[tuple[int, float]]]]) -> bytes:
    """Return the message of remote write 1.0: series with their labels and (time in ms, value)."""
    message = bytearray()
    for labels, points in series:
        body = bytearray()
        for name, value in sorted(labels.items()):
            body += _field(1, _field(1, name.encode()) + _field(2, value.encode()))
        for time_ms, value in points:
            body += _field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(time_ms))
        message += _field(1, bytes(body))
    return bytes(message)


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    value &= 2**64 - 1
    result = bytearray()
    while value > 127:
        result.append(value & 127 | 128)
        value >>= 7
    result.append(value)
    return bytes(result)


def _wait_until_ready(server: Prometheus, process: "subprocess.Popen[bytes]", folder: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, (folder / "prometheus.out").read_text()[-2000:]
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{server.url}/-/ready").status_code == 200:
                return
        time.sleep(0.05)
    raise TimeoutError("Prometheus did not become ready")
