"""Messages of remote write with one sample a series, as Prometheus sends them, compressed with snappy."""

import struct
from collections.abc import Sequence

import cramjam
import numpy as np
import numpy.typing as npt

MESSAGES = {
    "1.0": "application/x-protobuf",
    "2.0": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
}


def _varint(value: int) -> bytes:
    made = bytearray()
    while value >= 0x80:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


class Maker:
    """Makes requests for the same series again and again."""

    def __init__(self, labels: Sequence[dict[str, str]], *, version: str, series_a_request: int) -> None:
        self._version = version
        self._labels = labels
        self._each = series_a_request
        self._fixed = [self._series(part) for part in self._parts(labels)]

    def requests(self, time_ms: int, values: npt.NDArray[np.float64]) -> list[bytes]:
        """Return the requests with one sample of each series."""
        time = b"\x10" + _varint(time_ms)
        number = {"1.0": 1, "2.0": 5}[self._version]
        made = []
        for (symbols, heads, tails), part in zip(self._fixed, self._parts(values.tolist()), strict=True):
            pieces = [symbols]
            for head, tail, value in zip(heads, tails, part, strict=True):
                sample = (b"\x09" + struct.pack("<d", value) if value else b"") + time
                pieces.append(_field(number, head + _field(2, sample) + tail))
            made.append(bytes(cramjam.snappy.compress_raw(b"".join(pieces))))
        return made

    def _parts(self, items: Sequence[object]) -> list:  # type: ignore[type-arg]
        return [items[at : at + self._each] for at in range(0, len(items), self._each)]

    def _series(self, labels: Sequence[dict[str, str]]) -> tuple[bytes, list[bytes], list[bytes]]:
        """Return the bytes before the series, and those of each before and after its sample."""
        if self._version == "1.0":
            heads = [
                b"".join(
                    _field(1, _field(1, name.encode()) + _field(2, value.encode()))
                    for name, value in sorted(each.items())
                )
                for each in labels
            ]
            return b"", heads, [b""] * len(heads)
        table: dict[str, int] = {"": 0}
        heads = []
        tails = []
        for each in labels:
            refs = [table.setdefault(text, len(table)) for pair in sorted(each.items()) for text in pair]
            heads.append(_field(1, b"".join(map(_varint, refs))))
            text = table.setdefault(f"What {each['__name__']} says.", len(table))
            tails.append(_field(5, b"\x08\x01\x18" + _varint(text)))
        return b"".join(_field(4, text.encode()) for text in table), heads, tails
