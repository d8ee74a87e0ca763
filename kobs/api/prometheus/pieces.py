"""Bodies of any size: parts of a text arrive, a response leaves, compressed where the client takes that.

A large body is written and compressed while its beginning is on its way, so that it is never whole in memory.
"""

from collections.abc import Iterable, Iterator
from itertools import chain

from isal import igzip, isal_zlib
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

_LEAST_COMPRESSED_BYTES = 1024
_PIECE_BYTES = 512 * 1024
_LEVEL = 1
"""Of ISA-L's four levels the second: as small as zlib's lowest, in less than half of its time."""
_GZIP_WINDOW = 16 + isal_zlib.MAX_WBITS


def respond(request: Request, parts: Iterable[bytes], *, media_type: str) -> Response:
    """Return a response with a body; called from a worker thread where the parts take long to make."""
    headers = {"Vary": "Accept-Encoding"}
    takes_gzip = "gzip" in request.headers.get("accept-encoding", "").lower()
    pieces = _pieces(parts)
    first = next(pieces, b"")
    second = next(pieces, None)
    if second is not None:
        body: Iterator[bytes] = chain((first, second), pieces)
        if takes_gzip:
            headers["Content-Encoding"] = "gzip"
            body = _compressed(body)
        return StreamingResponse(body, headers=headers, media_type=media_type)
    if takes_gzip and len(first) >= _LEAST_COMPRESSED_BYTES:
        headers["Content-Encoding"] = "gzip"
        first = igzip.compress(first, _LEVEL)
    return Response(first, headers=headers, media_type=media_type)


def _pieces(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Join parts to pieces that are worth a step of their own."""
    gathered: list[bytes] = []
    size = 0
    for part in parts:
        gathered.append(part)
        size += len(part)
        if size >= _PIECE_BYTES:
            yield b"".join(gathered)
            gathered.clear()
            size = 0
    if gathered:
        yield b"".join(gathered)


def _compressed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    packer = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _GZIP_WINDOW)
    for piece in pieces:
        packed = packer.compress(piece)
        if packed:
            yield packed
    yield packer.flush()
