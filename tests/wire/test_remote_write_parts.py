"""Parts of messages of remote write 2.0 are found as the protobuf library finds them, whatever is within them."""

import random
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kobs.errors import RejectedError
from kobs.wire import remote_write_parts
from kobs.wire.remote_write_parts import MARGIN, find_parts
from tests.remote_write_messages import CLASSES


def varint(value: int) -> bytes:
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    return bytes([*made, value])


def part(tag: int, content: bytes) -> bytes:
    return bytes([tag]) + varint(len(content)) + content


def found_in(message: bytes) -> tuple[list[bytes], list[bytes]]:
    """Return the texts and the series of a message, both as bytes."""
    parts = find_parts(message, np.frombuffer(message + MARGIN, np.uint8))
    bounds = zip(parts.starts.tolist(), parts.stops.tolist(), strict=True)
    return parts.texts, [message[start:stop] for start, stop in bounds]


# What looks like the beginning of a part, or nearly does.
_LURES = (b'"', b"*", b'"\x00', b"*\x02\x0a", b"\x2a\x05\x0a\x03", b"\x22\x7f", b"\x2a\x80\x0a", b"\x0a", b"\x00")
_contents = st.lists(st.one_of(st.sampled_from(_LURES), st.binary(max_size=6)), max_size=8).map(b"".join)
_long = st.tuples(_contents, st.integers(100, 400)).map(lambda pair: pair[0] + b'"' * pair[1])
_texts = st.lists(st.one_of(_contents, _long), max_size=30)
_series = st.lists(st.one_of(_contents, _long, _contents.map(lambda rest: b"\x0a\x02ab" + rest)), max_size=30)
_others = st.sampled_from([b"", b"\x08\x05", b"\x11" + b'"' * 8, b'\x1a\x03"*"', b"\x32\x01*"])


@settings(max_examples=500, deadline=None)
@given(_texts, _series, st.lists(_others, max_size=60), st.integers(0, 2**32), st.sampled_from([40, 1 << 20]))
def test_parts_are_those_that_were_put_in(
    texts: list[bytes], series: list[bytes], others: list[bytes], seed: int, window: int
) -> None:
    """In any order, with other fields between them, and looked at in windows of any size."""
    parts = [(0x22, text) for text in texts] + [(0x2A, each) for each in series]
    random.Random(seed).shuffle(parts)
    parts.insert(0, (0x22, b""))
    message = b"".join(part(tag, content) + other for (tag, content), other in zip(parts, [*others, *[b""] * 99]))  # noqa: B905 - others may be fewer
    before = remote_write_parts._WINDOW_BYTES
    remote_write_parts._WINDOW_BYTES = window
    try:
        assert found_in(message) == (
            [content for tag, content in parts if tag == 0x22],
            [content for tag, content in parts if tag == 0x2A],
        )
    finally:
        remote_write_parts._WINDOW_BYTES = before


def test_values_that_look_like_beginnings_are_values() -> None:
    request = CLASSES["test.Request2"]()
    request.symbols.extend(["", '"', "*", '*\x02\n"', "__name__"])
    value = struct.unpack("<d", b'"*"*\x0a\x0a"*')[0]
    for _ in range(50):
        series = request.timeseries.add()
        series.labels_refs.extend([34, 42, 10, 4])
        series.samples.add(value=value, timestamp=0x2A22_2A22)
        series.metadata.type = 0x0A
        series.metadata.help_ref = 0x22
    texts, series = found_in(request.SerializeToString())
    assert texts == [text.encode() for text in request.symbols]
    assert series == [each.SerializeToString() for each in request.timeseries]


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (b'"\x00*\x05\x0a', "goes 4 bytes beyond its end"),
        (b'"\x00"', "goes 1 bytes beyond its end"),
        (b'"\x00*\xff', "ends in a number"),
        (b'"\x00*\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01', "more than 10 bytes"),
        (b"*\x02\x0a\x00", "do not begin with the empty text"),
        (b'"\x01a*\x02\x0a\x00', "do not begin with the empty text"),
        (b'"\x00\xaa\x00\x02\x0a\x00', "is longer than it need be"),
        (b'"\x00\x0f', "is of kind 7"),
        (b'"\x00\x00\x01', "has the number 0"),
    ],
)
def test_what_is_no_message_is_refused(message: bytes, told: str) -> None:
    with pytest.raises(RejectedError, match=told) as raised:
        found_in(message)
    assert raised.value.reason == "malformed_message"
