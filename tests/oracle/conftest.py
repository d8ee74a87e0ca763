"""A store and a Prometheus for tests that ask both."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kobs.storage.clickhouse import Store
from tests.prometheus import Prometheus, running_prometheus


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real Prometheus without samples, one for a module."""
    with running_prometheus(tmp_path_factory.mktemp("prometheus")) as running:
        yield running


@pytest.fixture(scope="module")
def oracle_store(engine_folder: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    """A store with an empty schema in the embedded engine, one for a module."""
    name = f"oracle_{request.module.__name__.rpartition('.')[2]}"
    opened = Store(f"chdb://{engine_folder}", database=name, threads=4)
    try:
        yield opened
    finally:
        opened.command(f"DROP DATABASE {name} SYNC")
        opened.close()
