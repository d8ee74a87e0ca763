"""A backlog of 60 days in several retention classes: what may be kept is there, the rest is on record and counted."""

import json
import re
import time
from pathlib import Path

import httpx
import pyarrow.ipc
import pytest

from kobs.storage.log_writes import MOST_PARTITIONS
from tests.faults.checks import get, numbers_by_pod, until, verify
from tests.faults.processes import Machine
from tests.faults.proxy import Proxy

pytestmark = pytest.mark.clickhouse

_DAYS = 60
_LINES_A_DAY = 40
_KEEP = {"short": 7, "shop": 30, "long": 90}


def _write(pods: Path, namespace: str, *, keep_days: int) -> list[tuple[int, bytes, bool]]:
    """Write a container's lines of many days; return number, bytes and whether it may be kept, of each line."""
    folder = pods / f"{namespace}_{namespace}-1_uid" / "app"
    folder.mkdir(parents=True)
    today = int(time.time()) // 86_400
    lines: list[tuple[int, bytes, bool]] = []
    for age in range(_DAYS, -1, -1):
        if age == keep_days:
            continue  # it is over at midnight, which may come while this test runs
        for index in range(_LINES_A_DAY):
            seconds = (today - age) * 86_400 + index
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
            number = len(lines)
            lines.append((number, f"{stamp}.000000001Z stdout F number={number}\n".encode(), age < keep_days))
    (folder / "0.log").write_bytes(b"".join(line for _, line, _ in lines))
    return lines


def test_a_backlog_of_sixty_days_is_kept_by_its_classes(
    machine: Machine, clickhouse_server: str, database_name: str
) -> None:
    written = {f"{name}-1": _write(machine.pods, name, keep_days=days) for name, days in _KEEP.items()}
    kept = {pod: [number for number, _, may_stay in lines if may_stay] for pod, lines in written.items()}
    expired = {pod: [line for _, line, may_stay in lines if not may_stay] for pod, lines in written.items()}
    partitions: list[int] = []

    def count_partitions(request: bytes) -> None:
        if f"INSERT INTO {database_name}.logs (".encode() in request:
            partitions.append(_partitions_of(request))

    store_port = int(clickhouse_server.rpartition(":")[2])
    with Proxy(store_port) as way_to_store:
        way_to_store.watch = count_partitions
        keep = [{"namespace": name, "days": days} for name, days in _KEEP.items() if days != 30]
        server = machine.server(
            storage=f"{way_to_store.url}/{database_name}", settings={"KOBS_STORAGE__KEEP": json.dumps(keep)}
        )
        server.start()
        server.wait_until_ready()
        agent = machine.agent(server.url)
        agent.start()
        until(
            lambda: verify(server.url)["totals"],
            lambda totals: totals["rows"] == sum(map(len, kept.values())) and totals["pending_bytes"] == 0,
        )
        began_ns = (int(time.time()) - 90 * 86_400) * 10**9
        assert numbers_by_pod(server.url, start=str(began_ns)) == kept
        report = verify(server.url)
        assert report["ok"]
        assert report["totals"]["missing_bytes"] == report["totals"]["pending_bytes"] == 0
        assert report["totals"]["left_out_bytes"] == sum(len(line) for lines in expired.values() for line in lines)
        on_record = get(server.url, "/kobs/v1/ledger", reason="expired_on_arrival", limit=1000)["losses"]
        assert {
            pod: sum(record["rows"] for record in on_record if record["labels"]["pod"] == pod) for pod in written
        } == {pod: len(lines) for pod, lines in expired.items()}
        assert _counted_as_expired(server.url) == sum(map(len, expired.values()))
        assert partitions
        assert max(partitions) <= MOST_PARTITIONS
        agent.stop()
        server.stop()


def _partitions_of(request: bytes) -> int:
    """Return in how many partitions the rows of an insert lie."""
    _, _, body = request.partition(b"\n")
    rows = pyarrow.ipc.open_stream(body[body.index(b"\xff\xff\xff\xff") :]).read_all()
    days = [time_ns // 86_400_000_000_000 for time_ns in rows["ts"].cast("int64").to_pylist()]
    return len(set(zip(days, rows["keep_days"].to_pylist(), strict=True)))


def _counted_as_expired(url: str) -> float:
    text = httpx.get(f"{url}/metrics", trust_env=False).text
    found = re.search(r'^kobs_discarded_total\{reason="expired_on_arrival",signal="logs"\} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found is not None else 0.0
