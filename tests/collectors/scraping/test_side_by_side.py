"""A real Prometheus and the agent with the same configuration and the same targets: the same series and view."""

import asyncio
import gzip
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from kobs.collectors.scraping.agent import Scraping
from kobs.collectors.scraping.reporting import report_of
from kobs.config import AgentSettings, Settings
from kobs.wire.targets import TargetReport
from tests.collectors.scraping import issuers
from tests.collectors.scraping.places import OPENMETRICS_TYPE, Recorder, Request, answering, serving
from tests.collectors.scraping.socks import socks_proxy
from tests.parts import recorded
from tests.prometheus import Prometheus, running_prometheus

MOST_SECONDS = 60

ODD = b"""\
# HELP a A metric
# TYPE a counter
a{b="1"} 1
a { b = "2" , } 2
a{b="\\\\ \\" \\n"} +Inf
a{b="nan"} NaN
{"with.dots","label with spaces"="x"} 3
# a comment
# TYPE h histogram
h_bucket{le="1"} 1
h_bucket{le="1000000"} 2
h_bucket{le="+Inf"} 2
h_sum 3
h_count 2
# TYPE s summary
s{quantile="0.50"} 4
same{job="mine",instance="here",exported_job="x"} 5
empty{job="",other=""} 6
twice 7
twice 8
"""
OPENMETRICS = b"""\
# HELP om A counter
# TYPE om counter
om_total{a="b"} 1 # {trace_id="x"} 0.5 1
om_created{a="b"} 1700000000.5
# TYPE i info
i_info{v="1"} 1
# TYPE g_seconds gauge
# UNIT g_seconds seconds
g_seconds 2.5
# EOF
"""


def timed(request: Request) -> None:
    now_ms = time.time_ns() // 1_000_000
    lines = [
        f"now 1 {now_ms}",
        f"ago 2 {now_ms - 60_000}",
        "since1970 3 0",
        f"tomorrow 4 {now_ms + 86_400_000}",
        f"soon 5 {now_ms + 300_000}",
        "plain 6",
    ]
    request.answer("\n".join(lines).encode() + b"\n")


def echo(request: Request) -> None:
    """Show what was asked as labels."""
    path = request.path.replace("\\", "").replace('"', "")
    timeout = request.headers["X-Prometheus-Scrape-Timeout-Seconds"]
    header = request.headers.get("X-Own", "")
    accept = request.headers["Accept"]
    token = request.headers.get("Authorization", "")
    request.answer(
        f'asked{{path="{path}",timeout="{timeout}",header="{header}",accept="{accept}",token="{token}"}} 1\n'.encode()
    )


class OneToken(issuers.Issuer):
    """An issuer that gives everybody the same token, as the target shows it."""

    def __call__(self, request: Request) -> None:
        self.issued = 0
        super().__call__(request)


PATHS: dict[str, bytes | Callable[[Request], None]] = {
    "/metrics": b"up_to_date 1\n",
    "/odd": ODD,
    "/openmetrics": answering(OPENMETRICS, content_type=OPENMETRICS_TYPE),
    "/broken": b'good 1\nbad{a="b} 2\n',
    "/cut": answering(OPENMETRICS[:-6], content_type=OPENMETRICS_TYPE),
    "/timed": timed,
    "/echo": echo,
    "/html": answering(b"<html></html>", content_type="text/html"),
    "/blank": answering(b"blank 1\n", content_type=None),
    "/failing": answering(b"no", status=503),
    "/moved": answering(b"", status=302, Location="/metrics"),
    "/gzip": answering(gzip.compress(b"zipped 1\n" * 1), Content_Encoding="gzip"),
    "/empty": b"",
    "/many": b"".join(b'm{n="%d"} 1\n' % number for number in range(50)),
    "/labels": b'l{a="1",b="2",c="3",d="4"} 1\n',
    "/long": b'l{a="' + b"x" * 200 + b'"} 1\n',
}

