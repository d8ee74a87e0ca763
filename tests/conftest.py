"""What all tests share: a store in both forms, recorded data, the guard that keeps unmarked tests off the engine."""

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kobs.storage.clickhouse import Store
from tests import parts

ROOT = Path(__file__).parent.parent
_DATABASE_NUMBERS = itertools.count(1)


@pytest.fixture(autouse=True)
def _only_marked_tests_open_a_store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("clickhouse") is not None:
        return

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("this test opens a Store without @pytest.mark.clickhouse")

    # patched, because the rule is about tests and Store itself cannot know which test runs
    monkeypatch.setattr(Store, "__init__", refuse)


@pytest.fixture(scope="session")
def engine_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one folder of the engine in this process: a process can have only one open at a time."""
    return tmp_path_factory.mktemp("engine")


@pytest.fixture(scope="session")
def clickhouse_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a ClickHouse HTTP server, a process of its own for the whole session."""
    arguments = ["--path", str(tmp_path_factory.mktemp("server")), "--port", "0", "--with-parent"]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.clickhouse_server", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().removeprefix("listening on ").strip()
        finally:
            process.terminate()


@pytest.fixture(scope="module", params=["embedded", "http"])
def store_url(request: pytest.FixtureRequest) -> str:
    """The URL of an engine, once in this process and once by HTTP; for tests that open it themselves."""
    if request.param == "embedded":
        return f"chdb://{request.getfixturevalue('engine_folder')}"
    return str(request.getfixturevalue("clickhouse_server"))


@pytest.fixture
def database_name() -> str:
    """A name that no other test has."""
    return f"test_{next(_DATABASE_NUMBERS)}"


@pytest.fixture
def store(store_url: str, database_name: str) -> Iterator[Store]:
    """A fresh store with an empty schema, in both forms."""
    opened = Store(store_url, database=database_name, threads=4)
    try:
        yield opened
    finally:
        opened.command(f"DROP DATABASE {database_name} SYNC")
        opened.close()


@pytest.fixture(scope="module")
def shared_store(store_url: str) -> Iterator[Store]:
    """A store with an empty schema, in both forms, for tests that write nothing: all of a module have the same."""
    name = f"shared_{next(_DATABASE_NUMBERS)}"
    opened = Store(store_url, database=name, threads=4)
    try:
        yield opened
    finally:
        opened.command(f"DROP DATABASE {name} SYNC")
        opened.close()


@pytest.fixture
def recorded() -> Callable[[str], Path]:
    """What finds a recorded data set: `recorded("logs")` is its path, and skips the test where it is missing."""
    return parts.recorded
