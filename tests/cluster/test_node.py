"""The cluster itself: what tests of log delivery rely on."""

import gzip
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cluster.kubectl import kubectl, wait_for

pytestmark = pytest.mark.cluster

COUNTING = """
apiVersion: v1
kind: Pod
metadata: {name: counting}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: app
    image: local.test/busybox:1
    command: [sh, -c, 'i=0; while true; do echo "line $i"; i=$((i+1)); usleep 2000; done']
"""


def first_lines_of_compressed(pods: Path, namespace: str) -> list[str]:
    found = []
    for path in pods.glob(f"{namespace}_counting_*/app/0.log.*.gz"):
        try:
            with gzip.open(path, "rt") as lines:
                found.append(next(lines))
        except FileNotFoundError:  # the kubelet keeps the newest only
            continue
    return found


def test_kubelet_rotates_and_compresses_the_log_of_a_container(cluster: Mapping[str, str], namespace: str) -> None:
    kubectl("-n", namespace, "apply", "-f", "-", manifest=COUNTING)
    pods = Path(cluster["CLUSTER_VAR_LOG"], "pods")
    lines = wait_for("a rotated, compressed log", lambda: first_lines_of_compressed(pods, namespace), seconds=60)
    time, stream, flag, text = lines[0].split(" ", 3)
    assert (time[-1], stream, flag) == ("Z", "stdout", "F")
    assert text.startswith("line ")
