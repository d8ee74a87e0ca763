"""Heavy queries wait for their turn: a few run at a time, so that light ones are quick whatever else is asked.

A query begins like a light one. When it finds that it will read more than a light one may, it stops
(`HeavyQueryError`), waits here without holding a thread, and begins again when it is its turn. Askers take turns: one
who asks a hundred heavy queries delays another's single one by one. Who waits too long, or finds too many waiting, is
told so; nobody is forgotten.
"""

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable

from kobs import telemetry
from kobs.errors import KobsError, RetryableError
from kobs.query.promql.limits import QueryTimeoutError

_waiting = telemetry.gauge("kobs_query_heavy_waiting", "Heavy PromQL queries that wait for their turn.")
_running = telemetry.gauge("kobs_query_heavy_running", "Heavy PromQL queries that run.")


class HeavyQueryError(KobsError):
    """A query is heavy and has not waited for its turn. Its asker does not see this: it is asked again."""


class HeavyQueue:
    """At most `running` heavy queries at a time, at most `waiting` that wait. For one event loop."""

    def __init__(self, *, running: int = 2, waiting: int = 100) -> None:
        self._most_running = running
        self._most_waiting = waiting
        self._running = 0
        self._waiting = 0
        self._turns: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()

    @contextlib.asynccontextmanager
    async def turn(self, asker: Hashable, *, timeout_seconds: float | None) -> AsyncIterator[None]:
        """Wait for a turn and have it while the block runs.

        Raises: QueryTimeoutError, RetryableError.
        """
        await self._wait(asker, timeout_seconds)
        _running.set(self._running)
        try:
            yield
        finally:
            self._running -= 1
            self._next()
            _running.set(self._running)

    async def _wait(self, asker: Hashable, timeout_seconds: float | None) -> None:
        if self._running < self._most_running and not self._waiting:
            self._running += 1
            return
        if self._waiting >= self._most_waiting:
            raise RetryableError(
                f"{self._waiting} heavy queries wait already: the limit is {self._most_waiting} (query.heavy_waiting)",
                retry_after_seconds=5.0,
            )
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turns.setdefault(asker, deque()).append(mine)
        self._waiting += 1
        _waiting.set(self._waiting)
        try:
            async with asyncio.timeout(timeout_seconds):
                await mine
        except BaseException as error:
            if mine.done() and not mine.cancelled():
                # its turn came in the same moment: it is the next one's
                self._running -= 1
                self._next()
            else:
                self._forget(asker, mine)
            if isinstance(error, TimeoutError):
                raise QueryTimeoutError(
                    f"query timed out: it waited {timeout_seconds or 0:g} s for its turn, as {self._most_running} "
                    "heavy queries run at a time (query.heavy_queries); ask for less, or later"
                ) from error
            raise

    def _next(self) -> None:
        """Give free turns away, to one asker after the other."""
        while self._running < self._most_running and self._turns:
            asker, waiting = next(iter(self._turns.items()))
            first = waiting.popleft()
            self._turns.move_to_end(asker)
            if not waiting:
                del self._turns[asker]
            self._waiting -= 1
            if not first.done():
                self._running += 1
                first.set_result(None)
        _waiting.set(self._waiting)

    def _forget(self, asker: Hashable, mine: "asyncio.Future[None]") -> None:
        waiting = self._turns.get(asker)
        if waiting is not None and mine in waiting:
            waiting.remove(mine)
            self._waiting -= 1
            if not waiting:
                del self._turns[asker]
        _waiting.set(self._waiting)
