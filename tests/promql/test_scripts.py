"""The scripts beside this file hold on kobs, and a real Prometheus says that they are right."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kobs.query import metrics
from kobs.storage.clickhouse import Store
from tests.promql.engines import KobsEngine, PrometheusEngine
from tests.promql.running import run

SCRIPTS = sorted(Path(__file__).parent.glob("*.test"))


@pytest.fixture(scope="module")
def kobs(engine_folder: Path) -> Iterator[KobsEngine]:
    store = Store(f"chdb://{engine_folder}", database="promql_scripts", threads=4)
    try:
        without_ttl(store)
        yield KobsEngine(store)
    finally:
        store.command("DROP DATABASE promql_scripts SYNC")
        store.close()


def without_ttl(store: Store) -> None:
    """Let tables keep samples of 1970."""
    for table in ("metric_samples", "metric_series"):
        if " TTL " in store.select(f"SHOW CREATE TABLE {store.database}.{table}").column(0)[0].as_py():
            store.command(f"ALTER TABLE {store.database}.{table} REMOVE TTL")


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusEngine]:
    engine = PrometheusEngine(tmp_path_factory.mktemp("prometheus"))
    yield engine
    engine.clear()


@pytest.mark.clickhouse
@pytest.mark.xfail(not hasattr(metrics, "Answer"), reason="only selectors are evaluated")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_script_holds_on_kobs(script: Path, kobs: KobsEngine) -> None:
    assert not (found := run(script, kobs)), "\n".join(found)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_script_holds_on_prometheus(script: Path, prometheus: PrometheusEngine) -> None:
    assert not (found := run(script, prometheus)), "\n".join(found)
