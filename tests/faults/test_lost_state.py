"""The agent's state folder is deleted, rotated files are gone: nothing comes twice, nothing is missing."""

import random
import shutil
import time

import pytest

from tests.faults.checks import assert_each_once, highest, until, verify
from tests.faults.processes import Machine
from tests.faults.writers import Writers
from tests.writing import ContainerLog, compress

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


def _pods(machine: Machine, *names: str) -> dict[str, ContainerLog]:
    return {name: ContainerLog(machine.pods, pod=name, seed=number) for number, name in enumerate(names)}


def _claimed(url: str) -> dict[str, int]:
    """Return how many bytes of each Pod are claimed, delivered or not."""
    return {each["labels"]["pod"]: each["claimed_bytes"] for each in verify(url)["sources"]}


@pytest.mark.parametrize("whole_pod", [False, True], ids=["one file is gone", "the Pod is gone"])
def test_what_was_claimed_and_is_gone_with_the_state_is_lost_and_not_pending(
    machine: Machine,
    whole_pod: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """A partial line holds bytes back, so that they are claimed and not delivered when all is lost."""
    server = machine.server()
    server.start()
    server.wait_until_ready()
    agent = machine.agent(server.url)
    agent.start()
    logs = _pods(machine, "gone", "stays", "open")
    for log in logs.values():
        log.numbered(100)
    for name in ("gone", "open"):
        logs[name].line(b"begins, ", tag="P")
        logs[name].line(b"goes on, ", tag="P")
    sizes = {name: log.path.stat().st_size for name, log in logs.items()}
    assert until(lambda: _claimed(server.url), lambda found: found == sizes) == sizes
    before = until(lambda: verify(server.url)["totals"], lambda totals: totals["rows"] == 300)
    assert before["rows"] == 300, "all but the partial lines is delivered"
    held_back = before["pending_bytes"]
    assert held_back > 0
    agent.kill()
    shutil.rmtree(agent.state)
    if whole_pod:
        shutil.rmtree(logs["gone"].folder.parent)
    else:
        logs["gone"].rotate().unlink()
        logs["gone"].line(b"another file")
    agent.start()
    logs["open"].line(b"and ends")
    report = until(lambda: verify(server.url), lambda found: found["totals"]["pending_bytes"] == 0)
    assert report["totals"]["pending_bytes"] == 0, report["totals"]
    assert not report["ok"]
    (found,) = [each for each in report["sources"] if each["losses"]]
    assert found["labels"]["pod"] == "gone"
    (loss,) = found["losses"]
    assert loss["reason"] == "rotated_away"
    assert report["totals"]["lost_bytes"] == loss["bytes"] == held_back // 2
    assert 0 < int(loss["first"]) <= int(loss["last"]) < time.time_ns()
    assert report["totals"]["missing_bytes"] == report["totals"]["doubled_rows"] == 0
    agent.stop()
    agent.start()
    logs["stays"].numbered(1)
    until(lambda: highest(server.url), lambda found: found.get("stays") == 100)
    assert verify(server.url)["totals"]["lost_bytes"] == loss["bytes"], "it was put on record again"
    agent.stop()
    server.stop()


def test_a_claimed_file_that_is_compressed_is_read_on_and_not_lost(machine: Machine) -> None:
    server = machine.server()
    server.start()
    server.wait_until_ready()
    agent = machine.agent(server.url)
    agent.start()
    log = _pods(machine, "web")["web"]
    log.numbered(100)
    log.line(b"begins, ", tag="P")
    until(lambda: _claimed(server.url), lambda found: found.get("web") == log.path.stat().st_size)
    agent.kill()
    shutil.rmtree(agent.state)
    log.line(b"and ends")
    compress(log.rotate())
    log.numbered(1)
    agent.start()
    assert_each_once(server.url, {"web": 101})
    agent.stop()
    server.stop()
