"""Reads `io.prometheus.write.v2.Request`, the message of remote write 2.0.

    Request: symbols = 4, timeseries = 5              Sample: value = 1 (double), timestamp = 2 (int64, ms)
    TimeSeries: labels_refs = 1, samples = 2, histograms = 3, exemplars = 4, metadata = 5, created_timestamp = 6
    Metadata: type = 1, help_ref = 3, unit_ref = 4

Texts are in `symbols` and referred to by their index in it, which differs from request to request. So each text gets a
number here, and a label set is known by those.
"""

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
from kobs.wire.remote_write_order import Numbers
from kobs.wire.remote_write_parts import MARGIN, find_parts

_NOTHING_SAID = 0
_METADATA_BYTES = 15
"""Metadata of a type, two references and no more fit; longer ones are read one by one."""

_ODD = np.uint64(0x9E37_79B9_7F4A_7C15)

Places = npt.NDArray[np.int64]


def read(data: bytes, known: Known, number_of: NumberOf) -> Written:
    """Return what a message holds.

    Raises: RejectedError("malformed_message" | "too_many_samples").
    """
    raw = np.frombuffer(data + MARGIN, np.uint8)
    parts = find_parts(data, raw)
    fields = _Fields(data, raw, parts.starts, parts.stops)
    meaning = _Meaning(parts.texts, known, number_of)
    numbers, faulty = meaning.numbers(fields)
    said, described = meaning.said(fields, numbers)
    times_ms, values = columns(data, fields.sample_starts, fields.sample_ends)
    return Written(
        numbers[fields.owners],
        times_ms,
        values,
        histograms=fields.histograms,
        exemplars=fields.exemplars,
        empty=fields.empty,
        said=said,
        described=described,
        faulty=faulty,
    )


class _Fields:
    """Where the fields of the series of a message are; found for all series at once that have the usual form.

    References and metadata lie in `raw`: those of usual series where the message has them, the others behind it.
    """

    def __init__(self, data: bytes, raw: npt.NDArray[np.uint8], starts: Places, stops: Places) -> None:
        self._data = data
        self.histograms = 0
        self.exemplars = 0
        self.empty = 0

        def byte(at: Places) -> Places:
            # What lies beyond the message is looked at, but not taken.
            return raw.take(at).astype(np.int64)

        # The usual series has references, one sample, and perhaps metadata, each shorter than 128 bytes.
        refs_sizes = byte(starts + 1)
        refs_ends = starts + 2 + refs_sizes
        sample_sizes = byte(refs_ends + 1)
        sample_ends = refs_ends + 2 + sample_sizes
        usual = (raw.take(starts) == 0x0A) & (refs_sizes < 0x80) & (raw.take(refs_ends) == 0x12) & (sample_sizes < 0x80)
        usual &= sample_ends <= stops
        is_last = sample_ends == stops
        sizes = byte(sample_ends + 1)
        usual &= is_last | ((raw.take(sample_ends) == 0x2A) & (sizes < 0x80) & (sample_ends + 2 + sizes == stops))
        self.raw = raw
        self.refs_starts, self.refs_ends = starts + 2, refs_ends
        self.metadata_starts, self.metadata_ends = np.where(is_last, stops, sample_ends + 2), stops
        self.owners = np.flatnonzero(usual)
        """Of each sample: its series."""
        self.sample_starts = (refs_ends + 2)[usual]
        self.sample_ends = sample_ends[usual]
        if not usual.all():
            self._find_others(np.flatnonzero(~usual).tolist(), starts, stops)

    def has_samples(self) -> set[int]:
        """Return the series that have samples."""
        return set(self.owners.tolist())

    def metadata(self, index: int) -> bytes:
        """Return the metadata of a series."""
        return self.raw[self.metadata_starts[index] : self.metadata_ends[index]].tobytes()

    def _find_others(self, indexes: list[int], starts: Places, stops: Places) -> None:
        owners: list[int] = []
        samples: list[tuple[int, int]] = []
        behind: list[bytes] = []
        end = len(self.raw)
        self.metadata_ends = stops.copy()
        for index in indexes:
            found, refs, metadata = self._fields_of(int(starts[index]), int(stops[index]))
            owners += [index] * len(found)
            samples += found
            if len(samples) > MOST_PARTS:
                raise too_many("samples")
            self.refs_starts[index], self.refs_ends[index] = end, end + len(refs)
            end += len(refs)
            self.metadata_starts[index], self.metadata_ends[index] = end, end + len(metadata)
            end += len(metadata)
            behind += [refs, metadata]
        self.raw = np.frombuffer(b"".join([self.raw.tobytes(), *behind, MARGIN]), np.uint8)
        begins, ends = np.array(samples, np.int64).reshape(-1, 2).T
        self.owners = np.concatenate([self.owners, np.array(owners, np.int64)])
        self.sample_starts = np.concatenate([self.sample_starts, begins])
        self.sample_ends = np.concatenate([self.sample_ends, ends])
        order = np.argsort(self.owners, kind="stable")
        self.owners, self.sample_starts, self.sample_ends = (
            column[order] for column in (self.owners, self.sample_starts, self.sample_ends)
        )

    def _fields_of(self, at: int, stop: int) -> tuple[list[tuple[int, int]], bytes, bytes]:
        """Read a series of any form: return where its samples are, its references and its metadata."""
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
        return samples, refs, metadata


