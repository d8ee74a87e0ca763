"""Content encodings of bodies: what arrives may be several frames one after the other, and all of them count."""

import gzip
import zlib
from collections.abc import Callable

import lz4.frame
import zstandard


def _unpack_lz4(content: bytes) -> bytes:
    parts: list[bytes] = []
    while content:
        frame = lz4.frame.LZ4FrameDecompressor()
        parts.append(frame.decompress(content))
        content = frame.unused_data or b""
    return b"".join(parts)


def _unpack_zstd(content: bytes) -> bytes:
    with zstandard.ZstdDecompressor().stream_reader(content, read_across_frames=True) as reader:
        return reader.read()


def _pack_gzip(content: bytes) -> bytes:
    return gzip.compress(content, 1)


UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "lz4": _unpack_lz4,
    "zstd": _unpack_zstd,
}
PACK: dict[str, Callable[[bytes], bytes]] = {
    "lz4": lz4.frame.compress,
    "zstd": zstandard.ZstdCompressor(level=1).compress,
    "gzip": _pack_gzip,
    "deflate": zlib.compress,
}


def choose(accepted: str) -> str | None:
    """Return the first encoding of an Accept-Encoding header that can be made."""
    names = (item.partition(";")[0].strip() for item in accepted.split(","))
    return next((name for name in names if name in PACK), None)
