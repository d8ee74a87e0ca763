"""Log search: a query arrives, a page of entries leaves, with how complete its window is.

Entries are in the order of (time, source, segment, offset). A cursor holds the position of a page's last entry and how
many entries of that very position were shown (doubled rows share one), so that pages neither skip nor repeat while
entries of equal time lie over their borders and new ones arrive. What arrives behind the cursor in the direction of
reading is not shown: going backward, later entries; going forward, earlier ones.
"""

import base64
import binascii
import hashlib
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from kobs import telemetry
from kobs.errors import LimitError, QueryError, StorageError
from kobs.model.log_filter import EVERY_ENTRY, LogFilter
from kobs.model.logs import LossReason
from kobs.model.scope import Scope, Signal
from kobs.query.interruption import Interruption, run_interruptibly
from kobs.query.labels import StreamLabels
from kobs.storage import ledger_reads, log_reads
from kobs.storage.clickhouse import Store
from kobs.storage.ledger_reads import LedgerRow
from kobs.storage.log_reads import LogPosition, LogRow, Streams

_MINUTE_NS = 60_000_000_000
_HOUR_NS = 60 * _MINUTE_NS
_SPANS_NS = (15 * _MINUTE_NS, _HOUR_NS, 6 * _HOUR_NS, 24 * _HOUR_NS, 7 * 24 * _HOUR_NS)
"""A search reads windows of these lengths one after another until its page is full: mostly the first is enough."""
_INDEXED_SPANS_NS = (6 * _HOUR_NS, 7 * 24 * _HOUR_NS)
"""The same where the index of words tells which rows to read: a statement costs more than what it need not read."""
DEFAULT_WINDOW_NS = _HOUR_NS
LATEST_AHEAD_NS = _HOUR_NS
"""An entry's clock may run ahead of the server's: an open window ends this much after now."""
LAST_NS = 2**63 - 1

_MOST_LOSSES = 100
_MOST_PAGE_BYTES = 64 * 1024 * 1024
_TOO_MANY_ROWS_OR_BYTES = 396
_CANNOT_COMPILE_REGEXP = 427
_CURSOR = struct.Struct(">B8sqqqQqQI")
_CURSOR_VERSION = 1

_seconds = telemetry.histogram("kobs_query_log_search_seconds", "Time of a log search.")


@dataclass(frozen=True, slots=True)
class Cursor:
    """The position of a page's last entry, and the window of its search."""

    digest: bytes
    start_ns: int
    end_ns: int
    position: LogPosition
    shown: int
    """How many entries of this position were shown."""

    def encode(self) -> str:
        """Return it as text that is safe in a URL."""
        packed = _CURSOR.pack(
            _CURSOR_VERSION, self.digest, self.start_ns, self.end_ns, *self.position, min(self.shown, 2**32 - 1)
        )
        return base64.urlsafe_b64encode(packed).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class LogQuery:
    """A question. Without `start_ns` it begins an hour before its end, without `end_ns` it goes to the present."""

    filter: LogFilter = EVERY_ENTRY
    start_ns: int | None = None
    """Inclusive."""
    end_ns: int | None = None
    """Exclusive."""
    limit: int = 100
    backward: bool = True
    cursor: str | None = None

    def digest(self) -> bytes:
        """Return the hash of what must be the same from page to page: everything but `limit` and `cursor`."""
        asked = repr((self.filter, self.start_ns, self.end_ns, self.backward))
        return hashlib.blake2b(asked.encode("utf-8", "surrogatepass"), digest_size=8).digest()


@dataclass(frozen=True, slots=True)
class LogEntry:
    """An entry and its labels."""

    row: LogRow
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Completeness:
    """What is known to be missing in a window of the streams asked for."""

    losses: tuple[LedgerRow, ...]
    """At most 100, the newest first."""
    loss_count: int
    pending_bytes: int
    pending_records: int

    @property
    def is_complete(self) -> bool:
        """Whether nothing is known to be missing, or still on its way."""
        return not (self.loss_count or self.pending_bytes or self.pending_records)


@dataclass(frozen=True, slots=True)
class LogPage:
    """Entries in the order asked for. `cursor` is None where there are no more."""

    entries: tuple[LogEntry, ...]
    cursor: str | None
    completeness: Completeness


