"""A server's own metrics are in its store, as a target that goes stale when the server stops."""

import asyncio
import contextlib

import pytest

from kobs import telemetry
from kobs.config import ServerSettings, StorageSettings
from kobs.ingest.own_metrics import OwnMetrics
from kobs.ingest.samples import SampleIngest
from kobs.model.samples import STALE_NAN_BITS
from kobs.storage.clickhouse import Store

pytestmark = pytest.mark.clickhouse

VALUES = (
    "SELECT metric, labels['role'] AS role, reinterpretAsUInt64(value) AS bits, toUnixTimestamp64Milli(ts) AS at "
    "FROM metric_samples JOIN metric_series USING (metric, fp) WHERE labels['job'] = 'kobs'"
)


def test_they_are_stored_as_a_target_and_marked_stale_at_the_end(store: Store) -> None:
    ingest = SampleIngest(store, ServerSettings(sample_delay_ms=0), StorageSettings())
    own = OwnMetrics(ingest, interval_seconds=0.1, labels={"role": "server", "instance": "n1"})

    async def run() -> None:
        running = [asyncio.ensure_future(part) for part in (ingest.run(), own.run())]
        async with asyncio.timeout(30):
            while (  # noqa: ASYNC110 - the store has no event
                store.select("SELECT count() AS samples FROM metric_samples")["samples"][0].as_py() == 0
            ):
                await asyncio.sleep(0.02)
        for task in running:
            task.cancel()
        for task in running:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    asyncio.run(run())
    rows = store.select(VALUES).to_pylist()
    assert {row["role"] for row in rows} == {"server"}
    shown = {family.name for family in telemetry.read() if family.samples}
    stored = {row["metric"] for row in rows}
    assert {"up", "kobs_ingest_samples_total", "kobs_ingest_sample_insert_seconds_bucket"} <= stored
    assert {name for name in shown if name.endswith("_total")} <= stored
    ups = sorted((row["at"], row["bits"]) for row in rows if row["metric"] == "up")
    assert ups[-1][1] == STALE_NAN_BITS
    assert all(at % 100 == 0 for at, _ in ups[:-1])
    told = store.select("SELECT type, help FROM metric_metadata WHERE metric = 'kobs_ingest_samples_total'")
    assert told.to_pylist() == [{"type": "counter", "help": "Samples inserted."}]


def test_a_series_that_is_gone_is_marked_stale(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    own = OwnMetrics(SampleIngest(store, ServerSettings(), StorageSettings()), interval_seconds=1, labels={})
    before = len(own.work(1_000).samples.values)
    # a metric of a process does not go away by itself
    monkeypatch.setattr(telemetry, "read", list)
    work = own.work(2_000)
    bits = work.samples.values.view("u8").tolist()
    assert bits.count(STALE_NAN_BITS) == len(bits) - 1 == before - 1
    assert before > 10
