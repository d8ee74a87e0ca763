"""Two servers over one store: one stands still in the middle of a request, the agent moves, the first goes on."""

import random
import shutil
import threading
import time
from urllib.parse import urlsplit

import pytest

from tests.faults.checks import assert_each_once, count_different, get, numbers_by_pod, until, verify
from tests.faults.processes import Machine, ServerProgram
from tests.faults.proxy import Proxy
from tests.faults.writers import Writers

pytestmark = pytest.mark.clickhouse

_SETTINGS = {"KOBS_SERVER__REQUEST_TIMEOUT_SECONDS": "3"}
_LONG = {"KOBS_SERVER__REQUEST_TIMEOUT_SECONDS": "300"}
"""A server that takes its requests for in time however long it stood still: only the fence is left."""
_SWEEP_SECONDS = 30.0


class _Halt:
    """Suspends a server once, when a request of it to the store has some words in it, and lets that request pass."""

    def __init__(self, server: ServerProgram, words: bytes) -> None:
        self.armed = threading.Event()
        self.happened = threading.Event()
        self._server = server
        self._words = words

    def watch(self, request: bytes) -> None:
        if self.armed.is_set() and self._words in request:
            self.armed.clear()
            self._server.suspend()
            self.happened.set()


def _start(*servers: ServerProgram) -> None:
    for server in servers:
        server.start()
    for server in servers:
        server.wait_until_ready()


def _move(machine: Machine, store_url: str, words: bytes) -> tuple[ServerProgram, Writers]:
    """Suspend the first server at a request to the store, let the agent move, let the first go on."""
    store_port = urlsplit(store_url).port
    assert store_port is not None
    writers = Writers(machine.pods, seed=8)
    with Proxy(store_port) as way_to_store:
        first = machine.server("first", storage=way_to_store.url + urlsplit(store_url).path, settings=_SETTINGS)
        second = machine.server("second", storage=store_url, settings=_SETTINGS)
        _start(first, second)
        halt = _Halt(first, words)
        way_to_store.watch = halt.watch
        with Proxy(first.port) as way_to_first:
            machine.agent(way_to_first.url, second.url).start()
            with writers.writing():
                until(lambda: numbers_by_pod(second.url), lambda found: len(found) == 3)
                halt.armed.set()
                assert halt.happened.wait(20)
                way_to_first.refuse()
                before = count_different(second.url)
                until(lambda: count_different(second.url), lambda count: count > before + 100)
                first.resume()
            first.wait_until_ready()
            first.stop()
    return second, writers


@pytest.fixture
def shared_store(clickhouse_server: str, database_name: str) -> str:
    """The URL of an empty database of a server."""
    return f"{clickhouse_server}/{database_name}"


def test_an_insert_that_was_under_way_is_found_by_the_next_server(machine: Machine, shared_store: str) -> None:
    """The store inserts while the server that asked for it stands still: its successor looks and inserts the rest."""
    second, writers = _move(machine, shared_store, f"{urlsplit(shared_store).path[1:]}.logs (".encode())
    assert_each_once(second.url, writers.written)
    assert get(second.url, "/kobs/v1/ledger", reason="doubles_removed")["losses"] == []
    second.stop()


def test_rows_that_slip_through_behind_a_move_are_swept(machine: Machine, shared_store: str) -> None:
    """The server stands still between its last look at the fence and its insert, which so comes too late."""
    second, writers = _move(machine, shared_store, b"FROM log_fences WHERE agent")
    until(lambda: count_different(second.url), lambda count: count == sum(writers.written.values()))
    assert verify(second.url)["totals"]["doubled_rows"] > 0, "nothing slipped through"
    ledger = until(
        lambda: get(second.url, "/kobs/v1/ledger", reason="doubles_removed")["losses"], bool, seconds=_SWEEP_SECONDS
    )
    assert sum(record["rows"] for record in ledger) > 0, "nothing was swept"
    assert_each_once(second.url, writers.written)
    second.stop()


@pytest.mark.parametrize("words", [b"FROM log_segments", b"FROM log_fences WHERE agent"], ids=["before", "behind"])
def test_state_that_is_lost_while_a_server_stands_still_doubles_nothing(
    machine: Machine, shared_store: str, words: bytes
) -> None:
    """The new agent does not know whom the lost one left behind; the fence is the node's.

    The server stands still before its last look at the fence, or between that and its insert, which so comes too late.
    """
    store_port = urlsplit(shared_store).port
    assert store_port is not None
    writers = Writers(machine.pods, seed=9)
    with Proxy(store_port) as way_to_store:
        first = machine.server("first", storage=way_to_store.url + urlsplit(shared_store).path, settings=_LONG)
        second = machine.server("second", storage=shared_store, settings=_SETTINGS)
        _start(first, second)
        halt = _Halt(first, words)
        way_to_store.watch = halt.watch
        agent = machine.agent(first.url)
        agent.start()
        with writers.writing():
            until(lambda: numbers_by_pod(second.url), lambda found: len(found) == 3)
            if words == b"FROM log_segments":
                writers.rotate_all()
            halt.armed.set()
            assert halt.happened.wait(20)
            agent.kill()
            shutil.rmtree(agent.state)
            before = count_different(second.url)
            machine.agent(second.url, name="anew").start()
            until(lambda: count_different(second.url), lambda count: count > before + 100)
            first.resume()
        first.wait_until_ready()
        first.stop()
    until(lambda: count_different(second.url), lambda count: count == sum(writers.written.values()))
    until(lambda: verify(second.url)["totals"]["doubled_rows"], lambda n: n == 0, seconds=_SWEEP_SECONDS)
    assert_each_once(second.url, writers.written)
    second.stop()


def _suspend_often(machine: Machine, store_url: str, *, seed: int, times: int) -> None:
    """Suspend one server after the other at random moments; the agent goes to and fro."""
    chance = random.Random(seed)
    servers = [machine.server(name, storage=store_url, settings=_SETTINGS) for name in ("first", "second")]
    _start(*servers)
    writers = Writers(machine.pods, seed=seed)
    with Proxy(servers[0].port) as to_first, Proxy(servers[1].port) as to_second:
        agent = machine.agent(to_first.url, to_second.url)
        agent.start()
        with writers.writing():
            for turn in range(times):
                server, way = list(zip(servers, (to_first, to_second), strict=True))[turn % 2]
                time.sleep(chance.uniform(0.5, 2))
                server.suspend()
                way.refuse()
                time.sleep(chance.uniform(0.5, 4))
                server.resume()
                way.accept()
        until(lambda: count_different(servers[0].url), lambda count: count == sum(writers.written.values()))
        until(lambda: verify(servers[0].url)["totals"]["doubled_rows"], lambda n: n == 0, seconds=_SWEEP_SECONDS)
        assert_each_once(servers[0].url, writers.written)
        agent.stop()
    for server in servers:
        server.stop()


def test_servers_that_stand_still_at_any_moment_lose_and_double_nothing(machine: Machine, shared_store: str) -> None:
    _suspend_often(machine, shared_store, seed=10, times=3)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(50, 53))
def test_servers_that_stand_still_often_lose_and_double_nothing(machine: Machine, shared_store: str, seed: int) -> None:
    _suspend_often(machine, shared_store, seed=seed, times=25)
