"""Remembered samples: never others than the store has, and no statement where nothing is new."""

import random

import numpy as np
import pyarrow as pa
import pytest

from kobs.model.samples import STALE_NAN_BITS
from kobs.model.scope import Scope
from kobs.query.promql.sample_memory import SampleMemory
from kobs.storage.clickhouse import Store
from kobs.storage.metric_sample_reads import ArrangedSamples, SampleRange, read_samples_of
from kobs.storage.metric_writes import SAMPLE_ROWS, write_samples
from tests.metric_frames import BASE_MS

pytestmark = pytest.mark.clickhouse

METRICS = ("m",)
STALE = np.array([STALE_NAN_BITS], np.uint64).view(np.float64)[0]


def write(store: Store, samples: list[tuple[int, int, float]]) -> None:
    """Store samples, each the id of its series, a time after BASE_MS and a value."""
    fps, times, values = zip(*samples, strict=True)
    columns = [
        pa.array(["m"] * len(samples)).dictionary_encode(),
        pa.array(fps, pa.uint64()),
        pa.array([BASE_MS + each for each in times], pa.int64()).cast(pa.timestamp("ms", "UTC")),
        pa.array(np.array(values), from_pandas=False),
    ]
    write_samples(store, pa.table(columns, schema=SAMPLE_ROWS))


class Reading:
    """Reads some series, and counts the statements."""

    def __init__(self, store: Store, ids: list[int]) -> None:
        self.store = store
        self.ids = np.array(ids, np.uint64)
        self.wanted: list[SampleRange] = []

    def read(self, wanted: SampleRange) -> ArrangedSamples | None:
        self.wanted.append(wanted)
        return self.direct(wanted, with_stale=True)

    def direct(self, wanted: SampleRange, *, with_stale: bool) -> ArrangedSamples:
        found = read_samples_of(self.store, Scope.all(), self.ids, wanted, with_stale=with_stale, limit=10**6)
        assert found is not None
        return found

    def remembered(self, memory: SampleMemory, wanted: SampleRange, *, with_stale: bool = True) -> ArrangedSamples:
        found = memory.samples(self.ids, wanted, self.read, with_stale=with_stale)
        assert found is not None
        return found


def span(after_ms: int, until_ms: int) -> SampleRange:
    return SampleRange(METRICS, BASE_MS + after_ms, BASE_MS + until_ms)


def assert_same(one: ArrangedSamples, other: ArrangedSamples) -> None:
    assert one.bounds.tolist() == other.bounds.tolist()
    assert one.times_ms.tolist() == other.times_ms.tolist()
    assert one.values.view(np.uint64).tolist() == other.values.view(np.uint64).tolist()


@pytest.mark.parametrize("seed", range(2))
def test_it_answers_what_the_store_has_whatever_is_written_meanwhile(store: Store, seed: int) -> None:
    """Windows move on and back, samples come in time, late, twice, corrected, and as markers of an end."""
    numbers = random.Random(seed)
    memory = SampleMemory(store, most_bytes=20_000)
    readings = [Reading(store, [1, 2, 3]), Reading(store, [2, 5]), Reading(store, [9])]
    now = 0
    for _ in range(60):
        now += 1000
        write(
            store,
            [(fp, now, numbers.choice([float(now), STALE, 0.0])) for fp in (1, 2, 3, 5) if numbers.random() < 0.9]
            or [(1, now, 1.0)],
        )
        if numbers.random() < 0.2:
            write(store, [(numbers.choice([1, 2, 5]), numbers.randrange(now), float(numbers.randrange(9)))])
        if numbers.random() < 0.05:
            store.command("OPTIMIZE TABLE metric_samples")
        for reading in numbers.sample(readings, 2):
            until = now - numbers.choice([0, 0, 0, 500, 7000])
            wanted = span(until - numbers.choice([5000, 20_000, 20_000]), until)
            with_stale = numbers.random() < 0.5
            assert_same(
                reading.remembered(memory, wanted, with_stale=with_stale), reading.direct(wanted, with_stale=with_stale)
            )


def test_only_what_is_new_is_read_where_nobody_else_writes(store: Store) -> None:
    memory = SampleMemory(store, most_bytes=10**6)
    if not store.embedded:
        shared = Reading(store, [1])
        for _ in range(2):
            shared.remembered(memory, span(0, 2000))
        assert len(shared.wanted) == 2
        return
    reading = Reading(store, [1, 2])
    write(store, [(fp, at, float(at)) for fp in (1, 2) for at in range(1000, 11_000, 1000)])
    reading.remembered(memory, span(0, 10_000))
    assert len(reading.wanted) == 1
    reading.remembered(memory, span(0, 10_000))
    reading.remembered(memory, span(2000, 9000), with_stale=False)
    assert len(reading.wanted) == 1
    write(store, [(1, 11_000, 1.0)])
    reading.remembered(memory, span(1000, 11_000))
    assert reading.wanted[1:] == [span(10_000, 11_000)]
    # a late sample: from its time on all is read again
    write(store, [(2, 8500, 1.0)])
    found = reading.remembered(memory, span(1000, 11_000))
    assert reading.wanted[2:] == [span(8499, 11_000)]
    assert BASE_MS + 8500 in found.times_ms
    # an earlier beginning than what is remembered
    reading.remembered(memory, span(500, 11_000))
    assert reading.wanted[3:] == [span(500, 11_000)]


def test_what_was_deleted_is_forgotten(store: Store) -> None:
    memory = SampleMemory(store, most_bytes=10**6)
    reading = Reading(store, [1])
    write(store, [(1, 1000, 1.0)])
    assert len(reading.remembered(memory, span(0, 2000)).values) == 1
    store.command("TRUNCATE TABLE metric_samples")
    assert len(reading.remembered(memory, span(0, 2000)).values) == 0


def test_the_least_used_is_forgotten_first(store: Store) -> None:
    write(store, [(fp, at, 1.0) for fp in (1, 2, 3) for at in range(1000, 11_000, 1000)])
    memory = SampleMemory(store, most_bytes=420)  # two of them: each 10 samples of 16 bytes, its id and bounds
    readings = [Reading(store, [fp]) for fp in (1, 2, 3)]
    for which in (0, 1, 0, 2, 0, 1):
        readings[which].remembered(memory, span(0, 10_000))
    # of a store that others write to nothing is remembered
    assert [len(reading.wanted) for reading in readings] == ([1, 2, 1] if store.embedded else [3, 2, 1])
