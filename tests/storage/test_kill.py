"""Running statements are stopped by their comment, while all other clients are busy."""

import threading
import time
from collections.abc import Callable

import pyarrow as pa
import pytest

from kobs.errors import KobsError, StorageError
from kobs.storage.clickhouse import Store

SLOW = "SELECT sum(sipHash64(number)) AS s FROM numbers(1000000000000)"
RUNNING = "SELECT count() AS n FROM system.processes WHERE startsWith(Settings['log_comment'], {c:String})"


class Background:
    """A call in a thread, with the error that ended it."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.error: KobsError | None = None
        self._call = call
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._call()
        except KobsError as error:
            self.error = error


def wait_until_running(store: Store, comment: str, count: int = 1) -> None:
    deadline = time.monotonic() + 30
    while store.select(RUNNING, {"c": comment}, comment="look")["n"][0].as_py() < count:
        assert time.monotonic() < deadline, "the statement never ran"


@pytest.mark.clickhouse
def test_a_select_is_stopped_by_the_beginning_of_its_comment(store: Store) -> None:
    doomed = Background(lambda: store.select(SLOW, comment="query-17:rules"))
    other = Background(lambda: store.select(SLOW, comment="other", settings={"max_execution_time": 3}))
    wait_until_running(store, "query-17")

    store.kill("query-17")

    doomed.thread.join()
    assert isinstance(doomed.error, StorageError)
    assert doomed.error.name == "QUERY_WAS_CANCELLED"
    assert other.thread.is_alive()
    store.kill("other")
    other.thread.join()


@pytest.mark.clickhouse
def test_a_running_insert_is_stopped_and_leaves_nothing(store: Store) -> None:
    """The rows of an insert that was stopped are not in the store once `kill` has returned."""
    store.command(
        "CREATE TABLE slow_in (n UInt64, t UInt64 MATERIALIZED sleepEachRow(0.001)) ENGINE = MergeTree ORDER BY n"
    )
    rows = pa.table({"n": pa.array(range(2000), pa.uint64())})
    limits = {"function_sleep_max_microseconds_per_block": 10_000_000_000, "max_block_size": 100}
    insert = Background(lambda: store.insert("slow_in", rows, settings=limits, comment="agent-a:9"))
    wait_until_running(store, "agent-a:")

    store.kill("agent-a:")
    found = store.select("SELECT count() AS n FROM slow_in")["n"][0].as_py()

    insert.thread.join()
    assert insert.error is not None
    assert found == 0
    assert store.select("SELECT count() AS n FROM slow_in")["n"].to_pylist() == [0]


@pytest.mark.clickhouse
def test_it_works_while_every_client_is_busy(store_url: str, database_name: str) -> None:
    store = Store(store_url, database=database_name, threads=2)
    watcher = Store(store_url, database=database_name, threads=1)
    busy = [Background(lambda: store.select(SLOW, comment=f"{database_name}-busy")) for _ in range(2)]
    try:
        wait_until_running(watcher, f"{database_name}-busy", 2)

        store.kill(f"{database_name}-busy")

        for one in busy:
            one.thread.join()
            assert isinstance(one.error, StorageError)
    finally:
        watcher.command(f"DROP DATABASE {database_name} SYNC")
        store.close()
        watcher.close()


@pytest.mark.clickhouse
def test_a_comment_with_quotes_is_a_comment(shared_store: Store) -> None:
    shared_store.kill("it's \\ not running")


@pytest.mark.clickhouse
def test_an_empty_prefix_is_refused(shared_store: Store) -> None:
    with pytest.raises(StorageError, match="every statement"):
        shared_store.kill("")
