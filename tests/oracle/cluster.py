"""What the components of a recorded cluster say, as series over some time: counters grow, gauges stay."""

import csv
from pathlib import Path

import numpy as np

from kobs.model.samples import MetricType
from kobs.query.promql.values import Labels
from kobs.wire.exposition.lines import read_text_sample
from tests.query.promql.memory import Samples

_NODE = "minikube"
_SOURCES: dict[str, dict[str, str]] = {
    "kubelet-cadvisor/k8s-1.34/kubelet-cadvisor.prom": {
        "job": "kubelet",
        "metrics_path": "/metrics/cadvisor",
        "node": _NODE,
        "instance": "192.168.49.2:10250",
    },
    "kubelet-cadvisor/k8s-1.34/kube-apiserver.prom": {"job": "apiserver", "instance": "192.168.49.2:8443"},
    "kubelet-cadvisor/k8s-1.34/kube-controller-manager.prom": {"job": "kube-controller-manager", "instance": "cm"},
    "kubelet-cadvisor/k8s-1.34/kube-scheduler.prom": {"job": "kube-scheduler", "instance": "scheduler"},
    "kubelet-cadvisor/k8s-1.34/kube-state-metrics.prom": {"job": "kube-state-metrics", "instance": "ksm"},
    "kubelet-cadvisor/coredns-1.15-scrape-2.prom": {"job": "coredns", "instance": "dns", "namespace": "kube-system"},
    "node-exporter/scrape-2.prom": {"job": "node-exporter", "instance": _NODE, "namespace": "monitoring"},
}
STEP_MS = 30_000


def cluster(folder: Path, start_ms: int, end_ms: int) -> dict[Labels, Samples]:
    """Return the series of all recorded metrics that kube-prometheus reads."""
    with (folder / "kube-prometheus" / "metric-names.tsv").open(newline="") as file:
        wanted = {row["metric"] for row in csv.DictReader(file, delimiter="\t")}
    times = np.arange(start_ms, end_ms + 1, STEP_MS, dtype=np.int64)
    found: dict[Labels, Samples] = {}
    for name, target in _SOURCES.items():
        kind = MetricType.UNKNOWN
        for line in (folder / name).read_bytes().splitlines():
            if line.startswith(b"# TYPE "):
                kind = MetricType(line.split()[3].decode().replace("untyped", "unknown"))
            if not line or line.startswith(b"#"):
                continue
            if line[: line.find(b"{") if b"{" in line else line.find(b" ")].decode() not in wanted:
                continue
            sample = read_text_sample(line, kind)
            labels = tuple(sorted((key, value) for key, value in {**sample.labels, **target}.items() if value))
            grows = kind in (MetricType.COUNTER, MetricType.HISTOGRAM, MetricType.SUMMARY)
            turns = np.arange(len(times)) if grows else np.zeros(len(times))
            found[labels] = times, float(sample.value) * (1 + turns / 64)
    return found
