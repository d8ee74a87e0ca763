"""The API over a store with a few series."""

import pytest

from kobs.model.samples import Family, MetricType, Sample
from kobs.storage.clickhouse import Store
from kobs.wire.samples import JobFamily
from tests.api.prometheus.asking import Api
from tests.metric_frames import BASE_MS, Accepting, frame

UP = {"__name__": "up", "job": "node", "instance": 'a"<&>\\é'}
LOAD = {"__name__": "node_load1", "job": "node", "instance": "n1"}
DOTTED = {"__name__": "with.dot", "a b": "c", "job": "app"}
FAMILIES = [
    JobFamily.of("node", Family("node_load1", MetricType.GAUGE, "", "Load.")),
    JobFamily.of("other", Family("node_load1", MetricType.GAUGE, "", "Load average.")),
    JobFamily.of("node", Family("up", MetricType.UNKNOWN, "", "")),
]


@pytest.fixture
def api(store: Store) -> Api:
    """Series of three names; the last samples are at BASE_MS + 15.5 s."""
    samples = [
        Sample(UP, BASE_MS, 1.0),
        Sample(UP, BASE_MS + 15_500, 0.1),
        Sample(LOAD, BASE_MS, 0.5),
        Sample(DOTTED, BASE_MS, 2.0),
    ]
    with Accepting(store) as accept:
        assert [answer.rejected for answer in accept(frame(samples, families=FAMILIES))] == [{}]
    return Api(store)
