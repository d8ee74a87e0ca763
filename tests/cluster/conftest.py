"""What tests inside the real cluster share. They run under enter.sh, which sets KUBECONFIG and CLUSTER_ variables."""

import os
import secrets
from collections.abc import Iterator, Mapping

import pytest

from tests.cluster.kubectl import kubectl


@pytest.fixture(scope="session")
def cluster() -> Mapping[str, str]:
    """The settings of the cluster, such as `CLUSTER_VAR_LOG`: the CLUSTER_ lines of its env file."""
    if "CLUSTER_STATE" not in os.environ:
        # in CI too: `make test` runs there outside the cluster, and `make cluster-test` after it
        pytest.skip("not inside the cluster: run make cluster-test")
    kubectl("get", "--raw", "/readyz")
    return {name: value for name, value in os.environ.items() if name.startswith("CLUSTER_")}


@pytest.fixture
def namespace(cluster: Mapping[str, str]) -> Iterator[str]:
    """A Kubernetes namespace of the test's own, new on each run: a deleted one's logs stay for some seconds."""
    assert cluster
    name = f"test-{secrets.token_hex(4)}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")
