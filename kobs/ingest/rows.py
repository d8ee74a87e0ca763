"""From batches to rows: bytes of a segment arrive, columns of the table `logs` leave, in the order of the bytes.

Each byte of a batch ends in exactly one row, or in a drop that is returned beside the rows with its bytes and reason.
The same batch gives the same rows, whenever it comes: nothing here reads a clock.
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import re2

from kobs.config import StorageSettings
from kobs.ingest.line_time import line_time_ns
from kobs.ingest.parse import severity, trace_id
from kobs.model.labels import fingerprint
from kobs.model.logs import LossReason
from kobs.storage.log_writes import LOG_ROWS
from kobs.wire import journal
from kobs.wire.entries import Entries, split
from kobs.wire.ship import Batch, LineFormat, Stream

_DAY_NS = 86_400_000_000_000
_LATEST_AHEAD_NS = 3_600_000_000_000
"""A line's own time may be this much later than it was read: clocks differ, but not by more."""
_EARLIEST_NS = 31_536_000_000_000_000
"""1971: an earlier time is a clock that was never set."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Bytes of a batch that no row holds (`in_row`: that the row which covers them left out)."""

    segment: int
    start: int
    end: int
    bytes: int
    rows: int
    reason: LossReason
    in_row: bool
    first_ns: int
    last_ns: int


@dataclass(slots=True)
class Columns:
    """Columns of LOG_ROWS while they grow."""

    times_ns: list[int] = field(default_factory=list)
    clusters: list[str] = field(default_factory=list)
    namespaces: list[str] = field(default_factory=list)
    streams: list[int] = field(default_factory=list)
    severities: list[str] = field(default_factory=list)
    trace_ids: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    tail_segments: list[int] = field(default_factory=list)
    tail_sizes: list[int] = field(default_factory=list)
    attempts: list[int] = field(default_factory=list)
    keep_days: list[int] = field(default_factory=list)

    def table(self) -> pa.Table:
        """Return the columns as they are inserted."""
        arrays = [
            pa.array(self.times_ns, pa.int64()).cast(pa.timestamp("ns", "UTC")),
            _words(self.clusters),
            _words(self.namespaces),
            pa.array(self.streams, pa.uint64()),
            _words(self.severities),
            pa.array(self.trace_ids, pa.string()),
            pa.array(self.bodies, pa.binary()),
            pa.array(self.sources, pa.uint64()),
            pa.array(self.segments, pa.int64()),
            pa.array(self.offsets, pa.uint64()),
            pa.array(self.sizes, pa.uint32()),
            pa.array(self.tail_segments, pa.int64()),
            pa.array(self.tail_sizes, pa.uint32()),
            pa.array(self.attempts, pa.uint8()),
            pa.array(self.keep_days, pa.uint16()),
        ]
        return pa.Table.from_arrays(arrays, schema=LOG_ROWS)


@dataclass(frozen=True, slots=True)
class BatchRows:
    """The rows of one batch, as a range of the columns, and what it drops."""

    first: int
    end: int
    first_ns: int
    last_ns: int
    namespace: str
    drops: list[Drop]
    labels: dict[int, dict[str, str]]
    """Label sets of the batch's streams by id."""
    malformed: int


