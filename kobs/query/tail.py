"""Following logs: one poller reads what arrives in the store, and gives each tail the entries that it asked for.

While anybody listens, the poller counts every 250 ms the rows by the millisecond of their arrival, over a window in
which the longest insert ends, and reads those milliseconds that have more rows than it has seen. So an insert that
becomes visible late is found all the same. Entries leave in the order in which the poller finds them, within one look
by time. What can be lost: entries that a slow client does not take, and entries that come faster than the poller reads;
both are counted and told to the tails that they may concern.

A tail that was cut off resumes: it reads what arrived since from the store, and then goes on. Entries may come a second
time then, with the same position.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from kobs import telemetry
from kobs.errors import KobsError
from kobs.model.log_filter import LogFilter
from kobs.model.scope import Scope
from kobs.query.interruption import Interruption, run_interruptibly
from kobs.query.labels import StreamLabels
from kobs.query.logs import LogEntry
from kobs.query.matching import Matcher
from kobs.storage import log_reads
from kobs.storage.clickhouse import Store
from kobs.storage.log_reads import Arrival, ArrivalPosition, LogPosition

_WINDOW_MS = 40_000
"""An insert may take 30 s, and the clocks of servers over one store differ by some seconds."""
_EXACT_MS = 5_000
"""How long positions are remembered; after that only how many they were."""
_MOST_ROWS_AT_ONCE = 20_000
_PAGE_ROWS = 2_000

log = telemetry.get_logger(__name__)
_listeners = telemetry.gauge("kobs_tail_listeners_count", "Clients that follow logs.")
_dropped = telemetry.counter("kobs_tail_dropped_entries_total", "Entries that a tail's client was too slow for.")
_missed = telemetry.counter("kobs_tail_missed_entries_total", "Entries that came faster than they could be read.")


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where a tail that was cut off goes on: its own begin, and up to when it has had what arrived (ms UTC)."""

    begin_ms: int
    reached_ms: int


@dataclass(frozen=True, slots=True)
class TailNews:
    """What a tail hears: entries, how many were dropped before them, and where to resume. Nothing: it is there."""

    entries: tuple[LogEntry, ...]
    dropped: int
    resume: ResumePoint


class Tail:
    """One client's queue. Entries beyond `most_entries` push out the oldest, which are counted."""

    def __init__(self, matcher: Matcher, *, resume: ResumePoint, most_entries: int) -> None:
        self.matcher = matcher
        self._most_entries = most_entries
        self._waiting: deque[LogEntry] = deque()
        self._dropped = 0
        self._reached = resume
        self.resume = resume
        """Where its client would go on, by what it was told."""
        self._has_news = asyncio.Event()
        self._ready = asyncio.Event()

    async def wait_until_ready(self) -> None:
        """Wait until the poller gives it everything that becomes visible from now on."""
        await self._ready.wait()

    def offer(self, entries: Sequence[LogEntry], *, missed: int, reached_ms: int) -> None:
        """Add what a look of the poller found. Never waits."""
        self._ready.set()
        self._waiting.extend(entries)
        too_many = max(len(self._waiting) - self._most_entries, 0)
        for _ in range(too_many):
            self._waiting.popleft()
        if too_many:
            _dropped.inc(too_many)
        self._dropped += too_many + missed
        self._reached = ResumePoint(self._reached.begin_ms, max(self._reached.reached_ms, reached_ms))
        if self._waiting or self._dropped:
            self._has_news.set()

    async def news(self, *, heartbeat_seconds: float, most_entries: int) -> TailNews:
        """Wait for entries and return them, at most so many; or nothing, when none came for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(heartbeat_seconds):
                await self._has_news.wait()
        count = min(len(self._waiting), most_entries)
        entries = tuple(self._waiting.popleft() for _ in range(count))
        dropped, self._dropped = self._dropped, 0
        if not self._waiting:
            self._has_news.clear()
            # while entries wait, the client has not had all that was reached
            self.resume = self._reached
        return TailNews(entries, dropped, self.resume)


@dataclass(slots=True)
class _Seen:
    """What the poller has seen of the rows that arrived at one millisecond."""

    count: int = 0
    positions: set[LogPosition] | None = field(default_factory=set)
    """None where it is too long ago to remember them."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look found."""

    arrivals: list[Arrival]
    missed: int
    reached_ms: int
    is_behind: bool


