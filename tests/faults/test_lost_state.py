"""The agent's state folder is deleted, rotated files are gone: nothing comes twice, nothing is missing."""

import random
import shutil
import time

import pytest

from tests.faults.checks import assert_each_once, highest, until
from tests.faults.processes import Machine
from tests.faults.writers import Writers

pytestmark = pytest.mark.clickhouse


def _lose_state_often(machine: Machine, *, seed: int, times: int) -> None:
    """Kill the agent at a random moment; its state and those rotated files that are stored go at once."""
    chance = random.Random(seed)
    server = machine.server()
    server.start()
    server.wait_until_ready()
    agent = machine.agent(server.url)
    agent.start()
    writers = Writers(machine.pods, seed=seed)
    deleted = 0
    with writers.writing():
        for _ in range(times):
            time.sleep(chance.uniform(1.2, 2.5))
            deleted += writers.delete_rotated(highest(server.url))
            assert until((agent.state / "agent.db").exists, bool)
            agent.kill()
            shutil.rmtree(agent.state)
            agent.start()
    assert_each_once(server.url, writers.written)
    assert deleted > 0
    agent.stop()
    server.stop()


def test_state_that_is_lost_with_a_kill_loses_and_doubles_nothing(machine: Machine) -> None:
    _lose_state_often(machine, seed=6, times=5)


def test_state_that_is_lost_while_the_agent_is_stopped_loses_and_doubles_nothing(machine: Machine) -> None:
    server = machine.server()
    server.start()
    server.wait_until_ready()
    agent = machine.agent(server.url)
    agent.start()
    writers = Writers(machine.pods, seed=7)
    with writers.writing():
        stored = until(
            lambda: highest(server.url), lambda found: len(found) == 3 and all(each > 400 for each in found.values())
        )
    agent.stop()
    shutil.rmtree(agent.state)
    assert writers.delete_rotated(stored) > 0, stored
    for _ in range(30):
        writers.step()
    agent.start()
    assert_each_once(server.url, writers.written)
    agent.stop()
    server.stop()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(40, 44))
def test_state_that_is_lost_often_loses_and_doubles_nothing(machine: Machine, seed: int) -> None:
    _lose_state_often(machine, seed=seed, times=25)
