"""A row is deleted and another doubled behind kobs's back: `verify` finds both."""

import pytest

from kobs.storage.clickhouse import Store
from tests.faults.checks import assert_each_once, verify
from tests.faults.processes import Machine
from tests.faults.writers import Writers

pytestmark = pytest.mark.clickhouse

_POSITION = "(source, segment, offset)"


def test_verify_finds_a_deleted_and_a_doubled_row(machine: Machine, clickhouse_server: str, database_name: str) -> None:
    url = f"{clickhouse_server}/{database_name}"
    server = machine.server(storage=url)
    server.start()
    server.wait_until_ready()
    agent = machine.agent(server.url)
    agent.start()
    writers = Writers(machine.pods, seed=12)
    for _ in range(15):
        writers.step()
    assert_each_once(server.url, writers.written)
    agent.stop()
    server.stop()

    store = Store(url, threads=1)
    try:
        rows = store.select(
            "SELECT source, segment, offset, size, tail_size FROM logs ORDER BY cityHash64(offset) LIMIT 2"
        )
        deleted, doubled = rows.to_pylist()
        at = "{source:UInt64}, {segment:Int64}, {offset:UInt64}"
        names = ("source", "segment", "offset")
        store.command(
            f"DELETE FROM logs WHERE {_POSITION} = ({at})",
            {name: deleted[name] for name in names},
            settings={"lightweight_deletes_sync": 2},
        )
        store.command(
            f"INSERT INTO logs SELECT * FROM logs WHERE {_POSITION} = ({at})", {name: doubled[name] for name in names}
        )
    finally:
        store.close()

    server.start()
    server.wait_until_ready()
    report = verify(server.url)
    assert not report["ok"]
    assert report["totals"]["missing_bytes"] == deleted["size"] + deleted["tail_size"]
    assert report["totals"]["doubled_rows"] == 1
    missing = [part for source in report["sources"] for part in source["missing"]]
    assert {part["segment"] for part in missing} >= {str(deleted["segment"])}
    server.stop()