class TailPoller:
    """Reads what arrives, once for all tails. `run` must run for tails to get anything."""

    def __init__(
        self,
        store: Store,
        *,
        scope: Scope,
        labels: StreamLabels,
        timeout_seconds: float,
        interval_ms: int = 250,
        most_waiting_entries: int = 10_000,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """`scope` bounds what the poller reads for all; each tail has its own within it."""
        self._store = store
        self._scope = scope
        self._labels = labels
        self._timeout_seconds = timeout_seconds
        self._interval_seconds = interval_ms / 1000
        self._most_waiting_entries = most_waiting_entries
        self._now_ns = now_ns
        self._tails: set[Tail] = set()
        self._wanted = asyncio.Event()
        self._seen: dict[int, _Seen] = {}
        self._unread: dict[int, int] = {}
        self._is_primed = False

    @property
    def is_polling(self) -> bool:
        """Whether anybody listens."""
        return self._wanted.is_set()

    async def run(self) -> None:
        """Poll while anybody listens, until cancelled."""
        while True:
            await self._wanted.wait()
            is_behind = False
            try:
                is_behind = await self._look()
            except KobsError as error:
                # nothing is missed: the next look finds what this one would have
                log.warning("What arrives could not be read for the live tail; trying again.", error=error)
            if not is_behind:
                await asyncio.sleep(self._interval_seconds)
            if not self._tails:
                self._wanted.clear()
                self._seen.clear()
                self._unread.clear()
                self._is_primed = False

    @contextlib.asynccontextmanager
    async def follow(
        self, scope: Scope, wanted: LogFilter, *, resume: ResumePoint | None = None
    ) -> AsyncIterator[Tail]:
        """Listen to what a filter takes of what arrives; `resume` is where a tail goes on that was cut off."""
        tail = Tail(
            Matcher(scope, wanted),
            resume=ResumePoint(self.now_ms(), self.now_ms()) if resume is None else resume,
            most_entries=self._most_waiting_entries,
        )
        self._tails.add(tail)
        _listeners.set(len(self._tails))
        self._wanted.set()
        try:
            yield tail
        finally:
            self._tails.discard(tail)
            _listeners.set(len(self._tails))

    def now_ms(self) -> int:
        """Return the time of arrivals now."""
        return self._now_ns() // 1_000_000

    def is_long_ago(self, point: ResumePoint) -> bool:
        """Tell whether a tail that resumes has missed more than a window."""
        return self.now_ms() - point.reached_ms > _WINDOW_MS

    async def since(
        self, scope: Scope, wanted: LogFilter, point: ResumePoint
    ) -> AsyncGenerator[tuple[LogEntry, ...], None]:
        """Yield what a tail that was cut off may have missed, up to now, in the order of arrival.

        It begins a window before the point, because an insert that is visible now may have begun before it: entries
        that the tail has had come again.
        """
        until_ms = self.now_ms()
        first_ms = max(point.begin_ms, point.reached_ms - _WINDOW_MS)
        after = ArrivalPosition(first_ms - 1, LogPosition(0, 0, 0, 0))
        while True:

            def page(
                interruption: Interruption, after: ArrivalPosition = after
            ) -> tuple[list[Arrival], tuple[LogEntry, ...]]:
                arrivals = log_reads.find_arrivals_after(
                    self._store,
                    scope,
                    wanted,
                    after=after,
                    until_ms=until_ms,
                    limit=_PAGE_ROWS,
                    timeout_seconds=self._timeout_seconds,
                    comment=interruption.comment,
                )
                rows = [arrival.row for arrival in arrivals]
                labels = self._labels.of_rows(scope, rows)
                return arrivals, tuple(LogEntry(row, labels[row.stream]) for row in rows)

            arrivals, entries = await run_interruptibly(self._store, page)
            if entries:
                yield entries
            if len(arrivals) < _PAGE_ROWS:
                return
            after = ArrivalPosition(arrivals[-1].received_ms, arrivals[-1].row.position)

    async def _look(self) -> bool:
        """Read once and give to all tails; return whether there is more to read."""
        tails = tuple(self._tails)
        look, found = await self._store.run(self._read, tails)
        for tail, entries in zip(tails, found, strict=True):
            tail.offer(entries, missed=look.missed, reached_ms=look.reached_ms)
        if look.missed:
            _missed.inc(look.missed)
        return look.is_behind

    def _read(self, tails: Sequence[Tail]) -> tuple[_Look, list[list[LogEntry]]]:
        now_ms = self.now_ms()
        counts = log_reads.count_arrivals(self._store, self._scope, since_ms=now_ms - _WINDOW_MS)
        if not self._is_primed:
            self._prime(counts, now_ms=now_ms)
            return _Look([], 0, now_ms, is_behind=False), [[] for _ in tails]
        look = self._new(counts, now_ms=now_ms)
        rows = sorted((arrival.row for arrival in look.arrivals), key=lambda row: row[:4])
        labels = self._labels.of_rows(self._scope, rows)
        found: list[list[LogEntry]] = []
        for tail in tails:
            matcher = tail.matcher
            first_rows = {row.stream: row for row in rows}
            taken = {stream for stream, row in first_rows.items() if matcher.takes_stream(row, labels[stream])}
            found.append(
                [LogEntry(row, labels[row.stream]) for row in rows if row.stream in taken and matcher.takes_row(row)]
            )
        return look, found

    def _prime(self, counts: dict[int, int], *, now_ms: int) -> None:
        """Remember what is there already."""
        recent = [at for at in counts if at >= now_ms - _EXACT_MS]
        self._seen = {at: _Seen(count, None) for at, count in counts.items() if at < now_ms - _EXACT_MS}
        for arrival in log_reads.find_arrival_positions(self._store, self._scope, recent):
            seen = self._seen.setdefault(arrival.received_ms, _Seen())
            seen.count += 1
            if seen.positions is not None:
                seen.positions.add(arrival.position)
        self._is_primed = True

    def _new(self, counts: dict[int, int], *, now_ms: int) -> _Look:
        """Read the rows that were not seen before, the earliest first, and remember them."""
        missed = sum(rows for at, rows in self._unread.items() if at < now_ms - _WINDOW_MS)
        new: dict[int, int] = {}
        for at in sorted(counts):
            seen = self._seen.setdefault(at, _Seen())
            more = counts[at] - seen.count
            if more > 0 and seen.positions is None:
                # which of them are new cannot be told any more
                missed += more
                seen.count = counts[at]
            elif more > 0:
                new[at] = more
        wanted: list[int] = []
        rows = 0
        for at in new:
            if rows >= _MOST_ROWS_AT_ONCE:
                break
            wanted.append(at)
            rows += counts[at]
        arrivals: list[Arrival] = []
        for arrival in log_reads.find_arrivals(self._store, self._scope, wanted):
            seen = self._seen[arrival.received_ms]
            position = arrival.row.position
            if seen.positions is not None and position not in seen.positions:
                seen.positions.add(position)
                arrivals.append(arrival)
        for at in wanted:
            seen = self._seen[at]
            # rows of one position that are there twice are one here, and must not be looked for again and again
            seen.count = max(counts[at], len(seen.positions or ()))
        self._unread = {at: more for at, more in new.items() if at not in set(wanted)}
        self._forget(now_ms=now_ms)
        reached_ms = wanted[-1] if self._unread else now_ms
        return _Look(arrivals, missed, reached_ms, is_behind=bool(self._unread))

    def _forget(self, *, now_ms: int) -> None:
        for at in [at for at in self._seen if at < now_ms - _WINDOW_MS]:
            del self._seen[at]
        for at, seen in self._seen.items():
            if at < now_ms - _EXACT_MS and at not in self._unread:
                seen.positions = None
