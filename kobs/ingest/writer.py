"""One insert for the rows of many requests.

Rows wait up to `server.insert_delay_ms` for others. A request's rows are in the store when `insert` returns, and the
ledger's summary of them too. What fails, fails for every request of that insert; each of them is looked up when it
comes again. With a store that others share, requests are not put together: an insert then carries the name of its node,
by which another server can stop it.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from kobs import telemetry
from kobs.errors import KobsError, RetryableError
from kobs.storage.clickhouse import Store
from kobs.storage.log_writes import insert_rows, write_segments

_inserted = telemetry.counter("kobs_ingest_log_rows_total", "Log rows inserted.")
_inserts = telemetry.counter("kobs_ingest_log_inserts_total", "Inserts of log rows.")
_seconds = telemetry.histogram("kobs_ingest_log_insert_seconds", "Time of an insert of log rows with its ledger.")
_queued = telemetry.gauge("kobs_ingest_log_queued_rows", "Log rows that wait for their insert.")


@dataclass(frozen=True, slots=True)
class Work:
    """Rows of one request, and what the ledger says once they are in."""

    rows: pa.Table
    segments: pa.Table
    comment: str
    deadline: float
    """On the monotonic clock: later than this the rows are not inserted any more."""
    may_insert: Callable[[], None] | None
    """Called in the store's thread right before the insert; raises where another server has taken over."""
    done: "asyncio.Future[None]"


class LogWriter:
    """Collects rows and inserts them, one insert at a time."""

    def __init__(self, store: Store, *, delay_ms: int, most_rows: int) -> None:
        self._store = store
        self._delay_seconds = delay_ms / 1000
        self._most_rows = most_rows
        self._waiting: list[Work] = []
        self._rows = 0
        self._full = asyncio.Event()
        self._some = asyncio.Event()

    async def insert(
        self,
        rows: pa.Table,
        segments: pa.Table,
        *,
        comment: str,
        deadline: float,
        may_insert: Callable[[], None] | None,
    ) -> None:
        """Insert rows and what the ledger says of them; returns when both are in the store.

        Raises: RetryableError where the insert did not happen, or may have happened in part.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(Work(rows, segments, comment, deadline, may_insert, done))
        self._rows += rows.num_rows
        _queued.set(self._rows)
        self._some.set()
        if self._rows >= self._most_rows:
            self._full.set()
        await done

    async def run(self) -> None:
        """Insert what comes, until cancelled."""
        try:
            while True:
                await self._some.wait()
                await self._wait_for_more()
                works, self._waiting, self._rows = self._waiting, [], 0
                self._some.clear()
                self._full.clear()
                _queued.set(0)
                for group in self._groups(works):
                    await self._insert(group)
        finally:
            for work in self._waiting:
                if not work.done.done():
                    work.done.set_exception(RetryableError("the server stops"))

    async def _wait_for_more(self) -> None:
        try:
            async with asyncio.timeout(self._delay_seconds):
                await self._full.wait()
        except TimeoutError:
            return

    def _groups(self, works: list[Work]) -> list[list[Work]]:
        if self._store.embedded:
            return [works]
        return [[work] for work in works]

    async def _insert(self, works: list[Work]) -> None:
        try:
            with _seconds.time():
                results = await self._store.run(self._insert_now, works)
        except BaseException as error:
            failure = error if isinstance(error, KobsError) else RetryableError("the insert was broken off")
            _settle(works, [failure] * len(works))
            if not isinstance(error, KobsError):
                raise
            return
        _settle(works, results)

    def _insert_now(self, works: list[Work]) -> list[KobsError | None]:
        """Insert in the store's thread; return for each work what kept it out, or None."""
        results: list[KobsError | None] = []
        allowed: list[Work] = []
        for work in works:
            refusal = _refusal(work)
            results.append(refusal)
            if refusal is None:
                allowed.append(work)
        if allowed:
            rows = pa.concat_tables([work.rows for work in allowed], promote_options="none").unify_dictionaries()
            if rows.num_rows:
                comment = "" if self._store.embedded else allowed[0].comment
                insert_rows(self._store, rows, received_ms=time.time_ns() // 1_000_000, comment=comment)
                _inserts.inc()
                _inserted.inc(rows.num_rows)
            write_segments(self._store, pa.concat_tables([work.segments for work in allowed]))
        return results


def insert_comment(cluster: str, node: str, sequence: int | None = None) -> str:
    """Return the comment of a node's inserts, or without a sequence what all of them begin with."""
    return f"kobs logs {cluster}/{node} " + ("" if sequence is None else str(sequence))


def _refusal(work: Work) -> KobsError | None:
    if time.monotonic() > work.deadline:
        return RetryableError("the request's time was over before its insert (server.request_timeout_seconds)")
    if work.may_insert is not None:
        try:
            work.may_insert()
        except KobsError as error:
            return error
    return None


def _settle(works: list[Work], results: "list[KobsError | None] | list[KobsError]") -> None:
    for work, error in zip(works, results, strict=True):
        if work.done.done():
            continue
        if error is None:
            work.done.set_result(None)
        else:
            work.done.set_exception(error)
