"""Reads `io.prometheus.write.v2.Request`, the message of remote write 2.0.

    Request: symbols = 4, timeseries = 5              Sample: value = 1 (double), timestamp = 2 (int64, ms)
    TimeSeries: labels_refs = 1, samples = 2, histograms = 3, exemplars = 4, metadata = 5, created_timestamp = 6
    Metadata: type = 1, help_ref = 3, unit_ref = 4

Texts are in `symbols` and referred to by their index in it, which differs from request to request. So each text gets a
number here, and a label set is known by those.
"""

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from kobs.wire.remote_write import (
    MOST_LABELS,
    MOST_PARTS,
    Known,
    Labels,
    NumberOf,
    Said,
    Written,
    columns,
    malformed,
    note_faulty,
    piece,
    skipped,
    text_of,
    too_many,
    type_of,
    varint,
)

_NEW = -(2**31)
"""In place of the number of a label set that is not known."""
_NOTHING_SAID = 0


def read(data: bytes, known: Known, number_of: NumberOf) -> Written:
    """Return what a message holds.

    Raises: RejectedError("malformed_message" | "too_many_samples").
    """
    try:
        symbols, starts, stops = _parts(data)
    except IndexError:
        raise malformed(f"it ends in the middle, after {len(data)} bytes") from None
    fields = _Fields(data, np.array(starts, np.int64), np.array(stops, np.int64))
    meaning = _Meaning(symbols, known, number_of)
    numbers, faulty = meaning.numbers(fields)
    said, described = meaning.said(fields.metadata, numbers)
    series = np.array(numbers, np.int32)[fields.owners]
    times_ms, values = columns(data, fields.sample_starts, fields.sample_ends)
    return Written(
        series,
        times_ms,
        values,
        histograms=fields.histograms,
        exemplars=fields.exemplars,
        empty=fields.empty,
        said=said,
        described=described,
        faulty=faulty,
    )


def _parts(data: bytes) -> tuple[list[bytes], list[int], list[int]]:  # noqa: PLR0912 - one loop is what is fast
    """Return the texts of a message, and where its series begin and end.

    Raises: RejectedError; IndexError where the message ends too early.
    """
    symbols: list[bytes] = []
    starts: list[int] = []
    stops: list[int] = []
    at, end = 0, len(data)
    for _ in range(MOST_PARTS):
        if at >= end:
            break
        tag, size = data[at], data[at + 1]
        if tag in (0x22, 0x2A):
            if size < 0x80:
                start = at + 2
            elif data[at + 2] < 0x80:
                size += (data[at + 2] - 1) << 7
                start = at + 3
            else:
                size, start = varint(data, at + 1, end)
            at = start + size
            if tag == 0x2A:
                starts.append(start)
                stops.append(at)
            else:
                symbols.append(data[start:at])
        else:
            tag, at = varint(data, at, end)
            if tag in (0x22, 0x2A):
                raise malformed(f"a tag before byte {at} is longer than it need be")
            at = skipped(data, at, end, tag)
    if at < end:
        raise too_many("series and symbols")
    if at > end:
        raise malformed(f"its last part goes {at - end} bytes beyond its end")
    if starts and (not symbols or symbols[0]):
        raise malformed("its symbols do not begin with the empty text")
    return symbols, starts, stops


