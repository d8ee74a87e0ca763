"""The newest samples in the text format, read again by a parser of it."""

import math
import struct
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kobs.api.prometheus.federation import exposition, format_float
from kobs.model.samples import STALE_NAN_BITS, Sample
from kobs.query.federation import NewestSample
from kobs.storage.clickhouse import Store
from tests.api.prometheus.asking import Api
from tests.metric_frames import store_samples

STALE = struct.unpack("<d", struct.pack("<Q", STALE_NAN_BITS))[0]


@pytest.mark.clickhouse
def test_the_newest_sample_of_each_series(store: Store) -> None:
    """It has its own time; a series that ended, or whose last sample is too old, is left out."""
    now_ms = time.time_ns() // 1_000_000
    labels = {"__name__": "up", "job": "a", "path": 'a"\\\n<'}
    store_samples(
        store,
        [
            Sample(labels, now_ms - 20_000, 1.0),
            Sample(labels, now_ms - 10_000, 1e6),
            Sample({"__name__": "up", "job": "ended"}, now_ms - 20_000, 1.0),
            Sample({"__name__": "up", "job": "ended"}, now_ms - 10_000, STALE),
            Sample({"__name__": "up", "job": "old"}, now_ms - 400_000, 1.0),
            Sample({"__name__": "down", "instance": "i"}, now_ms - 10_000, math.inf),
            Sample({"__name__": "other"}, now_ms - 10_000, 1.0),
        ],
    )
    answer = Api(store).request("GET", "/federate", params={"match[]": ["up", '{instance!=""}', '{job="a"}']})
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    down, up = text_string_to_metric_families(answer.text)
    assert [(each.labels, each.value) for each in down.samples] == [({"instance": "i"}, math.inf)]
    assert [(each.labels, each.value) for each in up.samples] == [
        ({"instance": "", "job": "a", "path": 'a"\\\n<'}, 1e6)
    ]
    assert f"1000000 {now_ms - 10_000}\n" in answer.text
    assert answer.text.startswith("# TYPE down untyped\n")


@pytest.mark.clickhouse
def test_wrong_selectors_are_told(store: Store) -> None:
    api = Api(store)
    assert api.request("GET", "/federate").text == ""
    answer = api.request("GET", "/federate", params={"match[]": "up{"})
    assert (answer.status_code, "parse error" in answer.text) == (400, True)


def test_names_that_the_text_format_cannot_write() -> None:
    samples = [NewestSample((("1 b", "c"), ("__name__", "with.dot"), ("instance", "i")), 5, 1.0)]
    assert exposition(samples, keeps_utf_8=True) == (
        b'# TYPE "with.dot" untyped\n{"with.dot","1 b"="c",instance="i"} 1 5\n'
    )
    assert exposition(samples, keeps_utf_8=False) == b'# TYPE with_dot untyped\nwith_dot{_1_b="c",instance="i"} 1 5\n'


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-5, 1e6, 123456789.0, 1e21, 1e300, 5e-324, 0.1, -1e16], ids=str)
def test_values_are_read_as_they_were(value: float) -> None:
    assert struct.pack("<d", float(format_float(value))) == struct.pack("<d", value)
