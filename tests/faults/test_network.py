"""The way between agent and server fails in every manner, and each line is stored once all the same."""

import random
import time
from collections.abc import Sequence

import pytest

from tests.faults.checks import assert_each_once
from tests.faults.processes import Machine
from tests.faults.proxy import Fault, Proxy
from tests.faults.writers import Writers

pytestmark = pytest.mark.clickhouse

_FAULTS = [fault for fault in Fault if fault is not Fault.NONE]


def _spoil(machine: Machine, faults: Sequence[Fault], *, seed: int, seconds: float, delay_seconds: float = 0.5) -> None:
    """Write for a while through a proxy that spoils half of all requests."""
    chance = random.Random(seed)
    server = machine.server()
    server.start()
    server.wait_until_ready()
    writers = Writers(machine.pods, seed=seed)
    with Proxy(server.port, delay_seconds=delay_seconds) as proxy:
        proxy.choose = lambda _number: chance.choice(faults) if chance.random() < 0.5 else Fault.NONE
        agent = machine.agent(proxy.url)
        agent.start()
        with writers.writing():
            time.sleep(seconds)
        proxy.choose = lambda _number: Fault.NONE
        assert_each_once(server.url, writers.written)
        time.sleep(delay_seconds)  # for what is still under way in the proxy
        assert_each_once(server.url, writers.written)
        assert all(proxy.counts[fault] for fault in faults), proxy.counts
    agent.stop()
    server.stop()


@pytest.mark.parametrize("fault", _FAULTS, ids=lambda fault: fault.value)
def test_a_fault_of_the_network_loses_and_doubles_nothing(machine: Machine, fault: Fault) -> None:
    _spoil(machine, [fault], seed=3, seconds=4)


def test_all_faults_of_the_network_lose_and_double_nothing(machine: Machine) -> None:
    _spoil(machine, _FAULTS, seed=4, seconds=12)


def test_a_server_that_refuses_connections_gets_everything_later(machine: Machine) -> None:
    server = machine.server()
    server.start()
    server.wait_until_ready()
    writers = Writers(machine.pods, seed=5)
    with Proxy(server.port) as proxy:
        agent = machine.agent(proxy.url)
        agent.start()
        with writers.writing():
            for _ in range(2):
                time.sleep(1)
                proxy.refuse()
                time.sleep(1)
                proxy.accept()
        assert_each_once(server.url, writers.written)
    agent.stop()
    server.stop()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20, 26))
def test_faults_of_the_network_for_long_lose_and_double_nothing(machine: Machine, seed: int) -> None:
    _spoil(machine, _FAULTS, seed=seed, seconds=60, delay_seconds=1.5)