class _Fields:
    """Where the fields of the series of a message are; found for all series at once that have the usual form."""

    def __init__(self, data: bytes, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]) -> None:
        self._data = data
        self.histograms = 0
        self.exemplars = 0
        self.empty = 0
        raw = np.frombuffer(data or b"\0", np.uint8)

        def byte(at: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
            # What lies beyond the message is not looked at where it is not in the series either.
            return raw[np.minimum(at, len(raw) - 1)].astype(np.int64)

        # The usual series has references, one sample, and perhaps metadata, each shorter than 128 bytes.
        refs_ends = starts + 2 + byte(starts + 1)
        sample_ends = refs_ends + 2 + byte(refs_ends + 1)
        usual = (byte(starts) == 0x0A) & (byte(starts + 1) < 0x80) & (refs_ends + 2 <= stops)
        usual &= (byte(refs_ends) == 0x12) & (byte(refs_ends + 1) < 0x80) & (sample_ends <= stops)
        is_last = sample_ends == stops
        size = byte(sample_ends + 1)
        usual &= is_last | ((byte(sample_ends) == 0x2A) & (size < 0x80) & (sample_ends + 2 + size == stops))
        metadata_starts = np.where(is_last, stops, sample_ends + 2)
        self.refs = [data[one:other] for one, other in zip((starts + 2).tolist(), refs_ends.tolist(), strict=True)]
        self.metadata = [data[one:other] for one, other in zip(metadata_starts.tolist(), stops.tolist(), strict=True)]
        self.owners = np.flatnonzero(usual)
        """Of each sample: its series."""
        self.sample_starts = (refs_ends + 2)[usual]
        self.sample_ends = sample_ends[usual]
        if not usual.all():
            self._find_others(np.flatnonzero(~usual).tolist(), starts, stops)

    def has_samples(self) -> set[int]:
        """Return the series that have samples."""
        return set(self.owners.tolist())

    def _find_others(self, indexes: list[int], starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]) -> None:
        owners: list[int] = []
        samples: list[tuple[int, int]] = []
        for index in indexes:
            found = self._fields_of(index, int(starts[index]), int(stops[index]))
            owners += [index] * len(found)
            samples += found
            if len(samples) > MOST_PARTS:
                raise too_many("samples")
        begins, ends = np.array(samples, np.int64).reshape(-1, 2).T
        self.owners = np.concatenate([self.owners, np.array(owners, np.int64)])
        self.sample_starts = np.concatenate([self.sample_starts, begins])
        self.sample_ends = np.concatenate([self.sample_ends, ends])
        order = np.argsort(self.owners, kind="stable")
        self.owners, self.sample_starts, self.sample_ends = (
            column[order] for column in (self.owners, self.sample_starts, self.sample_ends)
        )

    def _fields_of(self, index: int, at: int, stop: int) -> list[tuple[int, int]]:
        """Find the fields of a series of any form; return where its samples are."""
        data = self._data
        refs = metadata = b""
        samples: list[tuple[int, int]] = []
        others = 0
        while at < stop:
            tag, at = varint(data, at, stop)
            if tag == 0x12:
                begin, at = piece(data, at, stop)
                samples.append((begin, at))
            elif tag == 0x0A:
                begin, at = piece(data, at, stop)
                refs += data[begin:at]
            elif tag == 0x08:
                # References that are not packed are the same bytes, one by one.
                begin, (_, at) = at, varint(data, at, stop)
                refs += data[begin:at]
            elif tag == 0x2A:
                begin, at = piece(data, at, stop)
                metadata = data[begin:at]
            else:
                at = skipped(data, at, stop, tag)
                self.histograms += tag == 0x1A
                self.exemplars += tag == 0x22
                others += tag in (0x1A, 0x22)
        self.empty += not samples and not others
        self.refs[index] = refs
        self.metadata[index] = metadata
        return samples


