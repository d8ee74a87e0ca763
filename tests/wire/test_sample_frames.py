"""Frames of samples come back as they were sent, and damaged ones are refused."""

import math
import struct
from array import array

import pytest

from kobs.errors import RejectedError
from kobs.model.labels import canonical
from kobs.model.samples import STALE_NAN_BITS, MetricType
from kobs.wire import frames
from kobs.wire.samples import MOST_NUMBERS, JobFamily, SampleRequest, decode, encode

STALE = struct.unpack("<d", struct.pack("<Q", STALE_NAN_BITS))[0]
REQUEST = SampleRequest(
    session="s",
    node="worker-1",
    told=3,
    series=[canonical({"__name__": "up", "größe": "ä"})],
    numbers=[3],
    families=[JobFamily(job="node", name="up", type=MetricType.GAUGE, help="Whether.")],
    count=3,
)
TIMES = array("q", [1_795_396_980_000, -1, 2**62])
VALUES = array("d", [math.inf, STALE, -0.0])
NUMBERS = array("I", [0, 3, 2**32 - 1])


def test_a_frame_comes_back_to_the_bit() -> None:
    request, columns = decode(encode(REQUEST, times_ms=TIMES, values=VALUES, numbers=NUMBERS))
    assert request == REQUEST
    assert struct.unpack("<3q", columns.times_ms) == tuple(TIMES)
    assert bytes(columns.values) == struct.pack("<dQd", math.inf, STALE_NAN_BITS, -0.0)
    assert struct.unpack("<3I", columns.numbers) == tuple(NUMBERS)


@pytest.mark.parametrize("count", [0, 2, 4, -1], ids=str)
def test_a_frame_whose_count_is_not_that_of_its_columns_is_refused(count: int) -> None:
    header = SampleRequest(session="s", node="n", count=count)
    wrong = frames.encode(frames.FrameKind.SAMPLES, header, [b"\0" * 60])
    with pytest.raises(RejectedError, match="expected 20 bytes for each") as raised:
        decode(wrong)
    assert raised.value.reason == "malformed_frame"


def test_a_frame_of_logs_is_refused() -> None:
    with pytest.raises(RejectedError, match="kind 1"):
        decode(frames.encode(frames.FrameKind.LOGS, REQUEST, []))


def test_a_negative_number_of_told_series_is_refused() -> None:
    header = SampleRequest(session="s", node="n", told=-1)
    with pytest.raises(RejectedError):
        decode(frames.encode(frames.FrameKind.SAMPLES, header, []))


def test_columns_of_another_length_or_type_are_a_defect() -> None:
    with pytest.raises(ValueError, match="expected 3"):
        encode(REQUEST, times_ms=TIMES[:2], values=VALUES, numbers=NUMBERS)
    with pytest.raises(ValueError, match="expected I"):
        encode(REQUEST, times_ms=TIMES, values=VALUES, numbers=array("q", [0, 1, 2]))


@pytest.mark.parametrize("numbers", [[], [0, 1], [-1], [MOST_NUMBERS]], ids=str)
def test_numbers_that_do_not_fit_the_series_are_refused(numbers: list[int]) -> None:
    header = SampleRequest(session="s", node="n", series=[b"x"], numbers=numbers)
    with pytest.raises(RejectedError, match="series") as raised:
        decode(frames.encode(frames.FrameKind.SAMPLES, header, []))
    assert raised.value.reason == "malformed_frame"
