"""The way between agent and server fails in every manner, and each line is stored once all the same."""

import random
import time
from collections.abc import Sequence

import pytest

from tests.faults.checks import assert_each_once, until
from tests.faults.processes import Machine
from tests.faults.proxy import Fault, Proxy
from tests.faults.writers import Writers

pytestmark = pytest.mark.clickhouse

_PHASE_SECONDS = 60.0
_FAULTS = [fault for fault in Fault if fault is not Fault.NONE]


def _spoil(machine: Machine, phases: Sequence[Sequence[Fault]], *, seed: int, times: int, delay_seconds: float) -> None:
    """Write through a proxy that spoils about half of all requests: in each phase each fault of it `times` times."""
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
                plan = [*faults, *[Fault.NONE] * len(faults)] * times
                chance.shuffle(plan)
                proxy.choose = lambda plan=plan: plan.pop() if plan else Fault.NONE
                until(lambda plan=plan: len(plan), lambda left: left == 0, seconds=_PHASE_SECONDS * times)
                assert not plan, f"{faults}: {len(plan)} requests have not come"
            proxy.refuse()
            time.sleep(1)
            proxy.accept()
        assert_each_once(server.url, writers.written)
        time.sleep(delay_seconds)  # what the proxy still delays must not add anything
        assert_each_once(server.url, writers.written)
    agent.stop()
    server.stop()


def test_faults_of_the_network_lose_and_double_nothing(machine: Machine) -> None:
    """One after the other, then all at once, then no connection at all."""
    _spoil(machine, [*([fault] for fault in _FAULTS), _FAULTS], seed=3, times=2, delay_seconds=0.5)


@pytest.mark.soak
@pytest.mark.parametrize("fault", _FAULTS, ids=lambda fault: fault.value)
def test_one_fault_of_the_network_for_long_loses_and_doubles_nothing(machine: Machine, fault: Fault) -> None:
    _spoil(machine, [[fault]], seed=30, times=25, delay_seconds=1.5)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20, 26))
def test_all_faults_of_the_network_for_long_lose_and_double_nothing(machine: Machine, seed: int) -> None:
    _spoil(machine, [_FAULTS], seed=seed, times=15, delay_seconds=1.5)
