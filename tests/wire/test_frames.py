"""A frame is taken as a whole or refused as a whole."""

import random
import struct

import msgspec
import pytest
import zstandard

from kobs.errors import RejectedError
from kobs.wire import frames
from kobs.wire.frames import FrameKind


class _Header(msgspec.Struct):
    name: str
    count: int = 0


def _frame() -> bytes:
    return frames.encode(FrameKind.LOGS, _Header("a", 3), [b"payload ", b"pieces"])


def test_a_frame_comes_back_as_it_went() -> None:
    header, payload = frames.decode(_frame(), FrameKind.LOGS, _Header)

    assert header == _Header("a", 3)
    assert bytes(payload) == b"payload pieces"


@pytest.mark.parametrize("seed", range(200))
def test_no_damage_goes_unnoticed(seed: int) -> None:
    """One byte changed anywhere, or the end cut off, is refused with a reason of the closed list."""
    rng = random.Random(seed)
    frame = bytearray(_frame())
    if rng.random() < 0.5:
        at = rng.randrange(len(frame))
        if at in (6, 7):
            at = 0  # two bytes are reserved and not looked at
        frame[at] ^= rng.randrange(1, 256)
    else:
        del frame[rng.randrange(len(frame)) :]

    with pytest.raises(RejectedError) as caught:
        frames.decode(bytes(frame), FrameKind.LOGS, _Header, max_raw_bytes=1000)
    assert caught.value.reason in {"malformed_frame", "wrong_checksum", "frame_too_large"}


def test_a_larger_frame_than_allowed_is_refused_before_it_is_uncompressed() -> None:
    frame = frames.encode(FrameKind.LOGS, _Header("a"), [b"\0" * 100_000])

    with pytest.raises(RejectedError, match="the limit is 1000 bytes") as caught:
        frames.decode(frame, FrameKind.LOGS, _Header, max_raw_bytes=1000)
    assert caught.value.reason == "frame_too_large"


def test_a_frame_that_names_a_small_size_and_holds_a_large_one_is_refused() -> None:
    bomb = zstandard.ZstdCompressor().compress(b"\0" * 50_000_000)
    frame = struct.pack("<4sBBHIQ", b"KOBS", 1, FrameKind.LOGS, 0, 100, 0) + bomb

    with pytest.raises(RejectedError, match="does not hold"):
        frames.decode(frame, FrameKind.LOGS, _Header)


def test_a_frame_of_another_kind_is_refused() -> None:
    with pytest.raises(RejectedError, match="kind 1"):
        frames.decode(_frame(), FrameKind.SAMPLES, _Header)


def test_a_header_of_another_shape_is_refused() -> None:
    frame = frames.encode(FrameKind.LOGS, {"name": 5}, [])

    with pytest.raises(RejectedError, match="header"):
        frames.decode(frame, FrameKind.LOGS, _Header)


@pytest.mark.parametrize("seed", range(50))
def test_random_bytes_are_refused(seed: int) -> None:
    rng = random.Random(seed)
    body = b"KOBS\x01\x01\0\0" + rng.randbytes(rng.randrange(0, 200))

    with pytest.raises(RejectedError):
        frames.decode(body, FrameKind.LOGS, _Header)
