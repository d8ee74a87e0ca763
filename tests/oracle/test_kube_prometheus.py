"""All expressions of kube-prometheus' rules and dashboards, on what the components of a recorded cluster say."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from kobs.query.metrics import Metrics
from kobs.storage.clickhouse import Store
from tests.metric_frames import BASE_MS
from tests.oracle.cluster import STEP_MS, cluster
from tests.oracle.comparing import difference, ours, theirs, write_series_into, write_series_to
from tests.prometheus import Prometheus
from tests.query.promql.corpora import kube_prometheus

START_MS, END_MS = BASE_MS, BASE_MS + 20 * 60_000
_ANY = '=~".*"'


def with_values(expression: str) -> str:
    """Return an expression with something that matches everything in the place of the dashboards' variables."""
    expression = re.sub(r'cluster="\$\w+"', 'cluster=""', expression)
    expression = re.sub(r'=\s*"\$\{?[a-z_]\w*\}?"', _ANY, expression)
    return re.sub(r"\$\{?[a-z_]\w*(?::\w+)?\}?", ".*", expression)


@pytest.mark.clickhouse
def test_expressions_of_rules_and_dashboards(
    oracle_store: Store, prometheus: Prometheus, recorded: Callable[[str], Path]
) -> None:
    """Each is answered, and as Prometheus answers it."""
    folder = recorded("kube-prometheus").parent
    series = cluster(folder, START_MS, END_MS + 2 * STEP_MS)
    write_series_into(oracle_store, series)
    write_series_to(prometheus, series)
    expressions = list(dict.fromkeys(map(with_values, kube_prometheus(folder / "kube-prometheus"))))
    metrics = Metrics(oracle_store)
    wrong, answered = [], 0
    for expression in expressions:
        expected, _ = theirs(prometheus, expression, END_MS - 300_000, END_MS, 60_000)
        found = ours(metrics, expression, END_MS - 300_000, END_MS, 60_000)
        if isinstance(expected, str) or isinstance(found, str):
            # two instances of one thing, which the recorded cluster's labels do not tell apart
            if not (isinstance(expected, str) and isinstance(found, str) and found[:40] == expected[:40]):
                wrong.append(f"{expression}: {found} instead of {expected}")
            continue
        answered += bool(expected)
        if (where := difference(found, expected, relative=1e-9)) is not None:
            wrong.append(f"{expression}: {where}")
    assert wrong == []
    assert len(expressions) > 700
    assert answered > 150
