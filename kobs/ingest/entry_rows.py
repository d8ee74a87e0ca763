"""Rows of the batches that are read one by one, entry by entry: whatever format and form their lines have.

The bytes of a batch arrive; columns of rows grow, in the order of the bytes, and what the batch drops is returned.
"""

from dataclasses import dataclass, field
from typing import Any

from kobs.ingest.batches import EARLIEST_NS, LATEST_AHEAD_NS, BatchRows, Drop, Placed, describe, stream_id
from kobs.ingest.line_time import line_time_ns
from kobs.model.logs import LossReason
from kobs.wire import journal
from kobs.wire.entries import Entries, split
from kobs.wire.ship import Batch, LineFormat, Stream


@dataclass(frozen=True, slots=True)
class _Part:
    """What the rows of one batch say besides their columns."""

    labels: dict[int, dict[str, str]]
    cut: dict[int, int]
    """Bytes left out of a body, by the entry's number in the batch."""
    malformed: int


@dataclass(slots=True)
class EntryRows:
    """Columns of the entries that are read batch by batch, while they grow."""

    times_ns: list[int] = field(default_factory=list)
    streams: list[int] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    tail_segments: list[int] = field(default_factory=list)
    tail_sizes: list[int] = field(default_factory=list)
    severities: list[str] = field(default_factory=list)
    """What a record says beside its body; empty where the body is to be asked."""

    def add(self, payload: bytes, placed: Placed, *, before: int, oldest_ns: int, max_body_bytes: int) -> BatchRows:
        """Append the rows of one batch, and return which they are, counted on from `before`.

        Entries older than `oldest_ns` are left out.

        Raises: RejectedError for a start pattern that is none; nothing was appended then.
        """
        batch, stream = placed.batch, placed.stream
        own = self._add_records if stream.format is LineFormat.JOURNAL else self._add_lines
        first = len(self.times_ns)
        part = own(stream, batch, payload[placed.at : placed.at + batch.length], max_body_bytes=max_body_bytes)
        drops = [
            Drop(
                segment=self.segments[first + index],
                start=self.offsets[first + index],
                end=self.offsets[first + index],
                bytes=size,
                rows=0,
                reason=LossReason.LINE_TOO_LONG,
                in_row=True,
                first_ns=self.times_ns[first + index],
                last_ns=self.times_ns[first + index],
            )
            for index, size in part.cut.items()
        ]
        drops += self._leave_out_expired(first, oldest_ns=oldest_ns, batch=batch)
        kept = self.times_ns[first:]
        return BatchRows(
            placed=placed,
            source=describe(stream).source,
            first=before + first,
            end=before + len(self.times_ns),
            first_ns=min(kept, default=batch.read_ns),
            last_ns=max(kept, default=batch.read_ns),
            drops=drops,
            labels=part.labels,
            malformed=part.malformed,
        )

    def _add_lines(self, stream: Stream, batch: Batch, payload: bytes, *, max_body_bytes: int) -> "_Part":
        """Append what entries of lines have of their own."""
        plain = stream.format is LineFormat.PLAIN
        boundary = batch.end - batch.start
        entries = split(
            payload,
            format=stream.format,
            start_pattern=stream.start_pattern,
            boundary=boundary,
            read_ns=batch.read_ns,
            max_body_bytes=max_body_bytes,
        )
        streams = describe(stream).streams
        count = len(entries.bodies)
        self.times_ns += _times(plain, batch, entries)
        self.streams += [streams[is_stderr and not plain][0] for is_stderr in entries.stderr]
        self.bodies += entries.bodies
        self.severities += [""] * count
        self.sizes += entries.sizes
        if batch.tail_end:
            # Entries that start beyond the boundary are the successor's.
            self.segments += [batch.segment if offset < boundary else batch.tail_segment for offset in entries.offsets]
            self.offsets += [
                offset + batch.start if offset < boundary else offset - boundary for offset in entries.offsets
            ]
        else:
            start = batch.start
            self.segments += [batch.segment] * count
            self.offsets += [offset + start for offset in entries.offsets]
        tails = entries.tails
        self.tail_segments += [batch.tail_segment if index in tails else 0 for index in range(count)]
        self.tail_sizes += [tails.get(index, 0) for index in range(count)]
        labels = dict(streams[:1] if plain else [streams[is_stderr] for is_stderr in sorted(set(entries.stderr))])
        return _Part(labels, entries.cut, entries.malformed)

    def _add_records(self, stream: Stream, batch: Batch, payload: bytes, *, max_body_bytes: int) -> "_Part":
        """Append what records of the journal have of their own."""
        base = stream.source.labels()
        labels: dict[int, dict[str, str]] = {}
        cut: dict[int, int] = {}
        covered_to = batch.start
        latest = batch.read_ns + LATEST_AHEAD_NS
        entries, malformed = journal.parse(payload, read_ns=batch.read_ns)
        for index, entry in enumerate(entries):
            own = {**base, "unit": entry.unit} if entry.unit else base
            number = stream_id(tuple(sorted(own.items())))
            labels[number] = own
            body = entry.body
            if len(body) > max_body_bytes:
                cut[index] = len(body) - max_body_bytes
                body = body[:max_body_bytes]
            self.times_ns.append(entry.time_ns if EARLIEST_NS <= entry.time_ns <= latest else batch.read_ns)
            self.streams.append(number)
            self.severities.append(entry.severity)
            self.bodies.append(body)
            self.offsets.append(entry.number)
            # An entry covers the numbers since the one before it: other sequences of the journal have those.
            self.sizes.append(entry.number + 1 - covered_to)
            covered_to = entry.number + 1
        count = len(entries)
        self.segments += [batch.segment] * count
        self.tail_segments += [0] * count
        self.tail_sizes += [0] * count
        return _Part(labels, cut, malformed)

    def _leave_out_expired(self, first: int, *, oldest_ns: int, batch: Batch) -> list[Drop]:
        """Remove rows from `first` on whose day is over its retention, and return them as one drop a segment."""
        times = self.times_ns
        expired = [index for index in range(first, len(times)) if times[index] < oldest_ns]
        if not expired:
            return []
        drops = []
        for segment, start in ((batch.segment, batch.start), (batch.tail_segment, 0)):
            own = [index for index in expired if self.segments[index] == segment]
            # An entry that goes on over a rotation covers bytes of both segments.
            tails = [index for index in expired if self.tail_sizes[index] and self.tail_segments[index] == segment]
            if not own and not tails:
                continue
            ends = [self.offsets[index] + self.sizes[index] for index in own]
            drops.append(
                Drop(
                    segment=segment,
                    start=start,
                    end=max(ends + [self.tail_sizes[index] for index in tails]),
                    bytes=sum(self.sizes[index] for index in own) + sum(self.tail_sizes[index] for index in tails),
                    rows=len(own),
                    reason=LossReason.EXPIRED_ON_ARRIVAL,
                    in_row=False,
                    first_ns=min(times[index] for index in own + tails),
                    last_ns=max(times[index] for index in own + tails),
                )
            )
        self._remove(set(expired), first=first)
        return drops

    def _remove(self, gone: set[int], *, first: int) -> None:
        """Take entries from `first` on out."""
        columns: tuple[list[Any], ...] = (
            *(self.times_ns, self.streams, self.bodies, self.severities, self.segments, self.offsets, self.sizes),
            *(self.tail_segments, self.tail_sizes),
        )
        for column in columns:
            column[first:] = [value for index, value in enumerate(column[first:], first) if index not in gone]


def _times(plain: bool, batch: Batch, entries: Entries) -> list[int]:  # noqa: FBT001 - one of two kinds of lines
    """Return the entries' times; where a line has none, or an absurd one, when it was read."""
    read_ns = batch.read_ns
    if plain:
        offset_s = batch.utc_offset_s
        times = [line_time_ns(body, read_ns=read_ns, utc_offset_s=offset_s) or read_ns for body in entries.bodies]
    else:
        times = entries.times_ns
    latest = read_ns + LATEST_AHEAD_NS
    if times and (max(times) > latest or min(times) < EARLIEST_NS):
        times = [time if EARLIEST_NS <= time <= latest else read_ns for time in times]
    return times
