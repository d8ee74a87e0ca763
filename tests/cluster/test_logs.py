"""Logs of a real node: what containers print is stored once, through the kubelet's rotation, kills and crash loops.

The kubelet keeps three files of a container here and rotates a busy one every six seconds, so an agent that is away for
longer than a quarter of a minute misses some.
"""

import re
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.kubectl import kubectl, wait_for
from tests.faults import processes
from tests.faults.checks import entries, get, until, verify
from tests.faults.processes import AgentProgram, Machine, Program, ServerProgram

pytestmark = pytest.mark.cluster

EXAMPLES = Path(__file__).parent / "examples"
# Prints numbers on both streams, 2 KiB a second, until it is told to end; then it says how far it has counted. At
# 10 KiB a second the kubelet rotates every 3 s and keeps a file for less time than a server may take to start.
COUNTING = """
apiVersion: v1
kind: Pod
metadata: {name: counting}
spec:
  terminationGracePeriodSeconds: 5
  containers:
  - name: app
    image: local.test/busybox:1
    command:
    - sh
    - -c
    - |
      i=0
      trap 'echo "end $i"; echo "end $i" >&2; exit' TERM
      while [ ! -e /tmp/end ]; do
        echo "number=$i of stdout"; echo "number=$i of stderr" >&2; i=$((i+1)); usleep 50000
      done
      echo "end $i"; echo "end $i" >&2
      while true; do sleep 1; done
"""
# Ends at once; the volume holds which attempt it is.
CRASHING = """
apiVersion: v1
kind: Pod
metadata: {name: crashing}
spec:
  containers:
  - name: app
    image: local.test/busybox:1
    volumeMounts: [{name: count, mountPath: /count}]
    command:
    - sh
    - -c
    - |
      n=$(($(cat /count/n 2>/dev/null || echo -1) + 1)); echo $n > /count/n
      i=0
      while [ $i -lt 200 ]; do echo "attempt=$n number=$i"; i=$((i+1)); done
      echo "attempt=$n fatal" >&2
      exit 3
  volumes: [{name: count, emptyDir: {}}]
"""
TRACE = "java.lang.IllegalStateException: demo\n\tat demo.Main.run(Main.java:12)\n\tat demo.Main.main(Main.java:5)"
LONG_LINE = "x" * 40_000

_NUMBER = re.compile(r"number=(\d+)")


@pytest.fixture
def machine(tmp_path: Path, cluster: Mapping[str, str]) -> Iterator[Machine]:
    """The node itself: its agent reads what containerd and the kubelet write."""
    with processes.machine(tmp_path) as made:
        made.pods = Path(cluster["CLUSTER_VAR_LOG"], "pods")
        yield made


@pytest.fixture
def server(machine: Machine) -> ServerProgram:
    """A running server with an empty store."""
    started = machine.server()
    started.start()
    started.wait_until_ready()
    return started


@pytest.fixture
def agent(machine: Machine, server: ServerProgram) -> AgentProgram:
    """A running agent with no state."""
    started = machine.agent(server.url)
    started.start()
    return started


def lines_by_stream(url: str, **filters: str) -> dict[tuple[str, str], list[str]]:
    """Return the lines of each container and stream in their order: its key is of Pod and stream."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for entry in entries(url, **filters):
        found[entry["labels"]["pod"], entry["labels"]["stream"]].append(entry["line"])
    return dict(found)


def count_ends(found: dict[tuple[str, str], list[str]]) -> int:
    """Return how often the counting Pod has said on one of its streams that it ends."""
    lines = [line for stream in ("stdout", "stderr") for line in found.get(("counting", stream), [])]
    return sum(line.startswith("end ") for line in lines)


def wait_until_caught_up(url: str, namespace: str) -> None:
    """Wait until what the counting Pod prints now is stored: else the unread files of one fault wait for the next."""

    def newest_ns() -> int:
        page = get(url, "/kobs/v1/logs", namespace=namespace, pod="counting", limit=1, direction="backward")
        return int(page["entries"][0]["time"]) if page["entries"] else 0

    wanted = time.time_ns()
    assert until(newest_ns, lambda newest: newest > wanted, seconds=30) > wanted


def assert_counted(found: dict[tuple[str, str], list[str]], *, pod: str, lives: int = 1) -> None:
    """Check that each life of a Pod counts from 0 to its end, each number once and in order, on each stream."""
    for stream in ("stdout", "stderr"):
        lines = found[pod, stream]
        ends = [int(line.removeprefix("end ")) for line in lines if line.startswith("end ")]
        assert len(ends) == lives
        expected = [line for end in ends for line in (*(f"number={i} of {stream}" for i in range(end)), f"end {end}")]
        doubled = [line for line, count in Counter(lines).items() if count > expected.count(line)]
        missing = sorted(set(expected) - set(lines))
        assert lines == expected, f"{stream}: missing {missing[:3]}, doubled {doubled[:3]}"


def settled(url: str, namespace: str) -> tuple[Any, list[dict[str, Any]]]:
    """Return what `verify` says, and of the namespace's sources, when nothing of these is on its way."""

    def own(report: Any) -> list[dict[str, Any]]:
        return [each for each in report["sources"] if each["labels"].get("namespace") == namespace]

    report = until(lambda: verify(url), lambda report: not any(each["pending_bytes"] for each in own(report)))
    return report, own(report)


