"""The compliance queries, asked of kobs and of a real Prometheus 3 on the same samples."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kobs.query.metrics import Metrics
from kobs.storage.clickhouse import Store
from tests.metric_frames import BASE_MS
from tests.oracle.comparing import difference, ours, theirs, write_series_into, write_series_to
from tests.oracle.demo import BEFORE_MS, Demo
from tests.prometheus import Prometheus
from tests.query.promql.corpora import compliance

START_MS = BASE_MS + BEFORE_MS
WINDOW_MS, STEP_MS = 600_000, 10_000
OFFSETS = {"aligned": 0, "not aligned": 2_500}
"""How far query times are from those of samples, in ms."""
REFUSED = 3
"""So many of the queries does Prometheus 3 refuse."""


@pytest.fixture(scope="module")
def demo(oracle_store: Store, prometheus: Prometheus) -> Demo:
    made = Demo(START_MS)
    write_series_into(oracle_store, made.series)
    write_series_to(prometheus, made.series)
    return made


@pytest.mark.clickhouse
@pytest.mark.parametrize("offset_ms", OFFSETS.values(), ids=OFFSETS)
@pytest.mark.usefixtures("demo")
def test_compliance_queries(
    offset_ms: int, oracle_store: Store, prometheus: Prometheus, recorded: Callable[[str], Path]
) -> None:
    """Every query has Prometheus' answer, points to the fifth digit; those it refuses are refused."""
    wrong: list[str] = []
    answered = refused = 0
    start_ms = START_MS + offset_ms
    metrics = Metrics(oracle_store)
    queries = compliance(recorded("promql-compliance"))
    for query, should_fail in queries:
        expected, _ = theirs(prometheus, query, start_ms, start_ms + WINDOW_MS, STEP_MS)
        found = ours(metrics, query, start_ms, start_ms + WINDOW_MS, STEP_MS)
        if isinstance(expected, str) or isinstance(found, str):
            if isinstance(expected, str) != isinstance(found, str):
                wrong.append(f"{query}: {found} instead of {expected}")
            refused += isinstance(expected, str)
            assert isinstance(expected, str) == should_fail, query
            continue
        answered += bool(expected)
        if (where := difference(found, expected, relative=1e-5)) is not None:
            wrong.append(f"{query}: {where}")
    assert wrong == []
    assert refused == REFUSED
    assert answered > 450
