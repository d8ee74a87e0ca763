"""Logs whose time is over leave the store, and `verify` knows that they were there."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from kobs.config import StorageSettings
from kobs.ingest.retention import Retention
from kobs.model.scope import Scope
from kobs.query.verify import Verify
from kobs.storage.clickhouse import Store
from tests.collectors.logs.node import Node

pytestmark = pytest.mark.clickhouse

_DAY_SECONDS = 86_400


@pytest.fixture
def store_url(engine_folder: Path) -> str:
    """The embedded engine alone: expiry does not depend on where the store is."""
    return f"chdb://{engine_folder}"


def _line(days_ago: int, content: str, *, tag: str = "F", index: int = 0) -> bytes:
    seconds = int(time.time()) // _DAY_SECONDS * _DAY_SECONDS - days_ago * _DAY_SECONDS
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{stamp}.{index:09d}Z stdout {tag} {content}\n".encode()


def _deliver(tmp_path: Path, store: Store, files: dict[str, bytes], *, rows: int, **settings: Any) -> None:
    """Let an agent deliver a container's files, and return when as many rows are stored and all files are read."""

    async def scenario() -> None:
        node = Node(tmp_path, store, **settings)
        folder = node.pods / "shop_web-1_uid" / "app"
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        async with node.server(), node.agent():
            await node.until(lambda bodies: len(bodies) == rows)
            size = sum(map(len, files.values()))
            async with asyncio.timeout(10):
                while (  # noqa: ASYNC110 - the store has no event
                    await node.verified()
                )["totals"]["claimed_bytes"] < size:
                    await asyncio.sleep(0.05)

    asyncio.run(scenario())


def _expire(store: Store, *, after_days: int, keep_days: int = 30) -> int:
    now = time.time() + after_days * _DAY_SECONDS
    return Retention(store, StorageSettings(keep_days=keep_days), scope=Scope.all(), now=lambda: now).expire_now()


def _verify(store: Store) -> Any:
    return asyncio.run(Verify(store).verify(Scope.all()))


def test_days_past_their_retention_are_dropped_and_accounted_for(tmp_path: Path, store: Store) -> None:
    lines = [_line(days_ago, f"line of {days_ago} days ago") for days_ago in range(5, -1, -1)]
    _deliver(tmp_path, store, {"0.log": b"".join(lines)}, rows=6)

    assert _expire(store, after_days=28) == 3

    report = _verify(store)
    assert report["ok"]
    assert report["totals"]["rows"] == 3
    assert report["totals"]["expired_bytes"] == sum(map(len, lines[:3]))
    assert report["totals"]["missing_bytes"] == 0
    assert _expire(store, after_days=28) == 0


def test_an_entry_over_two_files_expires_in_both(tmp_path: Path, store: Store) -> None:
    """Its partial line ends one file, the rest begins the next: each file's bytes are accounted for."""
    files = {
        "0.log.20261122-000001": _line(5, "begin ", tag="P"),
        "0.log": _line(5, "end", index=1) + _line(0, "new"),
    }
    _deliver(tmp_path, store, files, rows=2)

    assert _expire(store, after_days=28) == 1

    report = _verify(store)
    assert report["totals"]["missing_bytes"] == 0
    assert report["totals"]["expired_bytes"] == sum(map(len, files.values())) - len(_line(0, "new"))
    assert report["ok"]


def test_an_entry_over_two_files_that_comes_too_late_is_on_record_in_both(tmp_path: Path, store: Store) -> None:
    files = {
        "0.log.20261122-000001": _line(35, "begin ", tag="P"),
        "0.log": _line(35, "end", index=1) + _line(0, "new"),
    }
    _deliver(tmp_path, store, files, rows=1)

    report = _verify(store)
    assert report["totals"]["missing_bytes"] == 0
    assert report["totals"]["left_out_bytes"] == sum(map(len, files.values())) - len(_line(0, "new"))
    assert report["ok"]


def test_a_file_that_lives_longer_than_the_ledger_stays_accounted_for(tmp_path: Path, store: Store) -> None:
    """A slow log grows for a year: what expired of it long ago is not forgotten while the file is known."""
    lines = [_line(5, "old"), _line(0, "new")]
    _deliver(tmp_path, store, {"0.log": b"".join(lines)}, rows=2, **{"storage.keep_days": 365})
    assert _expire(store, after_days=362, keep_days=365) == 1
    store.command(
        "INSERT INTO log_segments (source, segment, cluster, node, kind, updated) "
        "SELECT source, segment, cluster, node, kind, now64(3) + INTERVAL 360 DAY FROM log_segments"
    )

    _expire(store, after_days=362, keep_days=30)

    report = _verify(store)
    assert report["totals"]["expired_bytes"] == len(lines[0])
    assert report["totals"]["missing_bytes"] == 0
    assert report["ok"]


def test_the_ledger_forgets_a_file_that_has_not_changed_for_long(tmp_path: Path, store: Store) -> None:
    _deliver(tmp_path, store, {"0.log": _line(35, "too old") + _line(5, "old")}, rows=1)
    assert _expire(store, after_days=28) == 1
    assert _verify(store)["sources"] != []

    _expire(store, after_days=125)

    assert _verify(store)["sources"] == []
    for table in ("log_segments", "log_expired", "ledger"):
        assert store.select(f"SELECT count() AS n FROM {table}")["n"].to_pylist() == [0]