def test_logs_of_a_real_node_arrive_once(server: ServerProgram, agent: AgentProgram, namespace: str) -> None:
    """Through rotation, kills and stops of agent and server, a deleted and recreated Pod, and a crash loop."""
    for name in ("demo", "failures"):
        kubectl("apply", "-f", str(EXAMPLES / f"{name}.yaml"))
    kubectl("-n", namespace, "apply", "-f", "-", manifest=COUNTING)
    kubectl("-n", namespace, "apply", "-f", "-", manifest=CRASHING)
    kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/counting", "--timeout=30s")
    until(lambda: lines_by_stream(server.url, namespace=namespace), lambda found: len(found) == 4)
    time.sleep(7)  # its first life: a rotation
    kubectl("-n", namespace, "delete", "pod", "counting", "--wait=true")
    kubectl("-n", namespace, "apply", "-f", "-", manifest=COUNTING)
    until(lambda: lines_by_stream(server.url, namespace=namespace), lambda found: count_ends(found) == 2)
    for programs, end, pause_seconds in (
        ([agent], Program.kill, 2.0),
        ([agent, server], Program.kill, 0.0),
        ([server], Program.stop, 2.0),
        ([agent], Program.stop, 2.0),
        ([server, agent], Program.kill, 0.0),
        ([agent], Program.kill, 0.0),
    ):
        wait_until_caught_up(server.url, namespace)
        for program in programs:
            end(program)
        time.sleep(pause_seconds)
        for program in programs:
            program.start()
        server.wait_until_ready()
    assert wait_for("a third attempt", lambda: restarts(namespace, "crashing") >= 2, seconds=60)
    # kubectl shows the newest file
    shown = wait_for("some lines", lambda: kubectl("-n", namespace, "logs", "counting").splitlines()[:-2], seconds=10)
    kubectl("-n", namespace, "exec", "counting", "--", "touch", "/tmp/end")
    found = until(
        lambda: lines_by_stream(server.url, namespace=namespace),
        lambda found: count_ends(found) == 4 and "attempt=2 fatal" in found.get(("crashing", "stderr"), []),
    )
    assert_counted(found, pod="counting", lives=2)
    assert_each_attempt(found)
    assert_shown_is_stored(server.url, namespace, "counting", shown)
    last_attempt = kubectl("-n", namespace, "logs", "crashing").splitlines()
    assert len(last_attempt) == 201
    assert_shown_is_stored(server.url, namespace, "crashing", last_attempt)
    assert_joined(server.url)
    report, own = settled(server.url, namespace)
    faulty = [each for each in report["sources"] if each["missing"] or each["doubled_rows"] or each["lost_bytes"]]
    assert report["ok"], faulty[:3] or report["totals"]
    # Two lives and three attempts have a file each; what is more comes from rotation.
    assert sum(each["segments"] for each in own) > 5
    assert {each["labels"]["container"] for each in own} == {"app"}