class RowBuilder:
    """Turns batches into rows, with the server's settings."""

    def __init__(self, storage: StorageSettings, *, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self.keep_days = keep_days_of(storage)

    def add(
        self, columns: Columns, stream: Stream, batch: Batch, payload: bytes, *, attempt: int, today: int
    ) -> BatchRows:
        """Append the rows of a batch. `today` is the present day since 1970, by which expired entries are left out.

        Raises: RejectedError for a start pattern that is none; nothing was appended then.
        """
        own = self._journal_rows if stream.format is LineFormat.JOURNAL else self._line_rows
        first = len(columns.times_ns)
        part = own(columns, stream, batch, payload)
        source = stream.source
        count = len(columns.times_ns) - first
        keep = self.keep_days(source.namespace)
        columns.clusters += [source.cluster] * count
        columns.namespaces += [source.namespace] * count
        columns.sources += [source.id()] * count
        columns.attempts += [attempt & 0xFF] * count
        columns.keep_days += [keep] * count
        drops = [
            Drop(
                segment=columns.segments[first + index],
                start=columns.offsets[first + index],
                end=columns.offsets[first + index],
                bytes=size,
                rows=0,
                reason=LossReason.LINE_TOO_LONG,
                in_row=True,
                first_ns=columns.times_ns[first + index],
                last_ns=columns.times_ns[first + index],
            )
            for index, size in part.cut.items()
        ]
        drops += _leave_out_expired(columns, first, oldest_day=today - keep, batch=batch)
        kept = columns.times_ns[first:]
        return BatchRows(
            first=first,
            end=len(columns.times_ns),
            first_ns=min(kept, default=batch.read_ns),
            last_ns=max(kept, default=batch.read_ns),
            namespace=source.namespace,
            drops=drops,
            labels=part.labels,
            malformed=part.malformed,
        )

    def _line_rows(self, columns: Columns, stream: Stream, batch: Batch, payload: bytes) -> "_Part":
        """Append what entries of lines have of their own."""
        plain = stream.format is LineFormat.PLAIN
        boundary = batch.end - batch.start
        entries = split(
            payload,
            format=stream.format,
            start_pattern=stream.start_pattern,
            boundary=boundary,
            read_ns=batch.read_ns,
            max_body_bytes=self._max_body_bytes,
        )
        base = stream.source.labels()
        sets = [base] if plain else [{**base, "stream": name} for name in ("stdout", "stderr")]
        ids = [_stream_id(tuple(sorted(labels.items()))) for labels in sets]
        bodies, count = entries.bodies, len(entries.bodies)
        columns.times_ns += _times(plain, batch, entries)
        columns.streams += ids * count if plain else [ids[is_stderr] for is_stderr in entries.stderr]
        columns.severities += map(severity, bodies)
        columns.trace_ids += map(trace_id, bodies)
        columns.bodies += bodies
        columns.sizes += entries.sizes
        if batch.tail_end:
            # Entries that start beyond the boundary are the successor's.
            columns.segments += [
                batch.segment if offset < boundary else batch.tail_segment for offset in entries.offsets
            ]
            columns.offsets += [
                offset + batch.start if offset < boundary else offset - boundary for offset in entries.offsets
            ]
        else:
            start = batch.start
            columns.segments += [batch.segment] * count
            columns.offsets += [offset + start for offset in entries.offsets]
        tails = entries.tails
        columns.tail_segments += [batch.tail_segment if index in tails else 0 for index in range(count)]
        columns.tail_sizes += [tails.get(index, 0) for index in range(count)]
        used = set(ids) if plain else {ids[is_stderr] for is_stderr in set(entries.stderr)}
        labels = {number: each for number, each in zip(ids, sets, strict=True) if number in used}
        return _Part(labels, entries.cut, entries.malformed)

    def _journal_rows(self, columns: Columns, stream: Stream, batch: Batch, payload: bytes) -> "_Part":
        """Append what records of the journal have of their own."""
        base = stream.source.labels()
        labels: dict[int, dict[str, str]] = {}
        cut: dict[int, int] = {}
        covered_to = batch.start
        latest = batch.read_ns + _LATEST_AHEAD_NS
        entries, malformed = journal.parse(payload, read_ns=batch.read_ns)
        for index, entry in enumerate(entries):
            own = {**base, "unit": entry.unit} if entry.unit else base
            stream_id = _stream_id(tuple(sorted(own.items())))
            labels[stream_id] = own
            body = entry.body
            if len(body) > self._max_body_bytes:
                cut[index] = len(body) - self._max_body_bytes
                body = body[: self._max_body_bytes]
            columns.times_ns.append(entry.time_ns if _EARLIEST_NS <= entry.time_ns <= latest else batch.read_ns)
            columns.streams.append(stream_id)
            columns.severities.append(entry.severity or severity(body))
            columns.trace_ids.append(trace_id(body))
            columns.bodies.append(body)
            columns.offsets.append(entry.number)
            # An entry covers the numbers since the one before it: other sequences of the journal have those.
            columns.sizes.append(entry.number + 1 - covered_to)
            covered_to = entry.number + 1
        count = len(entries)
        columns.segments += [batch.segment] * count
        columns.tail_segments += [0] * count
        columns.tail_sizes += [0] * count
        return _Part(labels, cut, malformed)


@dataclass(frozen=True, slots=True)
class _Part:
    """What the rows of one batch say besides their columns."""

    labels: dict[int, dict[str, str]]
    cut: dict[int, int]
    """Bytes left out of a body, by the entry's number in the batch."""
    malformed: int


def _times(plain: bool, batch: Batch, entries: Entries) -> list[int]:  # noqa: FBT001 - one of two kinds of lines
    """Return the entries' times; where a line has none, or an absurd one, when it was read."""
    read_ns = batch.read_ns
    if plain:
        offset_s = batch.utc_offset_s
        times = [line_time_ns(body, read_ns=read_ns, utc_offset_s=offset_s) or read_ns for body in entries.bodies]
    else:
        times = entries.times_ns
    latest = read_ns + _LATEST_AHEAD_NS
    if times and (max(times) > latest or min(times) < _EARLIEST_NS):
        times = [time if _EARLIEST_NS <= time <= latest else read_ns for time in times]
    return times


def keep_days_of(storage: StorageSettings) -> Callable[[str], int]:
    """Return the function from a namespace to the days that its logs are kept."""
    rules = [(re2.compile(rule.namespace), rule.days) for rule in storage.keep]

    @functools.lru_cache(maxsize=10_000)
    def days(namespace: str) -> int:
        return next((days for pattern, days in rules if pattern.fullmatch(namespace) is not None), storage.keep_days)

    return days


def leave_out(columns: Columns, keep: Iterable[bool]) -> Columns:
    """Return the rows whose flag is set."""
    chosen = [index for index, wanted in enumerate(keep) if wanted]
    return Columns(*([column[index] for index in chosen] for column in _all(columns)))


def _all(columns: Columns) -> tuple[list[Any], ...]:
    return tuple(getattr(columns, name) for name in Columns.__slots__)


def _leave_out_expired(columns: Columns, first: int, *, oldest_day: int, batch: Batch) -> list[Drop]:
    """Remove rows from `first` on whose day is over its retention, and return them as one drop a segment."""
    oldest_ns = oldest_day * _DAY_NS
    times = columns.times_ns
    expired = [index for index in range(first, len(times)) if times[index] < oldest_ns]
    if not expired:
        return []
    drops = []
    for segment, start in ((batch.segment, batch.start), (batch.tail_segment, 0)):
        own = [index for index in expired if columns.segments[index] == segment]
        # An entry that goes on over a rotation covers bytes of both segments.
        tails = [index for index in expired if columns.tail_sizes[index] and columns.tail_segments[index] == segment]
        if not own and not tails:
            continue
        ends = [columns.offsets[index] + columns.sizes[index] for index in own]
        drops.append(
            Drop(
                segment=segment,
                start=start,
                end=max(ends + [columns.tail_sizes[index] for index in tails]),
                bytes=sum(columns.sizes[index] for index in own) + sum(columns.tail_sizes[index] for index in tails),
                rows=len(own),
                reason=LossReason.EXPIRED_ON_ARRIVAL,
                in_row=False,
                first_ns=min(times[index] for index in own + tails),
                last_ns=max(times[index] for index in own + tails),
            )
        )
    gone = set(expired)
    for column in _all(columns):
        column[first:] = [value for index, value in enumerate(column[first:], first) if index not in gone]
    return drops


@functools.lru_cache(maxsize=100_000)
def _stream_id(labels: tuple[tuple[str, str], ...]) -> int:
    return fingerprint(dict(labels))


def _words(values: list[str]) -> pa.Array:
    """Return a column of few different values as the engine takes it fastest."""
    return pa.array(values, pa.string()).dictionary_encode()
