"""Reads `prometheus.WriteRequest`, the message of remote write 1.0.

WriteRequest: timeseries = 1, metadata = 3        TimeSeries: labels = 1, samples = 2, exemplars = 3, histograms = 4
Label: name = 1, value = 2                        Sample: value = 1 (double), timestamp = 2 (int64, ms)
MetricMetadata: type = 1, metric_family_name = 2, help = 4, unit = 5
"""

import numpy as np

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

_SAMPLE_SIZES = (16, 7)
"""A sample with a time of these years, and one whose value is zero."""


def read(data: bytes, known: Known, number_of: NumberOf) -> Written:
    """Return what a message holds.

    Raises: RejectedError("malformed_message").
    """
    places = _Places()
    series, starts, ends = places.series, places.starts, places.ends
    find = known.series.get
    reader = _Reader(data, known, number_of, places)
    end = len(data)
    at = 0
    try:
        while at < end:
            tag = data[at]
            if tag != 0x0A:
                at = reader.other(at, end)
                continue
            size = data[at + 1]
            if size < 0x80:
                start = at + 2
            elif data[at + 2] < 0x80:
                size += (data[at + 2] - 1) << 7
                start = at + 3
            else:
                size, start = varint(data, at + 1, end)
            at = start + size
            if at > end:
                raise malformed(f"a series of {size} bytes at byte {start} goes beyond its end")
            # The usual series has one sample, its last field. These bytes could be the end of a label's value, too: but
            # what is before them is a known label set, so that they begin a field.
            for sample_size in _SAMPLE_SIZES:
                labels_end = at - sample_size - 2
                if labels_end > start and data[labels_end] == 0x12 and data[labels_end + 1] == sample_size:
                    number = find(data[start:labels_end])
                    if number is not None and number >= 0:
                        series.append(number)
                        starts.append(labels_end + 2)
                        ends.append(at)
                        break
            else:
                reader.series(start, at)
    except IndexError:
        raise malformed(f"it ends in the middle, after {end} bytes") from None
    times_ms, values = columns(data, np.array(starts, np.int64), np.array(ends, np.int64))
    return Written(
        np.array(series, np.int32),
        times_ms,
        values,
        histograms=reader.histograms,
        exemplars=reader.exemplars,
        said=reader.said,
        faulty=reader.faulty,
    )


class _Places:
    """Where the samples of a message lie: from where to where, and of which series."""

    __slots__ = ("ends", "series", "starts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.series: list[int] = []


class _Reader:
    """Reads what has not the usual form, or was not seen before."""

    def __init__(self, data: bytes, known: Known, number_of: NumberOf, places: _Places) -> None:
        self._data = data
        self._known = known
        self._number_of = number_of
        self._places = places
        self._count = 0
        self.histograms = 0
        self.exemplars = 0
        self.said: list[Said] = []
        self.faulty: list[tuple[int, str]] = []

    def other(self, at: int, end: int) -> int:
        """Read a field of the message that is no series, and return what follows it."""
        tag, at = varint(self._data, at, end)
        if tag == 0x0A:
            # A tag may be written longer than it need be.
            start, stop = piece(self._data, at, end)
            self.series(start, stop)
            return stop
        if tag != 0x1A:
            return skipped(self._data, at, end, tag)
        start, stop = piece(self._data, at, end)
        self._metadata(start, stop)
        return stop

    def series(self, start: int, stop: int) -> None:
        """Read a series."""
        self._count += 1
        if self._count > MOST_PARTS:
            raise too_many("series")
        data = self._data
        # Labels come first, then samples, both short: nearly all of a usual series is passed here.
        at = labels_end = _short_fields_end(data, start, stop, 0x0A)
        pieces = [(start, at)]
        samples = []
        samples_end = _short_fields_end(data, at, stop, 0x12)
        while at < samples_end:
            begin = at + 2
            at = begin + data[at + 1]
            samples.append((begin, at))
        while at < stop:
            field = at
            tag, at = varint(data, at, stop)
            if tag == 0x12:
                begin, at = piece(data, at, stop)
                samples.append((begin, at))
            elif tag == 0x0A:
                _, at = piece(data, at, stop)
                pieces.append((field, at))
                if labels_end == field:
                    labels_end = at
            else:
                at = skipped(data, at, stop, tag)
                self.exemplars += tag == 0x1A
                self.histograms += tag == 0x22
        # Labels are the first fields, as good as always.
        together = pieces[-1][1] == labels_end
        raw = data[start:labels_end] if together else b"".join(data[begin:end] for begin, end in pieces)
        number = self._known.series.get(raw)
        if number is None or number < 0:
            labels = _labels(raw)
            if number is None:
                number = self._number_of(labels)
                self._known.keep(self._known.series, raw, number)
            if number < 0 and samples:
                note_faulty(self.faulty, number, labels)
        if len(self._places.starts) + len(samples) > MOST_PARTS:
            raise too_many("samples")
        self._places.series.extend([number] * len(samples))
        self._places.starts.extend([begin for begin, _ in samples])
        self._places.ends.extend([end for _, end in samples])

    def _metadata(self, at: int, stop: int) -> None:
        data = self._data
        number = 0
        texts = {0x12: b"", 0x22: b"", 0x2A: b""}
        while at < stop:
            tag, at = varint(data, at, stop)
            if tag == 0x08:
                number, at = varint(data, at, stop)
            elif tag in texts:
                begin, at = piece(data, at, stop)
                texts[tag] = data[begin:at]
            else:
                at = skipped(data, at, stop, tag)
        name, description, unit = (text_of(text) for text in texts.values())
        if name:
            self.said.append(Said(type_of(number), help=description, unit=unit, name=name))


def _short_fields_end(data: bytes, at: int, stop: int, tag: int) -> int:
    """Return where the fields with a tag end that follow one another and have less than 128 bytes each."""
    while at + 1 < stop and data[at] == tag and data[at + 1] < 0x80 and at + 2 + data[at + 1] <= stop:
        at += 2 + data[at + 1]
    return at


def _labels(raw: bytes) -> Labels:
    """Return the labels of fields of a series."""
    labels: Labels = []
    at, end = 0, len(raw)
    while at < end and len(labels) <= MOST_LABELS:
        # A label of the usual form is short, its name first.
        stop = at + 2 + raw[at + 1]
        name_end = at + 4 + raw[at + 3] if stop - at > 4 and raw[at + 2] == 0x0A else stop
        if (
            name_end + 1 < stop <= end
            and raw[name_end] == 0x12
            and name_end + 2 + raw[name_end + 1] == stop
            and raw[at] == 0x0A
            and raw[at + 1] < 0x80
        ):
            labels.append((raw[at + 4 : name_end], raw[name_end + 2 : stop]))
            at = stop
            continue
        _, at = varint(raw, at, end)
        at, stop = piece(raw, at, end)
        name = value = b""
        while at < stop:
            tag, at = varint(raw, at, stop)
            if tag == 0x0A:
                begin, at = piece(raw, at, stop)
                name = raw[begin:at]
            elif tag == 0x12:
                begin, at = piece(raw, at, stop)
                value = raw[begin:at]
            else:
                at = skipped(raw, at, stop, tag)
        labels.append((name, value))
    return labels
