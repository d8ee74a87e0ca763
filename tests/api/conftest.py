"""What the tests of the API share: a server over the embedded engine."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from kobs.storage.clickhouse import Store
from tests.api.server import Server, serve


@pytest.fixture
def store(engine_folder: Path, database_name: str) -> Iterator[Store]:
    """A fresh store in this process: what the API adds does not depend on where the engine is."""
    opened = Store(f"chdb://{engine_folder}", database=database_name, threads=4)
    try:
        yield opened
    finally:
        opened.command(f"DROP DATABASE {database_name} SYNC")
        opened.close()


@pytest.fixture
def server(store: Store) -> Iterator[Server]:
    """A server with the default settings."""
    with serve(store) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    """A client of that server."""
    with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as opened:
        yield opened
