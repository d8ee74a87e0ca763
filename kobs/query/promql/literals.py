"""Strings, numbers and durations as PromQL writes them, and as Go writes them into errors."""

import math
import re

from kobs.errors import QuerySyntaxError, UnsupportedQueryError

LONGEST_DURATION_SECONDS = 2**63 / 1e9
"""Prometheus counts durations in nanoseconds of 63 bits."""

_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\\"'])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.?))", re.S
)
_SIMPLE = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, '"': 34, "'": 39}
_DIGITS = {"x": (2, 16), "u": (4, 16), "U": (8, 16)}
_DURATION_PART = re.compile(r"([0-9]+)([^0-9]*)")
_UNITS = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1000,
    "ms": 1,
}
"""Milliseconds of a unit, in the order in which they may follow each other."""


def string_value(literal: str, *, start: int) -> str:
    """Return the value of a string literal with its quotes, which begins at `start` and whose escapes are right.

    Raises: UnsupportedQueryError for bytes that are not UTF-8.
    Source: Go's rules for escapes in strings, of which PromQL takes all; backquotes know none.
    """
    quote, body = literal[0], literal[1:-1]
    if quote == "`" or "\\" not in body:
        return body
    value = bytearray()
    last = 0
    for found in _ESCAPE.finditer(body):
        value += body[last : found.start()].encode()
        value += _escaped(found)
        last = found.end()
    value += body[last:].encode()
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        end = start + len(literal)
        raise UnsupportedQueryError("a string whose bytes are not UTF-8", start=start, end=end) from error


def _escaped(found: "re.Match[str]") -> bytes:
    simple, byte, short, long, octal, _ = found.groups()
    if simple is not None:
        return bytes([_SIMPLE[simple]])
    if byte is not None:
        return bytes([int(byte, 16)])
    if octal is not None:
        return bytes([int(octal, 8)])
    return chr(int(short or long, 16)).encode()


def escape_error(literal: str, quote: str) -> str | None:
    """Return what is wrong with the first wrong escape of a literal, None where all are right."""
    if quote == "`":
        return None
    for found in _ESCAPE.finditer(literal):
        simple, _, short, long, octal, rest = found.groups()
        if rest is not None or simple in {"'", '"'} - {quote}:
            return _escape_error(literal, found.start())
        point = int(short or long or "0", 16)
        if (octal is not None and int(octal, 8) > 255) or point > 0x10FFFF or 0xD800 <= point <= 0xDFFF:
            return "escape sequence is an invalid Unicode code point"
    return None


def _escape_error(literal: str, start: int) -> str:
    """Return what is wrong with the escape at `start`, of which at least the form is."""
    kind = literal[start + 1 : start + 2]
    if kind in _DIGITS:
        count, base = _DIGITS[kind]
        digits = literal[start + 2 : start + 2 + count]
    elif kind and kind in "01234567":
        count, base = 3, 8
        digits = literal[start + 1 : start + 1 + count]
    else:
        return f"unknown escape sequence {_code_point(kind)}" if kind else "escape sequence not terminated"
    for digit in digits:
        if not digit.isascii() or not digit.isalnum() or int(digit, 36) >= base:
            return f"illegal character {_code_point(digit)} in escape sequence"
    return "escape sequence not terminated"


def _code_point(character: str) -> str:
    shown = f" '{character}'" if character.isprintable() else ""
    return f"U+{ord(character):04X}{shown}"


def quoted(text: str, *, quote: str = '"') -> str:
    """Return a text in quotes as Go's `%q` writes it."""
    return quote + "".join(_quoted(character, quote) for character in text) + quote


def quoted_character(character: str) -> str:
    """Return a character as Go's `%q` writes a rune."""
    return quoted(character, quote="'")


_GO_ESCAPES = {chr(code): f"\\{letter}" for letter, code in _SIMPLE.items() if letter.isalpha()}