class LogSearch:
    """Answers log queries. One search is one thread of the store."""

    def __init__(
        self,
        store: Store,
        *,
        labels: StreamLabels,
        timeout_seconds: float,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._store = store
        self._labels = labels
        self._timeout_seconds = timeout_seconds
        self._now_ns = now_ns

    async def search(self, scope: Scope, query: LogQuery) -> LogPage:
        """Return one page. When this task is cancelled, the running statement is stopped.

        A page may hold fewer entries than asked for where they are very large; its cursor tells that there are more.

        Raises: QueryError for a cursor of another query, LimitError beyond `server.search_timeout_seconds`.
        """
        cursor = decode_cursor(query)
        with _seconds.time():
            return await run_interruptibly(self._store, lambda stop: self._page(scope, query, cursor, stop))

    def _page(self, scope: Scope, query: LogQuery, cursor: Cursor | None, interruption: Interruption) -> LogPage:
        deadline = time.monotonic() + self._timeout_seconds
        try:
            start_ns, end_ns = self._window(query, cursor)
            rows, is_last = self._rows(
                scope, query, cursor, start_ns=start_ns, end_ns=end_ns, deadline=deadline, interruption=interruption
            )
            interruption.check()
            labels = self._labels.of_rows(scope, rows)
            completeness = self._completeness(scope, query, start_ns=start_ns, end_ns=end_ns)
        except LimitError as error:
            if time.monotonic() < deadline:
                raise
            raise LimitError(
                f"the search took longer than {self._timeout_seconds:g} s (server.search_timeout_seconds); "
                "narrow it by start and end, by labels, or by token, which is indexed"
            ) from error
        except StorageError as error:
            if error.code == _CANNOT_COMPILE_REGEXP:
                raise QueryError(f"regex={query.filter.regex[:100]!r}: the store does not take it") from error
            raise
        following = None
        if rows and not is_last:
            position = rows[-1].position
            shown = sum(row.position == position for row in rows)
            if cursor is not None and cursor.position == position:
                shown += cursor.shown
            following = Cursor(query.digest(), start_ns, end_ns, position, shown).encode()
        entries = tuple(LogEntry(row, labels[row.stream]) for row in rows)
        return LogPage(entries, following, completeness)

    def _window(self, query: LogQuery, cursor: Cursor | None) -> tuple[int, int]:
        """Return the window that all pages of a search share."""
        if cursor is not None:
            return cursor.start_ns, cursor.end_ns
        now_ns = self._now_ns()
        end_ns = query.end_ns if query.end_ns is not None else min(now_ns + LATEST_AHEAD_NS, LAST_NS)
        newest_ns = now_ns if query.end_ns is None else query.end_ns
        start_ns = query.start_ns if query.start_ns is not None else max(newest_ns - DEFAULT_WINDOW_NS, 0)
        return start_ns, end_ns

    def _rows(
        self,
        scope: Scope,
        query: LogQuery,
        cursor: Cursor | None,
        *,
        start_ns: int,
        end_ns: int,
        deadline: float,
        interruption: Interruption,
    ) -> tuple[list[LogRow], bool]:
        """Return a page's rows and whether they are the last."""
        position = None if cursor is None else cursor.position
        skip = 0 if cursor is None else cursor.shown
        if position is not None:
            start_ns, end_ns = (
                (start_ns, min(end_ns, position.time_ns + 1))
                if query.backward
                else (max(start_ns, position.time_ns), end_ns)
            )
        if start_ns >= end_ns:
            return [], True
        streams = log_reads.find_streams(
            self._store, scope, query.filter.sources, start_ns=start_ns, end_ns=end_ns, comment=interruption.comment
        )
        if streams.ids == ():
            return [], True
        rows: list[LogRow] = []
        # What did not fill a page in the newest window is rare in the others, too.
        looks_into_lines, is_later = bool(query.filter.text or query.filter.regex or query.filter.token), False
        spans_ns = _INDEXED_SPANS_NS if log_reads.is_indexed(query.filter) else _SPANS_NS
        for first_ns, until_ns in _windows(start_ns, end_ns, spans_ns=spans_ns, backward=query.backward):
            interruption.check()
            wanted = query.limit + 1 + skip - len(rows)
            found, is_cut = self._read(
                scope,
                query,
                streams,
                window=(first_ns, until_ns),
                position=position,
                limit=wanted,
                are_few=looks_into_lines and is_later,
                deadline=deadline,
                comment=interruption.comment,
            )
            rows += found
            is_later = True
            if is_cut or len(found) >= wanted:
                shown = _beyond(rows, position, skip)
                return shown[: query.limit], len(shown) <= query.limit and not is_cut
        return _beyond(rows, position, skip), True

    def _read(
        self,
        scope: Scope,
        query: LogQuery,
        streams: Streams,
        *,
        window: tuple[int, int],
        position: LogPosition | None,
        limit: int,
        are_few: bool,
        deadline: float,
        comment: str,
    ) -> tuple[list[LogRow], bool]:
        """Return rows of one window, and whether they are fewer than there are because they are large."""
        asked = limit
        # the first entries may all be doubles that were shown before: never fewer than one beyond them
        fewest = max(limit - query.limit, 1)
        while True:
            least = asked <= fewest
            try:
                found = log_reads.find_rows(
                    self._store,
                    scope,
                    query.filter,
                    streams,
                    start_ns=window[0],
                    end_ns=window[1],
                    backward=query.backward,
                    limit=asked,
                    position=position,
                    timeout_seconds=deadline - time.monotonic(),
                    most_bytes=None if least else _MOST_PAGE_BYTES,
                    are_few=are_few,
                    comment=comment,
                )
            except (StorageError, LimitError) as error:
                too_large = isinstance(error, LimitError) or error.code == _TOO_MANY_ROWS_OR_BYTES
                if least or not too_large or time.monotonic() >= deadline:
                    raise
                asked = max(asked // 8, fewest)
                continue
            return found, asked < limit and len(found) == asked

    def _completeness(self, scope: Scope, query: LogQuery, *, start_ns: int, end_ns: int) -> Completeness:
        sources = query.filter.sources
        reasons = [reason.value for reason in LossReason]
        summaries = ledger_reads.sum_losses(
            self._store, scope, sources, reasons=reasons, start_ns=start_ns, end_ns=end_ns, signal=Signal.LOGS
        )
        losses: list[LedgerRow] = []
        if summaries:
            losses = ledger_reads.find_losses(
                self._store,
                scope,
                sources,
                reasons=reasons,
                start_ns=start_ns,
                end_ns=end_ns,
                limit=_MOST_LOSSES,
                signal=Signal.LOGS,
            )
        pending = ledger_reads.find_pending(self._store, scope, sources, start_ns=start_ns, end_ns=end_ns)
        return Completeness(
            losses=tuple(losses),
            loss_count=sum(summary.count for summary in summaries),
            pending_bytes=pending.bytes,
            pending_records=pending.records,
        )


def decode_cursor(query: LogQuery) -> Cursor | None:
    """Return a query's cursor.

    Raises: QueryError if it is none, or one of another query.
    """
    if query.cursor is None:
        return None
    try:
        packed = base64.b64decode(query.cursor + "=" * (-len(query.cursor) % 4), altchars=b"-_", validate=True)
        version, digest, start_ns, end_ns, time_ns, source, segment, offset, shown = _CURSOR.unpack(packed)
    except (binascii.Error, ValueError, struct.error):
        raise QueryError("cursor: not a cursor of this kobs; start again without one") from None
    if version != _CURSOR_VERSION or not 0 <= start_ns <= time_ns < end_ns:
        raise QueryError("cursor: not a cursor of this kobs; start again without one")
    if digest != query.digest():
        raise QueryError(
            "cursor: it belongs to another query; keep all parameters but limit as they were, or start without a cursor"
        )
    return Cursor(digest, start_ns, end_ns, LogPosition(time_ns, source, segment, offset), shown)


def _windows(start_ns: int, end_ns: int, *, spans_ns: tuple[int, ...], backward: bool) -> Iterator[tuple[int, int]]:
    """Yield growing windows that make up [start, end), from the end where backward."""
    for span_ns in spans_ns:
        if end_ns - start_ns <= span_ns:
            break
        if backward:
            yield end_ns - span_ns, end_ns
            end_ns -= span_ns
        else:
            yield start_ns, start_ns + span_ns
            start_ns += span_ns
    yield start_ns, end_ns


def _beyond(rows: list[LogRow], position: LogPosition | None, shown: int) -> list[LogRow]:
    """Leave out the first rows that stand at `position`, as many as were shown."""
    at_position = 0
    while at_position < min(shown, len(rows)) and rows[at_position].position == position:
        at_position += 1
    return rows[at_position:]
