"""kill -9 in the middle of inserts: what was acknowledged is there, and the store opens again."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READ = """
import json, sys
from kobs.storage.clickhouse import Store
store = Store("chdb://" + sys.argv[1])
sql = "SELECT count() AS n, uniqExact(offset) AS different, max(offset) + 1 AS next FROM logs"
rows = store.select(sql).to_pylist()
detached = store.select("SELECT count() AS n FROM system.detached_parts WHERE database = 'kobs'")["n"].to_pylist()
print(json.dumps({**rows[0], "detached": detached[0]}))
store.close()
"""


def killed_while_inserting(folder: Path, *, first: int, after_seconds: float) -> int:
    """Insert from `first` on, kill the process some time after its first insert, and return what it acknowledged."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.storage.inserting", str(folder), str(first)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        killer = threading.Timer(after_seconds, os.kill, (process.pid, signal.SIGKILL))
        killer.start()
        lines += process.stdout.readlines()
        killer.join()
    assert lines[0], "the process ended before its first insert"
    # the kill may cut the last line
    return int(next(line for line in reversed(lines) if line.endswith("\n")))


def read(folder: Path) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", READ, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, int] = json.loads(done.stdout)
    return answer


def rounds(folder: Path, *, count: int, seed: int) -> None:
    chance = random.Random(seed)
    first = 0
    for number in range(count):
        acknowledged = killed_while_inserting(folder, first=first, after_seconds=chance.uniform(0.02, 0.6))

        found = read(folder)

        case = f"seed {seed}, round {number}, acknowledged {acknowledged}, found {found}"
        assert found["n"] == found["different"] == found["next"], case
        assert acknowledged <= found["next"] <= acknowledged + 100, case
        assert found["detached"] == 0, case
        first = found["next"]


@pytest.mark.clickhouse
def test_no_acknowledged_row_is_lost_by_kill_9(tmp_path: Path) -> None:
    """At most the one batch under way may be there without an acknowledgement, and then whole."""
    rounds(tmp_path, count=5, seed=20261)


@pytest.mark.clickhouse
@pytest.mark.soak
def test_no_acknowledged_row_is_lost_by_many_kills(tmp_path: Path) -> None:
    rounds(tmp_path, count=25, seed=random.randrange(10**6))
