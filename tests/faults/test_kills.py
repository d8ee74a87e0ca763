"""Agents and servers are killed at random moments while containers write and rotate: each line is stored once."""

import random
import time

import pytest

from tests.faults.checks import assert_each_once
from tests.faults.processes import Machine, Program
from tests.faults.writers import Writers

pytestmark = pytest.mark.clickhouse

_LIVES_SECONDS = (0.7, 2.5)
"""How long a killed program lives: it takes about half a second to start."""


def _kill_often(machine: Machine, seed: int, kills: int, victims: str) -> None:
    chance = random.Random(seed)
    server = machine.server()
    agent = machine.agent(server.url)
    writers = Writers(machine.pods, seed=seed)
    chosen: list[Program] = [each for each in (agent, server) if each.name in victims]
    server.start()
    server.wait_until_ready()
    agent.start()
    with writers.writing():
        for _ in range(kills):
            time.sleep(chance.uniform(*_LIVES_SECONDS))
            for program in chance.sample(chosen, len(chosen)):
                program.kill()
            for program in chance.sample(chosen, len(chosen)):
                program.start()
    assert_each_once(server.url, writers.written)
    agent.stop()
    server.stop()


@pytest.mark.parametrize("victims", ["agent", "server", "agent and server"])
def test_kills_lose_and_double_nothing(machine: Machine, victims: str) -> None:
    _kill_often(machine, seed=1, kills=5, victims=victims)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10, 14))
@pytest.mark.parametrize("victims", ["agent", "server", "agent and server"])
def test_many_kills_lose_and_double_nothing(machine: Machine, victims: str, seed: int) -> None:
    _kill_often(machine, seed=seed, kills=25, victims=victims)
