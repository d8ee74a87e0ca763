"""The frame: one body of a request from an agent, checked before anything in it is believed.

    "KOBS" | version u8 | kind u8 | 2 bytes 0 | raw size u32 | xxHash64 of the raw bytes u64 | raw bytes as a zstd frame
    raw bytes: header size u32 | header (msgpack) | payload

All numbers are little-endian. A frame is accepted or refused as a whole; nothing of a refused frame is used.
"""

import enum
import struct
from typing import TypeVar

import msgspec
import xxhash
import zstandard

from kobs.errors import RejectedError

CONTENT_TYPE = "application/vnd.kobs.frame"
MAX_RAW_BYTES = 32 * 1024 * 1024
"""A frame's uncompressed size: a larger one is refused before it is uncompressed."""

_HEAD = struct.Struct("<4sBBHIQ")
_MAGIC = b"KOBS"
_VERSION = 1
_ZSTD_LEVEL = 3

T = TypeVar("T")


class FrameKind(enum.IntEnum):
    """What the header of a frame is."""

    LOGS = 1
    POSITIONS = 2
    SAMPLES = 3
    TARGETS = 4


def encode(kind: FrameKind, header: object, payload: list[bytes | bytearray | memoryview]) -> bytes:
    """Return the frame of a header (a msgspec Struct) and payload pieces, which are laid one after another."""
    packed = msgspec.msgpack.encode(header)
    raw = b"".join([len(packed).to_bytes(4, "little"), packed, *payload])
    compressed = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(raw)
    return _HEAD.pack(_MAGIC, _VERSION, kind, 0, len(raw), xxhash.xxh64_intdigest(raw)) + compressed


def decode(
    frame: bytes, kind: FrameKind, header_type: type[T], *, max_raw_bytes: int = MAX_RAW_BYTES
) -> tuple[T, memoryview]:
    """Return header and payload of a frame.

    Raises: RejectedError("malformed_frame" | "frame_too_large" | "wrong_checksum").
    """
    if len(frame) < _HEAD.size:
        raise RejectedError(
            "malformed_frame", f"frame of {len(frame)} bytes: shorter than its head of {_HEAD.size} bytes"
        )
    magic, version, found_kind, _, raw_size, checksum = _HEAD.unpack_from(frame)
    if magic != _MAGIC or version != _VERSION:
        raise RejectedError(
            "malformed_frame", f"frame starts with {magic!r} version {version}: expected {_MAGIC!r} version {_VERSION}"
        )
    if found_kind != kind:
        raise RejectedError("malformed_frame", f"frame of kind {found_kind}: expected {kind.value} ({kind.name})")
    if raw_size > max_raw_bytes:
        raise RejectedError(
            "frame_too_large",
            f"frame of {raw_size} bytes uncompressed: the limit is {max_raw_bytes} bytes; send smaller requests",
        )
    try:
        # A zstd frame may name its own size, which the decompressor would believe and allocate.
        if zstandard.frame_content_size(frame[_HEAD.size :]) != raw_size:
            raise RejectedError(
                "malformed_frame", f"frame's compressed part does not hold the {raw_size} bytes that its head says"
            )
        raw = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompress(
            frame[_HEAD.size :], max_output_size=raw_size
        )
    except zstandard.ZstdError as error:
        raise RejectedError("malformed_frame", f"frame cannot be uncompressed: {error}") from error
    if len(raw) != raw_size:
        raise RejectedError("malformed_frame", f"frame says {raw_size} bytes uncompressed and has {len(raw)}")
    if xxhash.xxh64_intdigest(raw) != checksum:
        raise RejectedError("wrong_checksum", "frame's checksum differs from its bytes: damaged on the way")
    header_size = int.from_bytes(raw[:4], "little")
    if header_size > len(raw) - 4:
        raise RejectedError("malformed_frame", f"frame's header of {header_size} bytes goes beyond its end")
    try:
        header = msgspec.msgpack.decode(memoryview(raw)[4 : 4 + header_size], type=header_type)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise RejectedError("malformed_frame", f"frame's header: {error}") from error
    return header, memoryview(raw)[4 + header_size :]
