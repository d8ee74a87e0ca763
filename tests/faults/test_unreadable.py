"""Files and folders that the agent may not read: a problem that is told, nothing lost, and nothing else held up."""

import os
import shutil

import pytest

from tests.faults.checks import assert_each_once, get, numbers_by_pod, until
from tests.faults.processes import Machine
from tests.parts import require
from tests.writing import ContainerLog

pytestmark = pytest.mark.clickhouse

_WITHOUT_RIGHTS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
"""Root reads every file, unless it has not got the right to."""


def test_what_cannot_be_read_is_a_problem_and_is_delivered_when_it_can(machine: Machine) -> None:
    server = machine.server()
    server.start()
    server.wait_until_ready()
    agent = machine.agent(server.url)
    if os.geteuid() == 0:
        require(shutil.which("setpriv") is not None, "root needs setpriv to start a program with fewer rights")
        agent.prefix = _WITHOUT_RIGHTS
    logs = {name: ContainerLog(machine.pods, pod=name) for name in ("open", "file", "folder")}
    for log in logs.values():
        log.numbered(20)
    logs["file"].path.chmod(0)
    logs["folder"].folder.chmod(0)
    agent.start()
    until(lambda: numbers_by_pod(server.url), lambda found: len(found.get("open", [])) == 20)

    def problems() -> list[str]:
        return [problem for each in get(server.url, "/kobs/v1/status")["agents"] for problem in each["problems"]]

    told = until(problems, lambda found: len(found) >= 2)
    for place in (logs["file"].path, logs["folder"].folder):
        assert f"{place}: Permission denied" in told
    assert numbers_by_pod(server.url).keys() == {"open"}
    logs["file"].path.chmod(0o600)
    logs["folder"].folder.chmod(0o700)
    logs["file"].numbered(1)
    assert_each_once(server.url, {"open": 20, "file": 21, "folder": 20})

    def denied() -> list[str]:
        return [problem for problem in problems() if "Permission denied" in problem]

    assert until(denied, lambda found: not found) == []
    agent.stop()
    server.stop()