class _Meaning:
    """What the references of a message mean."""

    def __init__(self, symbols: list[bytes], known: Known, number_of: NumberOf) -> None:
        self._symbols = symbols
        self._known = known
        self._number_of = number_of

    def numbers(self, fields: _Fields) -> tuple[list[int], list[tuple[int, str]]]:
        """Return the number of each series' label set, and those that are not allowed."""
        known = self._known
        found = list(map(known.symbols.get, self._symbols))
        if None in found:
            found = [self._symbol(text) for text in self._symbols]
        symbols = np.array(found, np.uint32)
        refs, offsets = _unpacked(fields.refs)
        inside = refs < len(symbols)
        keys = symbols[np.where(inside, refs, 0)].tobytes() if len(symbols) else b""
        # Label sets that refer to no text, or have a name without a value.
        unreadable = set(np.flatnonzero(np.diff(offsets) & 1).tolist())
        if not inside.all():
            outside = np.flatnonzero(~inside)
            unreadable |= set((np.searchsorted(offsets, outside, side="right") - 1).tolist())
        bounds = list(pairwise((offsets * 4).tolist()))
        find = known.series_of_symbols.get
        numbers = [find(keys[begin:end], _NEW) for begin, end in bounds]
        faulty: list[tuple[int, str]] = []
        if not unreadable and min(numbers, default=0) >= 0:
            return numbers, faulty
        with_samples = fields.has_samples()
        for index, ((begin, end), number) in enumerate(zip(bounds, numbers, strict=True)):
            if index in unreadable:
                labels = None
                numbers[index] = self._number_of(None)
            elif number >= 0:
                continue
            else:
                labels = self._labels(refs[begin // 4 : end // 4])
                if number == _NEW:
                    # It may have come in this message before.
                    numbers[index] = find(keys[begin:end], _NEW)
                if numbers[index] == _NEW:
                    numbers[index] = self._number_of(labels)
                    known.keep(known.series_of_symbols, keys[begin:end], numbers[index])
            if numbers[index] < 0 and index in with_samples:
                note_faulty(faulty, numbers[index], labels)
        return numbers, faulty

    def said(self, metadata: list[bytes], numbers: list[int]) -> tuple[list[Said], dict[int, int]]:
        """Return what is said of metrics that was not said before of their series."""
        read = {raw: self._read_metadata(raw) for raw in set(metadata) if raw}
        keys = {raw: key for raw, (_, _, _, key) in read.items()}
        keys[b""] = _NOTHING_SAID
        said: list[Said] = []
        described: dict[int, int] = {}
        before = self._known.described.get
        now = [keys[raw] for raw in metadata]
        if now == [before(number, _NOTHING_SAID) for number in numbers]:
            return said, described
        for number, raw, key in zip(numbers, metadata, now, strict=True):
            if number < 0 or key in (_NOTHING_SAID, before(number), described.get(number)):
                continue
            described[number] = key
            kind, description, unit, _ = read[raw]
            said.append(Said(type_of(kind), help=text_of(description), unit=text_of(unit), series=number))
        return said, described

    def _symbol(self, text: bytes) -> int:
        known = self._known
        number = known.symbols.get(text)
        # Two threads may meet here: each number is given once, and the first of two counts.
        if number is None:
            number = known.symbols.setdefault(text, next(known.next_symbol))
            known.size += len(text) + 150
        return number

    def _labels(self, refs: npt.NDArray[np.uint32]) -> Labels:
        texts = [self._symbols[ref] for ref in refs[: 2 * MOST_LABELS + 2].tolist()]
        return list(zip(texts[::2], texts[1::2], strict=True))

    def _read_metadata(self, raw: bytes) -> tuple[int, bytes, bytes, int]:
        """Return type, help, unit, and all that as one number that is not 0. References to no text are empty."""
        found = {0x08: 0, 0x18: 0, 0x20: 0}
        at, stop = 0, len(raw)
        while at < stop:
            tag, at = varint(raw, at, stop)
            if tag in found:
                found[tag], at = varint(raw, at, stop)
            else:
                at = skipped(raw, at, stop, tag)
        texts = [self._symbols[ref] if ref < len(self._symbols) else b"" for ref in (found[0x18], found[0x20])]
        description, unit = (self._symbol(text) for text in texts)
        return found[0x08], texts[0], texts[1], 1 + min(found[0x08], 255) | description << 9 | unit << 41


def _unpacked(packed: list[bytes]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """Return references, and where those of each series begin, with the end of the last.

    Raises: RejectedError("malformed_message").
    """
    raw = np.frombuffer(b"".join(packed), np.uint8)
    bounds = np.zeros(len(packed) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, packed), np.int64, len(packed)), out=bounds[1:])
    if len(raw) == 0:
        return np.empty(0, np.uint32), bounds
    # The last byte of a number has its highest bits.
    ends = np.flatnonzero(raw < 0x80)
    closed = raw[np.maximum(bounds[1:] - 1, 0)] < 0x80
    if not (closed | (np.diff(bounds) == 0)).all():
        raise malformed("the references of a series end in the middle of one")
    offsets = np.searchsorted(ends, bounds)
    refs = raw[ends].astype(np.uint64)
    if len(ends) == len(raw):
        return refs.astype(np.uint32), offsets
    longer = np.flatnonzero(np.diff(ends, prepend=-1) > 1)
    for back in range(1, 6):
        at = ends[longer] - back
        more = (at >= 0) & (raw[np.maximum(at, 0)] >= 0x80)
        longer, at = longer[more], at[more]
        if len(longer) == 0:
            break
        if back == 5:
            raise malformed("a reference has more than 5 bytes")
        refs[longer] = refs[longer] << np.uint64(7) | raw[at] & np.uint8(0x7F)
    return np.minimum(refs, 0xFFFF_FFFF).astype(np.uint32), offsets
