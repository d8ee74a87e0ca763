"""Strings, numbers and durations as PromQL writes them."""

import math
import re

from kobs.errors import QuerySyntaxError, UnsupportedQueryError
from kobs.model.durations import parse_duration_ms

LONGEST_DURATION_MS = 2**63 // 1_000_000
"""Prometheus counts durations in nanoseconds of 63 bits."""

_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\\"'])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.?))", re.S
)
_SIMPLE = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, '"': 34, "'": 39}


def string_value(literal: str, *, start: int) -> str:
    """Return the value of a string literal with its quotes, which begins at `start`.

    Raises: QuerySyntaxError for a wrong escape, UnsupportedQueryError for bytes that are not UTF-8.
    Source: Go's rules for escapes in strings, of which PromQL takes all; backquotes know none.
    """
    quote, body = literal[0], literal[1:-1]
    if quote == "`" or "\\" not in body:
        return body
    value = bytearray()
    last = 0
    for found in _ESCAPE.finditer(body):
        value += body[last : found.start()].encode()
        value += _escaped(found, quote=quote, start=start + 1)
        last = found.end()
    value += body[last:].encode()
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        end = start + len(literal)
        raise UnsupportedQueryError("a string whose bytes are not UTF-8", start=start, end=end) from error


def _escaped(found: re.Match[str], *, quote: str, start: int) -> bytes:
    simple, byte, short, long, octal, _ = found.groups()
    if simple is not None and simple not in {"'", '"'} - {quote}:
        return bytes([_SIMPLE[simple]])
    if byte is not None:
        return bytes([int(byte, 16)])
    if octal is not None and int(octal, 8) < 256:
        return bytes([int(octal, 8)])
    point = int(short or long or "110000", 16)
    if point <= 0x10FFFF and not 0xD800 <= point <= 0xDFFF:
        return chr(point).encode()
    place = start + found.start()
    raise QuerySyntaxError(f"wrong escape {found[0]} in a string", start=place, end=place + len(found[0]))


def number_value(text: str) -> float:
    """Return the value of a number: decimal, hexadecimal, with `_` between digits, Inf or NaN.

    Raises: ValueError.
    """
    plain = text.lower()
    if plain.lstrip("+-").startswith("0x"):
        return float(int(plain, 16))
    return float(plain)


def duration_ms(text: str) -> int:
    """Return the milliseconds of a duration such as `1h30m`, or of a number of seconds.

    Raises: ValueError that says what was expected.
    """
    if text[-1].isalpha() and text.lower().lstrip("+-") not in ("inf", "nan") and not text.lower().startswith("0x"):
        milliseconds = parse_duration_ms(str(text))
    else:
        seconds = number_value(text)
        if not math.isfinite(seconds):
            raise ValueError("duration out of range")
        milliseconds = math.trunc(seconds * 1000)
    if milliseconds > LONGEST_DURATION_MS:
        raise ValueError("duration out of range")
    return milliseconds