class _Meaning:
    """What the references of a message mean."""

    def __init__(self, symbols: list[bytes], known: Known, number_of: NumberOf) -> None:
        self._symbols = symbols
        self._known = known
        self._number_of = number_of

    def numbers(self, fields: _Fields) -> tuple[Numbers, list[tuple[int, str]]]:
        """Return the number of each series' label set, and those that are not allowed."""
        known = self._known
        found = list(map(known.symbols.get, self._symbols))
        if None in found:
            found = [self._symbol(text) for text in self._symbols]
        symbols = np.array(found, np.uint32)
        refs, offsets = _unpacked(_pieces(fields.raw, fields.refs_starts, fields.refs_ends))
        inside = refs < len(symbols)
        keys = symbols[np.where(inside, refs, 0)] if len(symbols) else np.zeros(0, np.uint32)
        # Label sets that refer to no text, or have a name without a value.
        unreadable = set(np.flatnonzero(np.diff(offsets) & 1).tolist())
        if not inside.all():
            outside = np.flatnonzero(~inside)
            unreadable |= set((np.searchsorted(offsets, outside, side="right") - 1).tolist())
        find = known.series_of_symbols.get
        numbers = known.order.numbers_of(keys, offsets, find)
        faulty: list[tuple[int, str]] = []
        if not unreadable and numbers.min(initial=0) >= 0:
            return numbers, faulty
        with_samples = fields.has_samples()
        others = unreadable | set(np.flatnonzero(numbers < 0).tolist())
        for index in sorted(others):
            begin, end = int(offsets[index]), int(offsets[index + 1])
            labels = None
            if index in unreadable:
                numbers[index] = self._number_of(None)
            else:
                labels = self._labels(refs[begin:end])
                key = keys[begin:end].tobytes()
                # It may have come in this message before.
                number = find(key)
                if number is None:
                    number = self._number_of(labels)
                    known.keep(known.series_of_symbols, key, number)
                numbers[index] = number
            if numbers[index] < 0 and index in with_samples:
                note_faulty(faulty, int(numbers[index]), labels)
        return numbers, faulty

    def said(self, fields: _Fields, numbers: Numbers) -> tuple[list[Said], dict[int, int]]:
        """Return what is said of metrics that was not said before of their series."""
        numbered, different = _numbered_metadata(fields)
        read = [self._read_metadata(fields.metadata(index)) for index in different]
        now = np.array([key for _, _, _, key in read], np.int64)[numbered]
        said: list[Said] = []
        described: dict[int, int] = {}
        new = (now != _NOTHING_SAID) & (numbers >= 0)
        new[new] = self._known.said_before(numbers[new]) != now[new]
        for index in np.flatnonzero(new).tolist():
            number, (kind, description, unit, key) = int(numbers[index]), read[numbered[index]]
            if key == described.get(number):
                continue
            described[number] = key
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
        """Return type, help, unit, and all that as one number: 0 where there is no metadata.

        References to no text are empty.
        """
        if not raw:
            return 0, b"", b"", _NOTHING_SAID
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


def _pieces(raw: npt.NDArray[np.uint8], starts: Places, ends: Places) -> tuple[npt.NDArray[np.uint8], Places]:
    """Return pieces one after another, and where each of them begins there, with the end of the last."""
    sizes = ends - starts
    bounds = np.zeros(len(starts) + 1, np.int64)
    np.cumsum(sizes, out=bounds[1:])
    return raw.take(np.arange(bounds[-1]) + np.repeat(starts - bounds[:-1], sizes)), bounds


def _numbered_metadata(fields: _Fields) -> tuple[Places, list[int]]:
    """Return for each series the number of its metadata among the different ones, and a series that has each."""
    starts = fields.metadata_starts
    sizes = fields.metadata_ends - starts
    if not len(starts) or int(sizes.max()) > _METADATA_BYTES:
        numbers: dict[bytes, int] = {}
        found = [numbers.setdefault(fields.metadata(index), len(numbers)) for index in range(len(starts))]
        firsts = dict(zip(reversed(found), range(len(found) - 1, -1, -1), strict=True))
        return np.array(found, np.int64), [firsts[number] for number in range(len(numbers))]
    # Their bytes with zeros behind them, and their size: two numbers that no other metadata has.
    places = np.arange(_METADATA_BYTES + 1)
    content = fields.raw.take(starts[:, None] + places)
    content[places >= sizes[:, None]] = 0
    content[:, -1] = sizes
    words = content.view(np.uint64)
    mixed = words[:, 0] * _ODD + words[:, 1]
    _, different, numbered = np.unique(mixed, return_index=True, return_inverse=True)
    if not (words[different][numbered] == words).all():
        # Two have the same sum, which can be made to happen but does not matter.
        _, different, numbered = np.unique(words, axis=0, return_index=True, return_inverse=True)
    return numbered.ravel(), different.tolist()


def _unpacked(
    packed: tuple[npt.NDArray[np.uint8], Places],
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """Return references, and where those of each series begin, with the end of the last.

    Raises: RejectedError("malformed_message").
    """
    raw, bounds = packed
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
