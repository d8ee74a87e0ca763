"""A real Prometheus scrapes and writes to kobs, which is killed meanwhile: every sample is there, none is changed."""

import contextlib
import math
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.processes import machine
from tests.peers import peer
from tests.ports import free_port

pytestmark = pytest.mark.clickhouse

_SECONDS = 60.0
_CONFIG = """
global: {{scrape_interval: 500ms, external_labels: {{replica: a}}}}
scrape_configs:
  - job_name: app
    static_configs: [{{targets: ["127.0.0.1:{app}"]}}]
  - job_name: prometheus
    static_configs: [{{targets: ["127.0.0.1:{own}"]}}]
remote_write:
  - url: {url}/api/v1/write
    protobuf_message: {message}
    send_exemplars: false
    authorization: {{credentials: secret}}
    queue_config: {{batch_send_deadline: 200ms, min_backoff: 30ms, max_backoff: 200ms, max_samples_per_send: 500}}
    metadata_config: {{send_interval: 1s}}
"""


class App:
    """A target whose values move and whose series come and go."""

    def __init__(self) -> None:
        self.turn = 0
        app = self

        class Answering(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = app.exposition().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self._http.daemon_threads = True
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def exposition(self) -> str:
        self.turn += 1
        turn = self.turn
        lines = ["# HELP app_requests_total All requests.", "# TYPE app_requests_total counter"]
        lines += [f'app_requests_total{{path="/{index}"}} {turn * index}' for index in range(300)]
        lines += ["# TYPE app_value gauge"]
        # No -0: Prometheus sends it as 0.
        values = (math.inf, -math.inf, math.nan, 0.1 + turn, 0.0, 5e-324)
        lines += [f'app_value{{kind="{index}",text="ä\\"\\\\\\n"}} {value}' for index, value in enumerate(values)]
        if turn % 3 == 0:
            lines += [f'app_sometimes{{turn="{turn % 2}"}} {turn}']
        lines += ["# TYPE app_seconds histogram", f'app_seconds_bucket{{le="+Inf"}} {turn}']
        lines += [f"app_seconds_sum {turn}", f"app_seconds_count {turn}", ""]
        return "\n".join(lines)

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@contextlib.contextmanager
def prometheus(folder: Path, *, app: int, url: str, message: str) -> Iterator[str]:
    port = free_port()
    (folder / "prometheus.yml").write_text(_CONFIG.format(app=app, own=port, url=url, message=message))
    arguments = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb"]
    arguments += [f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=metadata-wal-records"]
    with (folder / "prometheus.out").open("wb") as output:
        process = subprocess.Popen([peer("prometheus"), *arguments], stdout=output, stderr=subprocess.STDOUT)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()
            sys.stdout.write((folder / "prometheus.out").read_text()[-3000:])


def samples(url: str, time_seconds: float, **headers: str) -> dict[tuple[tuple[str, str], ...], list[list[Any]]]:
    """Return all samples of all series up to a time, by label set."""
    query = {"query": '{job=~".+"}[5m]', "time": f"{time_seconds:.3f}"}
    answer = httpx.get(f"{url}/api/v1/query", params=query, headers=headers, trust_env=False, timeout=20)
    assert answer.status_code == 200, answer.text
    found = answer.json()["data"]["result"]
    return {
        tuple(sorted((name, value) for name, value in each["metric"].items() if name != "replica")): each["values"]
        for each in found
    }


@pytest.mark.parametrize("message", ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"], ids=["1.0", "2.0"])
def test_every_sample_of_a_prometheus_is_stored_whatever_happens_to_the_server(tmp_path: Path, message: str) -> None:
    peer("prometheus")
    app = App()
    token = {"Authorization": "Bearer secret"}
    with contextlib.closing(app), machine(tmp_path) as here:
        settings = {"KOBS_SERVER__TOKEN": "secret", "KOBS_SERVER__SAMPLE_DELAY_MS": "50"}
        # its own metrics would be more than what Prometheus has
        server = here.server(settings=settings | {"KOBS_SERVER__OWN_METRICS_SECONDS": "0"})
        server.start()
        server.wait_until_ready()
        with prometheus(tmp_path, app=app.port, url=server.url, message=message) as url:
            for _ in range(2):
                until = app.turn + 6
                deadline = time.monotonic() + _SECONDS
                while app.turn < until:
                    assert time.monotonic() < deadline, "Prometheus does not scrape"
                    time.sleep(0.1)
                server.kill()
                time.sleep(1.0)
                server.start()
                server.wait_until_ready()
            end = time.time()
            time.sleep(1.5)
            expected = samples(url, end)
            deadline = time.monotonic() + _SECONDS
            while (found := samples(server.url, end, **token)) != expected and time.monotonic() < deadline:
                time.sleep(0.3)
        names = {dict(labels)["__name__"] for labels in expected}
        assert {"up", "app_sometimes", "app_value", "prometheus_build_info"} <= names
        assert len(expected) > 600
        assert found.keys() == expected.keys()
        assert found == expected
        metrics = httpx.get(f"{server.url}/metrics", headers=token, trust_env=False).text
        assert f'kobs_api_remote_write_requests_total{{message="{message}",status="204"}}' in metrics
        assert 'status="400"' not in metrics
