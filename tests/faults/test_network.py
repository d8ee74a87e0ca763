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


def _spoil(
    machine: Machine, phases: Sequence[Sequence[Fault]], *, seed: int, seconds: float, delay_seconds: float = 0.5
) -> None:
    """Write through a proxy that spoils half of all requests, in each phase with faults of its own."""
    chance = random.Random(seed)
    server = machine.server()
    server.start()
    server.wait_until_ready()
    writers = Writers(machine.pods, seed=seed)
    with Proxy(server.port, delay_seconds=delay_seconds) as proxy:
        agent = machine.agent(proxy.url)
        agent.start()
        with writers.writing():
            for faults in phases:
                proxy.choose = lambda faults=faults: chance.choice(faults) if chance.random() < 0.5 else Fault.NONE
                time.sleep(seconds)
        proxy.choose = lambda: Fault.NONE
        assert_each_once(server.url, writers.written)
        time.sleep(delay_seconds)  # what the proxy still delays must not add anything
        assert_each_once(server.url, writers.written)
        assert all(proxy.counts[fault] for faults in phases for fault in faults), proxy.counts
    agent.stop()
    server.stop()


def test_faults_of_the_network_one_after_the_other_lose_and_double_nothing(machine: Machine) -> None:
    _spoil(machine, [[fault] for fault in _FAULTS], seed=3, seconds=1.5)


def test_faults_of_the_network_all_at_once_lose_and_double_nothing(machine: Machine) -> None:
    _spoil(machine, [_FAULTS], seed=4, seconds=6)


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
@pytest.mark.parametrize("fault", _FAULTS, ids=lambda fault: fault.value)
def test_one_fault_of_the_network_for_long_loses_and_doubles_nothing(machine: Machine, fault: Fault) -> None:
    _spoil(machine, [[fault]], seed=30, seconds=30, delay_seconds=1.5)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20, 26))
def test_all_faults_of_the_network_for_long_lose_and_double_nothing(machine: Machine, seed: int) -> None:
    _spoil(machine, [_FAULTS], seed=seed, seconds=60, delay_seconds=1.5)