CONFIGURATION = """\
global: {{scrape_interval: 3s, evaluation_interval: 1h}}
scrape_configs:
- {{job_name: plain, static_configs: [{{targets: ["{address}"], labels: {{team: a, job: b, empty: ""}}}}]}}
- {{job_name: odd, metrics_path: /odd, static_configs: [{{targets: ["{address}"]}}]}}
- {{job_name: honors, metrics_path: /odd, honor_labels: true, static_configs: [{{targets: ["{address}"]}}]}}
- {{job_name: om, metrics_path: /openmetrics, static_configs: [{{targets: ["{address}"]}}]}}
- {{job_name: broken, metrics_path: /broken, static_configs: [{{targets: ["{address}"]}}]}}
- {{job_name: cut, metrics_path: /cut, static_configs: [{{targets: ["{address}"]}}]}}
- {{job_name: timed, metrics_path: /timed, static_configs: [{{targets: ["{address}"]}}]}}
- {{job_name: untimed, metrics_path: /timed, honor_timestamps: false, static_configs: [{{targets: ["{address}"]}}]}}
- {{job_name: html, metrics_path: /html, static_configs: [{{targets: ["{address}"]}}]}}
- {{job_name: html-as-text, metrics_path: /html, fallback_scrape_protocol: PrometheusText0.0.4,
    static_configs: [{{targets: ["{address}"]}}]}}
- {{job_name: blank, metrics_path: /blank, static_configs: [{{targets: ["{address}"]}}]}}
- {{job_name: blank-as-text, metrics_path: /blank, fallback_scrape_protocol: PrometheusText1.0.0,
    static_configs: [{{targets: ["{address}"]}}]}}
- {{job_name: failing, metrics_path: /failing, static_configs: [{{targets: ["{address}"]}}]}}
- {{job_name: refused, static_configs: [{{targets: ["127.0.0.1:1"]}}]}}
- {{job_name: moved, metrics_path: /moved, static_configs: [{{targets: ["{address}"]}}]}}
- {{job_name: not-moved, metrics_path: /moved, follow_redirects: false, static_configs: [{{targets: ["{address}"]}}]}}
- {{job_name: gzip, metrics_path: /gzip, static_configs: [{{targets: ["{address}"]}}]}}
- {{job_name: empty, metrics_path: /empty, static_configs: [{{targets: ["{address}"]}}]}}
- {{job_name: samples, metrics_path: /many, sample_limit: 49, static_configs: [{{targets: ["{address}"]}}]}}
- {{job_name: samples-fit, metrics_path: /many, sample_limit: 50, static_configs: [{{targets: ["{address}"]}}]}}
- {{job_name: labels, metrics_path: /labels, label_limit: 6, static_configs: [{{targets: ["{address}"]}}]}}
- {{job_name: labels-fit, metrics_path: /labels, label_limit: 7, static_configs: [{{targets: ["{address}"]}}]}}
- {{job_name: values, metrics_path: /long, label_value_length_limit: 199, static_configs: [{{targets: ["{address}"]}}]}}
- {{job_name: values-fit, metrics_path: /long, label_value_length_limit: 200,
    static_configs: [{{targets: ["{address}"]}}]}}
- {{job_name: names, metrics_path: /labels, label_name_length_limit: 7, static_configs: [{{targets: ["{address}"]}}]}}
- {{job_name: body, metrics_path: /long, body_size_limit: 100B, static_configs: [{{targets: ["{address}"]}}]}}
- {{job_name: targets, target_limit: 1, static_configs: [{{targets: ["{address}"]}}, {{targets: ["{address}"],
    labels: {{a: b}}}}]}}
- {{job_name: legacy, metrics_path: /odd, metric_name_validation_scheme: legacy,
    static_configs: [{{targets: ["{address}"]}}]}}
- job_name: asked
  metrics_path: /echo
  params: {{a: [x y, "z"], b: ["1"]}}
  http_headers: {{X-Own: {{values: [own]}}}}
  authorization: {{credentials: secret}}
  static_configs: [{{targets: ["{address}"], labels: {{__param_a: changed, __param_c: new}}}}]
- job_name: old-protocols
  metrics_path: /echo
  scrape_protocols: [PrometheusText0.0.4, OpenMetricsText1.0.0]
  metric_name_escaping_scheme: underscores
  static_configs: [{{targets: ["{address}"]}}]
- job_name: relabelled
  metrics_path: /many
  static_configs:
  - {{targets: ["{address}", "drop:1", "also-dropped:2"], labels: {{__meta_zone: "Zone-1", __tmp_x: y, env: prod}}}}
  relabel_configs:
  - {{source_labels: [__address__], regex: ".*drop.*", action: drop}}
  - {{source_labels: [__meta_zone, env], separator: "/", regex: "(?P<zone>.*)-(\\\\d)/(.*)",
      replacement: "${{zone}}_$2$3x_$$", target_label: "zone_$2"}}
  - {{source_labels: [__meta_zone], action: lowercase, target_label: lower}}
  - {{source_labels: [__meta_zone], action: uppercase, target_label: upper}}
  - {{source_labels: [env, __meta_zone], modulus: 1000, action: hashmod, target_label: shard}}
  - {{regex: __meta_(.+), replacement: "from_$1", action: labelmap}}
  - {{regex: env, action: labeldrop}}
  - {{source_labels: [__tmp_x], target_label: instance, replacement: "me-$1"}}
  metric_relabel_configs:
  - {{source_labels: [n], regex: "[1-4].", action: drop}}
  - {{source_labels: [n], regex: "[3-9]", target_label: __name__, replacement: renamed}}
  - {{source_labels: [n], regex: "8", target_label: n, replacement: "7"}}
  - {{source_labels: [__name__], regex: "m|renamed", action: keep}}
- {{job_name: token, metrics_path: /echo, static_configs: [{{targets: ["{address}"]}}], oauth2: {{
    client_id: "kobs:agent", client_secret: "{secret}", scopes: [a], token_url: "http://{address}/token"}}}}
- {{job_name: form_token, metrics_path: /echo, static_configs: [{{targets: ["{address}"]}}], oauth2: {{
    client_id: "kobs:agent", client_secret: "{secret}", endpoint_params: {{a: b}},
    token_url: "http://{address}/form-token"}}}}
- {{job_name: no_token, metrics_path: /echo, static_configs: [{{targets: ["{address}"]}}], oauth2: {{
    client_id: "kobs:agent", client_secret: wrong, token_url: "http://{address}/token"}}}}
- {{job_name: socks, static_configs: [{{targets: ["only.socks:{port}"]}}], proxy_url: "socks5://me:secret@{socks}"}}
- {{job_name: no_socks, static_configs: [{{targets: ["only.socks:{port}"]}}], proxy_url: "socks5://me:wrong@{socks}"}}
- {{job_name: scheduler, metrics_path: /scheduler, static_configs: [{{targets: ["{address}"]}}]}}
- {{job_name: etcd, metrics_path: /etcd, static_configs: [{{targets: ["{address}"]}}]}}
- {{job_name: machine, metrics_path: /machine, static_configs: [{{targets: ["{address}"]}}]}}
"""
VARYING = {"scrape_duration_seconds", "soon"}
"""What has another value each time, or is not there yet when it is asked for."""


