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
    Places,
    Said,
    Written,
    malformed,
    note_faulty,
    piece,
    skipped,
    text_of,
    too_many,
    type_of,
    varint,
)

_NO_METADATA = (0, 0)
_NEW = -(2**31)
"""In place of the number of a label set that is not known."""


def read(data: bytes, known: Known, number_of: NumberOf) -> Written:
    """Return what a message holds.

    Raises: RejectedError("malformed_message").
    """
    reader = _Reader(data, known, number_of)
    try:
        reader.find_parts()
        reader.find_fields()
    except IndexError:
        raise malformed(f"it ends in the middle, after {len(data)} bytes") from None
    return reader.written()


class _Reader:
    """Reads a message in steps: where its parts are, where the fields of its series are, what they mean."""

    def __init__(self, data: bytes, known: Known, number_of: NumberOf) -> None:
        self._data = data
        self._known = known
        self._number_of = number_of
        self._symbols: list[bytes] = []
        self._parts: list[tuple[int, int]] = []
        self._refs: list[bytes] = []
        self._samples: list[int] = []
        self._metadata: list[tuple[int, int]] = []
        self._places = Places()
        self._histograms = 0
        self._exemplars = 0
        self._empty = 0

    def find_parts(self) -> None:
        """Find texts and series."""
        data = self._data
        symbols, parts = self._symbols, self._parts
        at, end = 0, len(data)
        for _ in range(MOST_PARTS):
            if at >= end:
                break
            tag = data[at]
            if tag in (0x22, 0x2A):
                size = data[at + 1]
                if size < 0x80:
                    start = at + 2
                else:
                    size, start = varint(data, at + 1, end)
                at = start + size
                if at > end:
                    raise malformed(f"a part of {size} bytes at byte {start} goes beyond its end")
                if tag == 0x22:
                    symbols.append(data[start:at])
                else:
                    parts.append((start, at))
            else:
                tag, at = varint(data, at, end)
                if tag in (0x22, 0x2A):
                    raise malformed(f"a tag before byte {at} is longer than it need be")
                at = skipped(data, at, end, tag)
        else:
            raise too_many("series and symbols")
        if self._parts and (not self._symbols or self._symbols[0]):
            raise malformed("its symbols do not begin with the empty text")

    def find_fields(self) -> None:
        """Find references, samples and metadata of each series."""
        data = self._data
        starts, ends, refs = self._places.starts, self._places.ends, self._refs
        for start, stop in self._parts:
            # The usual series has references, one sample, and metadata, each short.
            if (
                start < stop
                and data[start] == 0x0A
                and (refs_end := start + 2 + data[start + 1]) < stop
                and data[refs_end] == 0x12
            ):
                sample = refs_end + 2
                end = sample + data[refs_end + 1]
                if data[start + 1] < 0x80 and data[refs_end + 1] < 0x80 and end <= stop:
                    metadata = _NO_METADATA
                    if end == stop:
                        is_usual = True
                    else:
                        metadata = (end + 2, stop)
                        is_usual = data[end] == 0x2A and data[end + 1] == stop - end - 2 < 0x80
                    if is_usual:
                        refs.append(data[start + 2 : refs_end])
                        starts.append(sample)
                        ends.append(end)
                        self._samples.append(1)
                        self._metadata.append(metadata)
                        continue
            self._find_fields_of(start, stop)
            if len(starts) > MOST_PARTS:
                raise too_many("samples")

    def _find_fields_of(self, at: int, stop: int) -> None:
        data = self._data
        refs = b""
        metadata = _NO_METADATA
        samples = others = 0
        while at < stop:
            tag, at = varint(data, at, stop)
            if tag == 0x12:
                begin, at = piece(data, at, stop)
                self._places.starts.append(begin)
                self._places.ends.append(at)
                samples += 1
            elif tag == 0x0A:
                begin, at = piece(data, at, stop)
                refs += data[begin:at]
            elif tag == 0x08:
                # References that are not packed are the same bytes, one by one.
                begin, (_, at) = at, varint(data, at, stop)
                refs += data[begin:at]
            elif tag == 0x2A:
                metadata = piece(data, at, stop)
                at = metadata[1]
            else:
                at = skipped(data, at, stop, tag)
                self._histograms += tag == 0x1A
                self._exemplars += tag == 0x22
                others += tag in (0x1A, 0x22)
        if samples + others == 0:
            self._empty += 1
        self._refs.append(refs)
        self._samples.append(samples)
        self._metadata.append(metadata)

    def written(self) -> Written:
        """Return what the message means."""
        numbers, faulty = self._numbers()
        self._places.series = np.repeat(np.array(numbers, np.int32), np.array(self._samples, np.int64)).tolist()
        said, described = self._said(numbers)
        return Written(
            *self._places.columns(self._data),
            histograms=self._histograms,
            exemplars=self._exemplars,
            empty=self._empty,
            said=said,
            described=described,
            faulty=faulty,
        )

    def _numbers(self) -> tuple[list[int], list[tuple[int, str]]]:
        """Return the number of each series' label set, and those that are not allowed."""
        known = self._known
        found = list(map(known.symbols.get, self._symbols))
        if None in found:
            found = [self._symbol(text) for text in self._symbols]
        symbols = np.array(found, np.uint32)
        refs, offsets = _unpacked(self._refs)
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
            if numbers[index] < 0 and self._samples[index]:
                note_faulty(faulty, numbers[index], labels)
        return numbers, faulty

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

    def _said(self, numbers: list[int]) -> tuple[list[Said], dict[int, int]]:
        """Return what is said of metrics that was not said before of their series."""
        read: dict[bytes, tuple[int, int, int, int]] = {}
        said: list[Said] = []
        described: dict[int, int] = {}
        known = self._known.described
        data = self._data
        for number, (start, stop) in zip(numbers, self._metadata, strict=True):
            if start == stop or number < 0:
                continue
            raw = data[start:stop]
            found = read.get(raw)
            if found is None:
                found = read[raw] = self._read_metadata(start, stop)
            kind, description, unit, key = found
            if known.get(number) != key and described.get(number) != key:
                described[number] = key
                texts = (text_of(self._symbols[description]), text_of(self._symbols[unit]))
                said.append(Said(type_of(kind), help=texts[0], unit=texts[1], series=number))
        return said, described

    def _read_metadata(self, at: int, stop: int) -> tuple[int, int, int, int]:
        """Return type, references to help and unit, and all that as one number. References to no text are empty."""
        found = {0x08: 0, 0x18: 0, 0x20: 0}
        while at < stop:
            tag, at = varint(self._data, at, stop)
            if tag in found:
                found[tag], at = varint(self._data, at, stop)
            else:
                at = skipped(self._data, at, stop, tag)
        kind, description, unit = found[0x08], found[0x18], found[0x20]
        description = description if description < len(self._symbols) else 0
        unit = unit if unit < len(self._symbols) else 0
        symbols = self._known.symbols
        key = min(kind, 255) | symbols[self._symbols[description]] << 8 | symbols[self._symbols[unit]] << 40
        return kind, description, unit, key


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
