"""Real senders scrape and write to kobs, which is killed meanwhile: every sample is there, none is changed."""

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
from prometheus_client.parser import text_string_to_metric_families

from tests.faults.processes import ServerProgram, machine
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
        return self.of_turn(self.turn)

    @staticmethod
    def of_turn(turn: int) -> str:
        """Return what is answered the so-manieth time, counted from 1."""
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


@contextlib.contextmanager
def vmagent(folder: Path, *, app: int, url: str, protocol: str) -> Iterator[None]:
    (folder / "scrape.yml").write_text(
        "global: {scrape_interval: 500ms}\n"
        f"scrape_configs: [{{job_name: app, static_configs: [{{targets: ['127.0.0.1:{app}']}}]}}]\n"
    )
    arguments = [f"-promscrape.config={folder}/scrape.yml", f"-remoteWrite.tmpDataPath={folder}/queue"]
    arguments += [f"-httpListenAddr=127.0.0.1:{free_port()}", f"-remoteWrite.url={url}/api/v1/write"]
    arguments += ["-remoteWrite.bearerToken=secret", f"-remoteWrite.{protocol}", "-remoteWrite.flushInterval=200ms"]
    arguments += ["-remoteWrite.retryMinInterval=50ms", "-remoteWrite.retryMaxInterval=200ms"]
    with (folder / "vmagent.out").open("wb") as output:
        process = subprocess.Popen([peer("vmagent"), *arguments], stdout=output, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            process.kill()
            process.wait()
            sys.stdout.write((folder / "vmagent.out").read_text()[-3000:])


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


def wait_for_scrapes(app: App, count: int) -> None:
    until = app.turn + count
    deadline = time.monotonic() + _SECONDS
    while app.turn < until:
        assert time.monotonic() < deadline, "nobody scrapes"
        time.sleep(0.1)  # the target counts; nobody tells when


def crash(server: ServerProgram) -> None:
    """End a server as a crash does and start it anew."""
    server.kill()
    time.sleep(1.0)  # so that senders meet nobody, and have to try again
    server.start()
    server.wait_until_ready()


def by_scrape(found: dict[tuple[tuple[str, str], ...], list[list[Any]]]) -> list[dict[frozenset[tuple[str, str]], str]]:
    """Return the application's samples of each time, in the order of the times."""
    scrapes: dict[float, dict[frozenset[tuple[str, str]], str]] = {}
    for labels, points in found.items():
        if dict(labels)["__name__"].startswith("app_"):
            key = frozenset(label for label in labels if label[0] not in ("job", "instance"))
            for at, value in points:
                scrapes.setdefault(at, {})[key] = repr(float(value))
    return [scrapes[at] for at in sorted(scrapes)]


def scrape_of(turn: int) -> dict[frozenset[tuple[str, str]], str]:
    """Return what the application answered at a turn."""
    return {
        frozenset([("__name__", sample.name), *sample.labels.items()]): repr(float(sample.value))
        for family in text_string_to_metric_families(App.of_turn(turn))
        for sample in family.samples
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
                wait_for_scrapes(app, 6)
                crash(server)
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


@pytest.mark.parametrize("protocol", ["forcePromProto", "forceVMProto"], ids=["snappy", "zstd"])
def test_every_sample_of_a_vmagent_is_stored_whatever_happens_to_the_server(tmp_path: Path, protocol: str) -> None:
    """What was scraped is known from the target alone: its n-th answer, whole, at one time."""
    peer("vmagent")
    app = App()
    token = {"Authorization": "Bearer secret"}
    with contextlib.closing(app), machine(tmp_path) as here:
        settings = {"KOBS_SERVER__TOKEN": "secret", "KOBS_SERVER__OWN_METRICS_SECONDS": "0"}
        server = here.server(settings=settings)
        server.start()
        server.wait_until_ready()
        with vmagent(tmp_path, app=app.port, url=server.url, protocol=protocol):
            wait_for_scrapes(app, 6)
            crash(server)
            wait_for_scrapes(app, 3)
            turn = app.turn
            deadline = time.monotonic() + _SECONDS
            while len(found := by_scrape(samples(server.url, time.time(), **token))) < turn:
                assert time.monotonic() < deadline, f"{len(found)} of {turn} scrapes"
                time.sleep(0.3)  # the sender tells nobody when its queue is empty
        assert found[:turn] == [scrape_of(number) for number in range(1, turn + 1)]
        metrics = httpx.get(f"{server.url}/metrics", headers=token, trust_env=False).text
        assert 'kobs_api_remote_write_requests_total{message="prometheus.WriteRequest",status="204"}' in metrics
        assert 'status="400"' not in metrics