def scrape_twice(settings: Settings) -> tuple[Recorder, TargetReport]:
    """Run the agent's scraping until each target was asked twice; return what it shipped and its view of them."""
    recorder = Recorder()

    async def run() -> TargetReport:
        scraping = Scraping(settings, recorder)
        task = asyncio.ensure_future(scraping.run())
        async with asyncio.timeout(MOST_SECONDS):
            while True:
                await asyncio.sleep(0.1)
                assert not task.done(), task.exception()
                counts = Counter(tuple(sorted(labels.items())) for labels, _, _ in recorder.samples)
                asked = [count for labels, count in counts.items() if ("__name__", "up") in labels]
                report = report_of(settings, scraping.pools.values())
                if len(asked) == len(report.active) and min(asked) >= 2:
                    break
        task.cancel()
        await asyncio.wait({task})
        return report

    report = asyncio.run(run())
    return recorder, report


def wait_for_two_scrapes(prometheus: Prometheus) -> None:
    deadline = time.monotonic() + MOST_SECONDS
    while time.monotonic() < deadline:
        targets = prometheus.get("/api/v1/targets")["data"]["activeTargets"]
        counts = series_of(prometheus, "count_over_time(up[5m])")
        if targets and len(counts) == len(targets) and min(counts.values()) >= 2:
            return
        time.sleep(0.2)
    raise TimeoutError("Prometheus has not scraped all targets twice")