def _quoted(character: str, quote: str) -> str:
    if character in (quote, "\\"):
        return f"\\{character}"
    if character.isprintable():
        return character
    if (known := _GO_ESCAPES.get(character)) is not None:
        return known
    point = ord(character)
    if point < 0x20 or point == 0x7F:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def number_value(text: str) -> float:
    """Return the value of a number: decimal, hexadecimal, octal (`017`), with `_` between digits, Inf or NaN.

    Raises: QuerySyntaxError without a place.
    """
    plain = text.lower()
    try:
        if plain.startswith("0x"):
            whole = int(plain, 16)
            if whole >= 2**63:
                raise ValueError(text)
            return float(whole)
        octal = plain.replace("_", "")
        if octal[0] == "0" and set(octal) <= set("01234567"):
            return _octal_or_decimal(octal)
        value = float(plain)
    except ValueError as error:
        said = f"error parsing number: strconv.ParseFloat: parsing {quoted(text)}: invalid syntax"
        raise QuerySyntaxError(said) from error
    if math.isinf(value) and plain != "inf":
        raise QuerySyntaxError(f"error parsing number: strconv.ParseFloat: parsing {quoted(text)}: value out of range")
    return value


def _octal_or_decimal(digits: str) -> float:
    whole = int(digits, 8)
    return float(whole) if whole < 2**63 else float(digits)


def duration_seconds(text: str) -> float:
    """Return the seconds of a duration such as `1h30m`.

    Raises: QuerySyntaxError without a place.
    """
    milliseconds = 0
    allowed = list(_UNITS)
    place = 0
    for found in _DURATION_PART.finditer(text):
        count, unit = int(found[1]), found[2]
        if found.start() != place or not unit:
            break
        if unit not in _UNITS:
            raise QuerySyntaxError(f"unknown unit {quoted(unit)} in duration {quoted(text)}")
        if unit not in allowed:
            break
        del allowed[: allowed.index(unit) + 1]
        milliseconds += count * _UNITS[unit]
        if milliseconds * 1_000_000 >= 2**63:
            raise QuerySyntaxError("duration out of range")
        place = found.end()
    if place != len(text):
        raise QuerySyntaxError(f"not a valid duration string: {quoted(text)}")
    whole, rest = divmod(milliseconds, 1000)
    return float(whole) + rest * 1_000_000 / 1e9


def duration_ms(seconds: float) -> int:
    """Return the milliseconds of a number of seconds as Prometheus counts them: whole nanoseconds, the rest cut."""
    nanoseconds = int(math.copysign(math.floor(abs(seconds * 1e9) + 0.5), seconds))
    return int(math.copysign(abs(nanoseconds) // 1_000_000, seconds))


def number_text(value: float) -> str:
    """Return a number as Prometheus writes it: no exponent, no more digits than tell it from its neighbours."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    if "e" in text:
        mantissa, _, exponent = text.partition("e")
        return _without_exponent(mantissa, int(exponent))
    return text.removesuffix(".0")


def _without_exponent(mantissa: str, exponent: int) -> str:
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits = whole + fraction
    point = len(whole) + exponent
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}".rstrip("0").rstrip(".")
    if point >= len(digits):
        return sign + digits + "0" * (point - len(digits))
    return f"{sign}{digits[:point]}.{digits[point:]}".rstrip("0").rstrip(".")


def duration_text(milliseconds: int) -> str:
    """Return a duration as Prometheus writes it: `1h30m`, `90d`, `0s`."""
    if milliseconds == 0:
        return "0s"
    rest = abs(milliseconds)
    parts = ["-"] if milliseconds < 0 else []
    for unit, size in _UNITS.items():
        # years and weeks only where nothing is left: 90d is easier to read than 12w6d
        if unit in ("y", "w") and rest % size:
            continue
        if rest >= size:
            parts.append(f"{rest // size}{unit}")
            rest %= size
    return "".join(parts)