def assert_each_attempt(found: dict[tuple[str, str], list[str]]) -> None:
    """Check that each attempt of the crash loop is whole, and comes once."""
    fatal = found["crashing", "stderr"]
    attempts = len(fatal)
    assert attempts >= 3
    assert fatal == [f"attempt={attempt} fatal" for attempt in range(attempts)]
    assert found["crashing", "stdout"][: 200 * attempts] == [
        f"attempt={attempt} number={number}" for attempt in range(attempts) for number in range(200)
    ]


def assert_shown_is_stored(url: str, namespace: str, pod: str, shown: list[str]) -> None:
    """Check that what kubectl shows, both streams mixed, is stored in the same order on each stream."""
    found = lines_by_stream(url, namespace=namespace, pod=pod)
    assert Counter(shown) <= Counter(line for lines in found.values() for line in lines)
    for lines in found.values():
        mine = [line for line in shown if line in set(lines)]
        begin = len(lines) - lines[::-1].index(mine[0]) - 1  # a recreated Pod counts anew
        assert lines[begin : begin + len(mine)] == mine


def assert_joined(url: str) -> None:
    """Check that a stack trace, and a line that the runtime cut in three, are one entry each, alternately."""
    for pod in ("ordered-0", "ordered-1"):
        lines = [entry["line"] for entry in entries(url, namespace="demo", pod=pod)]
        assert len(lines) >= 4
        first = lines.index(TRACE)
        assert first in (0, 1)
        for index, line in enumerate(lines[first:]):
            assert line == (LONG_LINE if index % 2 else TRACE), f"{pod}: {line[:200]}"


def test_files_deleted_while_the_agent_was_away_are_on_record(
    machine: Machine, server: ServerProgram, agent: AgentProgram, namespace: str
) -> None:
    """No file is left of those that were there when it ended: the gap is in the ledger, and nothing else is lost."""
    kubectl("-n", namespace, "apply", "-f", "-", manifest=COUNTING)
    until(
        lambda: lines_by_stream(server.url, namespace=namespace),
        lambda found: len(found.get(("counting", "stdout"), [])) > 100,
    )
    agent.kill()
    stopped = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    (folder,) = machine.pods.glob(f"{namespace}_counting_*/app")
    wait_for("all files are new", lambda: oldest_time(folder) > stopped, seconds=60)
    agent.start()
    wait_until_caught_up(server.url, namespace)
    kubectl("-n", namespace, "exec", "counting", "--", "touch", "/tmp/end")
    found = until(lambda: lines_by_stream(server.url, namespace=namespace), lambda found: count_ends(found) == 2)
    for stream in ("stdout", "stderr"):
        numbers = [int(number) for line in found["counting", stream] for number in _NUMBER.findall(line)]
        steps = [(a, b) for a, b in pairwise(numbers) if b != a + 1]
        assert len(steps) == 1, steps
        assert steps[0][1] > steps[0][0] + 1
        assert numbers[0] == 0
        assert found["counting", stream][-1] == f"end {numbers[-1] + 1}"
    report, (own,) = settled(server.url, namespace)
    assert not report["ok"]
    assert {loss["reason"] for loss in own["losses"]} == {"rotated_away"}  # of the file it read, and what followed it
    assert (own["missing_bytes"], own["doubled_rows"], own["pending_bytes"]) == (0, 0, 0)
    ledger = get(server.url, "/kobs/v1/ledger", namespace=namespace)
    assert {each["reason"] for each in ledger["losses"]} == {"rotated_away"}
    gap_begins, gap_ends = (int(ledger["losses"][0][name]) for name in ("first", "last"))
    assert gap_begins < gap_ends
    around = get(server.url, "/kobs/v1/logs", namespace=namespace, start=str(gap_begins), end=str(gap_ends), limit=1)
    assert not around["completeness"]["complete"]


def oldest_time(folder: Path) -> str:
    """Return the time of the oldest line that a container's files have, to the second."""
    times = []
    for path in folder.iterdir():
        command = ["zcat", "-f", str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as program:
            assert program.stdout is not None
            times.append(program.stdout.readline()[:19])
            program.kill()
    return min(filter(None, times), default="")


def restarts(namespace: str, pod: str) -> int:
    """Return how often a Pod's container was started again."""
    path = "jsonpath={.status.containerStatuses[0].restartCount}"
    return int(kubectl("-n", namespace, "get", "pod", pod, "-o", path) or 0)