def series_of(
    prometheus: Prometheus, query: str = '{__name__=~".+"}', at: float | None = None
) -> dict[tuple[tuple[str, str], ...], float]:
    data = prometheus.get("/api/v1/query", query=query, time=at or time.time())["data"]["result"]
    return {tuple(sorted(each["metric"].items())): float(each["value"][1]) for each in data}


def without_varying(found: dict[tuple[tuple[str, str], ...], float]) -> dict[tuple[tuple[str, str], ...], str]:
    return {key: repr(value) for key, value in found.items() if dict(key)["__name__"] not in VARYING}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What both have after some scrapes of the same targets."""
    folder = tmp_path_factory.mktemp("both")
    paths = {
        **PATHS,
        "/token": OneToken(),
        "/form-token": OneToken(takes_header=False),
        "/scheduler": (recorded("kubelet-cadvisor") / "k8s-1.34" / "kube-scheduler.prom").read_bytes(),
        "/etcd": (recorded("kubelet-cadvisor") / "k8s-1.34" / "etcd.prom").read_bytes(),
        "/machine": (recorded("node-exporter") / "scrape-1.prom").read_bytes(),
    }
    with serving(paths) as place, socks_proxy(user=("me", "secret"), names={"only.socks": "127.0.0.1"}) as socks:
        configuration = CONFIGURATION.format(
            address=place.address, port=place.port, socks=socks.address, secret=issuers.SECRET
        )
        path = folder / "scrape.yaml"
        path.write_text(configuration)
        settings = Settings(node="n", agent=AgentSettings(scrape_config=path, own_metrics_seconds=0))
        with running_prometheus(folder, configuration=configuration) as prometheus:
            ours = scrape_twice(settings)
            wait_for_two_scrapes(prometheus)
            assert series_of(prometheus, "soon", time.time() + 400) != {}
            theirs = series_of(prometheus), prometheus.get("/api/v1/targets")["data"]
        return theirs, ours


def test_all_series_are_the_same(both: tuple[Any, Any]) -> None:
    (theirs, _), (recorder, _) = both
    expected, found = without_varying(theirs), without_varying(recorder.newest())
    assert sorted(found.keys() - expected.keys()) == []
    assert sorted(expected.keys() - found.keys()) == []
    assert {key: (found[key], value) for key, value in expected.items() if found[key] != value} == {}
    assert len(expected) > 3000
    assert len(recorder.of("soon")) > 1
    assert recorder.of("tomorrow", job="timed") == recorder.of("since1970", job="timed") == []


def test_the_view_of_the_targets_is_the_same(both: tuple[Any, Any]) -> None:
    (_, theirs), (_, report) = both

    def shown(target: Any) -> tuple[object, ...]:
        return (target["scrapePool"], target["scrapeUrl"], sorted(target["labels"].items()),
                sorted(target["discoveredLabels"].items()), target["health"], target["scrapeInterval"],
                target["scrapeTimeout"], bool(target["lastError"]))  # fmt: skip

    ours = [
        (each.pool, each.url, sorted(each.labels.items()), sorted(each.discovered.items()), each.health,
         each.interval, each.timeout, bool(each.error))
        for each in report.active
    ]  # fmt: skip
    assert sorted(ours) == sorted(map(shown, theirs["activeTargets"]))
    assert report.dropped_counts == theirs["droppedTargetCounts"]
