"""Remote write: the messages that Prometheus sends, as columns.

Two messages come, named by the Content-Type's `proto` parameter: `prometheus.WriteRequest` (1.0) and
`io.prometheus.write.v2.Request` (2.0). `remote_write_v1` and `remote_write_v2` read them. Senders repeat the same label
sets in every request, so what a label set's bytes meant in an earlier request is looked up and not read again. Samples
of the usual form are read all at once, from where they lie.

Label sets leave as numbers, which `number_of` gives for those that are new. A message that is no protobuf message is
refused as a whole; everything else is judged series by series.

Source: Prometheus Remote-Write 1.0 and 2.0 (2.0-rc.4) specifications; protobuf's encoding.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import numpy.typing as npt

from kobs.errors import RejectedError
from kobs.model.samples import MetricType
from kobs.wire.remote_write_order import LabelSetOrder

Labels = list[tuple[bytes, bytes]]
"""Names and values as they came: in any order, of any bytes."""

NumberOf = Callable[[Labels | None], int]
"""Returns the number of a label set; of None, labels that cannot be read. Not allowed ones have negative numbers."""

TYPES = (
    MetricType.UNKNOWN,
    MetricType.COUNTER,
    MetricType.GAUGE,
    MetricType.HISTOGRAM,
    MetricType.GAUGE_HISTOGRAM,
    MetricType.SUMMARY,
    MetricType.INFO,
    MetricType.STATESET,
)
"""Types of metrics by their numbers in both messages."""

MOST_PARTS = 500_000
"""Samples, series and texts of a message, of each so many: small ones take many times their bytes in memory."""
MOST_LABELS = 1000
"""Labels of a series that are read; a series may not have so many."""
KEPT_BYTES = 16 * 1024
"""A label set of more bytes is read anew each time it comes."""

_MOST_FAULTY = 10
_ENTRY_BYTES = 150
_DOUBLE = struct.Struct("<d")
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(slots=True)
class Known:
    """What earlier requests have told; to be thrown away when it has grown too large."""

    series: dict[bytes, int] = field(default_factory=dict)
    """Numbers of label sets by their bytes in messages 1.0."""
    symbols: dict[bytes, int] = field(default_factory=dict)
    """Numbers of texts of messages 2.0, of this object only."""
    series_of_symbols: dict[bytes, int] = field(default_factory=dict)
    """Numbers of label sets by the numbers of their texts, each of 4 bytes."""
    order: LabelSetOrder = field(default_factory=LabelSetOrder)
    """The order of label sets in messages 2.0, by the numbers of their texts."""
    described: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(1024, np.int64))
    """What was said last of the series of each number, as a number; 0 for nothing."""
    next_symbol: "count[int]" = field(default_factory=count)
    size: int = 0
    """Bytes of the keys, about."""

    def said_before(self, numbers: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        """Return what was said last of the series of some numbers, none below zero."""
        self._make_room(int(numbers.max(initial=0)))
        return self.described[numbers]

    def describe(self, described: Mapping[int, int]) -> None:
        """Note what was said of series and is stored now."""
        if described:
            self._make_room(max(described))
            self.described[list(described)] = list(described.values())

    def _make_room(self, number: int) -> None:
        while number >= len(self.described):
            self.described = np.concatenate([self.described, np.zeros_like(self.described)])

    def keep(self, by_bytes: dict[bytes, int], key: bytes, number: int) -> None:
        """Remember a number by a key of one of the dictionaries, unless that is large."""
        if len(key) <= KEPT_BYTES:
            by_bytes[key] = number
            self.size += len(key) + _ENTRY_BYTES


@dataclass(frozen=True, slots=True)
class Said:
    """What a message says of a metric family (1.0) or of one series' metric (2.0, with `series`)."""

    type: MetricType
    help: str
    unit: str
    name: str = ""
    series: int = -1


@dataclass(slots=True)
class Written:
    """What a message holds. The columns have one length; `series` are numbers of label sets."""

    series: npt.NDArray[np.int32]
    times_ms: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    histograms: int = 0
    exemplars: int = 0
    empty: int = 0
    """Series with nothing to store, where the message does not allow that."""
    said: list[Said] = field(default_factory=list)
    described: dict[int, int] = field(default_factory=dict)
    """For `Known.describe`, once `said` is stored."""
    faulty: list[tuple[int, str]] = field(default_factory=list)
    """The first series with negative numbers, as people read them."""


