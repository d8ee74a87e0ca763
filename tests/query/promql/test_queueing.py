"""Heavy queries wait for their turn: who is next, who is told to come back, and that nobody is forgotten."""

import asyncio
import contextlib
from collections.abc import Coroutine

import pytest

from kobs.errors import RetryableError
from kobs.model.samples import Sample
from kobs.model.scope import Scope
from kobs.query.metrics import Metrics
from kobs.query.promql.limits import QueryLimits, QueryTimeoutError
from kobs.query.promql.queueing import HeavyQueue
from kobs.storage.clickhouse import Store
from tests.metric_frames import BASE_MS, store_samples


class Turns:
    """Queries that take their turn, note it and hold it until they are let go."""

    def __init__(self, queue: HeavyQueue) -> None:
        self.queue = queue
        self.begun: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}

    async def take(self, name: str, asker: str, timeout_seconds: float | None = None) -> None:
        self.gates[name] = asyncio.Event()
        async with self.queue.turn(asker, timeout_seconds=timeout_seconds):
            self.begun.append(name)
            await self.gates[name].wait()


async def settled() -> None:
    """Let all that can go on go on."""
    for _ in range(10):
        await asyncio.sleep(0)


def run(test: Coroutine[None, None, None]) -> None:
    asyncio.run(test)


def test_askers_take_turns() -> None:
    """One who asks much delays another's single query by one of his own at most."""

    async def test() -> None:
        turns = Turns(HeavyQueue(running=1))
        async with asyncio.TaskGroup() as tasks:
            for name in ("a1", "a2", "a3"):
                tasks.create_task(turns.take(name, "a"))
                await settled()
            tasks.create_task(turns.take("b1", "b"))
            await settled()
            for number in range(4):
                turns.gates[turns.begun[number]].set()
                await settled()
        assert turns.begun == ["a1", "a2", "b1", "a3"]

    run(test())


def test_only_so_many_run_and_a_cancelled_one_gives_its_place() -> None:
    async def test() -> None:
        turns = Turns(HeavyQueue(running=2))
        async with asyncio.TaskGroup() as tasks:
            running = {name: tasks.create_task(turns.take(name, name)) for name in "abcd"}
            await settled()
            assert turns.begun == ["a", "b"]
            running["c"].cancel()  # it waits
            running["a"].cancel()  # it runs
            await settled()
            assert turns.begun == ["a", "b", "d"]
            for name in "bd":
                turns.gates[name].set()

    run(test())


def test_one_too_many_is_told_to_come_back() -> None:
    async def test() -> None:
        turns = Turns(HeavyQueue(running=1, waiting=1))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(turns.take("a", "a"))
            tasks.create_task(turns.take("b", "b"))
            await settled()
            with pytest.raises(RetryableError, match=r"1 heavy queries wait already.*query\.heavy_waiting"):
                await turns.take("c", "c")
            for name in "ab":
                turns.gates[name].set()
                await settled()
        assert turns.begun == ["a", "b"]

    run(test())


def test_who_waits_too_long_is_told_and_leaves_the_queue() -> None:
    async def test() -> None:
        turns = Turns(HeavyQueue(running=1))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(turns.take("a", "a"))
            await settled()
            with pytest.raises(QueryTimeoutError, match=r"waited 0.01 s.*query\.heavy_queries"):
                await turns.take("b", "b", timeout_seconds=0.01)
            tasks.create_task(turns.take("c", "c"))
            await settled()
            for name in "ac":
                turns.gates[name].set()
                await settled()
        assert turns.begun == ["a", "c"]

    run(test())


@pytest.mark.clickhouse
def test_a_query_of_many_samples_waits_and_is_answered(store: Store) -> None:
    """A light one is answered while heavy ones hold all turns; a heavy one as soon as there is a turn."""
    labels = {"__name__": "cpu_seconds", "cpu": "0"}
    store_samples(store, [Sample(labels, BASE_MS + 1000 * second, 1.0) for second in range(100)])

    async def test() -> None:
        queue = HeavyQueue(running=1)
        metrics = Metrics(store, limits=QueryLimits(light_samples=5), queue=queue)
        at = (BASE_MS + 100_000, Scope.all())
        async with contextlib.AsyncExitStack() as held:
            await held.enter_async_context(queue.turn("other", timeout_seconds=None))
            assert (await metrics.instant("1 + 1", *at)).statistics.samples == 0
            with pytest.raises(QueryTimeoutError):
                await metrics.instant("sum_over_time(cpu_seconds[5m])", *at, timeout_seconds=0.2)
        assert (await metrics.instant("sum_over_time(cpu_seconds[5m])", *at)).statistics.samples == 100

    run(test())