def columns(
    data: bytes, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return times and values of the samples of a message, from where they begin and end.

    Raises: RejectedError("malformed_message").
    """
    sizes = ends - starts
    times = np.zeros(len(starts), np.int64)
    values = np.zeros(len(starts), np.float64)
    raw = np.frombuffer(data, np.uint8)
    # A time of these years takes 6 bytes. A value of zero is left out.
    with_value = np.flatnonzero(sizes == 16)
    at = starts[with_value]
    usual = (raw[at] == 0x09) & (raw[at + 9] == 0x10) & _is_time(raw, at + 10)
    with_value, at = with_value[usual], at[usual]
    values[with_value] = raw[at[:, None] + np.arange(1, 9)].view("<f8").ravel()
    times[with_value] = _times(raw, at + 10)
    zero = np.flatnonzero(sizes == 7)
    at = starts[zero]
    usual = (raw[at] == 0x10) & _is_time(raw, at + 1)
    zero, at = zero[usual], at[usual]
    times[zero] = _times(raw, at + 1)
    others = np.ones(len(starts), np.bool_)
    others[with_value] = False
    others[zero] = False
    for index in np.flatnonzero(others).tolist():
        values[index], times[index] = _sample(data, int(starts[index]), int(ends[index]))
    return times, values


def _is_time(raw: npt.NDArray[np.uint8], at: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Tell where 6 bytes are one varint."""
    found = raw[at + 5] < 0x80
    for byte in range(5):
        found &= raw[at + byte] >= 0x80
    return found


def _times(raw: npt.NDArray[np.uint8], at: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    times = np.zeros(len(at), np.int64)
    for byte in range(6):
        times |= (raw[at + byte] & 0x7F).astype(np.int64) << (7 * byte)
    return times


def _sample(data: bytes, at: int, end: int) -> tuple[float, int]:
    """Read a sample of any form: of a field that comes twice the last counts, unknown ones are left out."""
    value, time_ms = 0.0, 0
    while at < end:
        tag, at = varint(data, at, end)
        if tag == 0x09:
            start, at = at, forward(at, 8, end)
            (value,) = _DOUBLE.unpack_from(data, start)
        elif tag == 0x10:
            time_ms, at = varint(data, at, end)
            time_ms = signed(time_ms)
        else:
            at = skipped(data, at, end, tag)
    return value, time_ms


# -- protobuf's encoding -----------------------------------------------------------------------------------------------


def malformed(problem: str) -> RejectedError:
    """Return the error of a body that is no message."""
    return RejectedError("malformed_message", f"the body is not the message that its Content-Type names: {problem}")


def too_many(what: str) -> RejectedError:
    """Return the error of a message with too many parts."""
    return RejectedError("too_many_samples", f"more than {MOST_PARTS} {what} in one request: send smaller requests")


def varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return a number of at most 64 bits, and what follows it.

    Raises: RejectedError("malformed_message").
    """
    value = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
        if shift > 63:
            raise malformed(f"a number before byte {at} has more than 10 bytes")
    raise malformed(f"it ends in a number, at byte {end}")


def signed(value: int) -> int:
    """Return an int64 that came as 64 bits."""
    return value - (1 << 64) if value >= 1 << 63 else value


def piece(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return where a piece with its length before it begins and ends.

    Raises: RejectedError("malformed_message").
    """
    size, at = varint(data, at, end)
    return at, forward(at, size, end)


def forward(at: int, size: int, end: int) -> int:
    """Return the place `size` bytes on.

    Raises: RejectedError("malformed_message").
    """
    if size > end - at:
        raise malformed(f"a part of {size} bytes at byte {at} goes beyond byte {end}")
    return at + size


def skipped(data: bytes, at: int, end: int, tag: int) -> int:
    """Return what follows a field whose tag was read.

    Raises: RejectedError("malformed_message").
    """
    kind = tag & 7
    if tag >> 3 == 0:
        raise malformed(f"a field before byte {at} has the number 0")
    if kind == _VARINT:
        return varint(data, at, end)[1]
    if kind == _FIXED64:
        return forward(at, 8, end)
    if kind == _BYTES:
        return piece(data, at, end)[1]
    if kind == _FIXED32:
        return forward(at, 4, end)
    raise malformed(f"a field before byte {at} is of kind {kind}")


def shown(labels: Labels) -> str:
    """Return a label set as people read it, cut where it is long."""
    pairs = [(_text(name), _text(value)) for name, value in labels[:12]]
    text = ", ".join(f'{name}="{value}"' for name, value in pairs)
    return "{" + text[:300] + ("..." if len(text) > 300 or len(labels) > 12 else "") + "}"


def note_faulty(written: list[tuple[int, str]], number: int, labels: Labels | None) -> None:
    """Keep a series that is not allowed, if it is among the first."""
    if len(written) < _MOST_FAULTY:
        written.append((number, "a series whose labels cannot be read" if labels is None else shown(labels)))


def text_of(content: bytes) -> str:
    """Return what is said of a metric: what is not UTF-8 in it is replaced."""
    return content.decode("utf-8", "replace")


def type_of(number: int) -> MetricType:
    """Return the type of a metric by its number."""
    return TYPES[number] if number < len(TYPES) else MetricType.UNKNOWN


def _text(content: bytes) -> str:
    return content[:100].decode("utf-8", "replace").encode("unicode_escape").decode().replace('"', '\\"')
