"""Numbers, strings and label sets as Prometheus writes them in its errors, its warnings and in `count_values`.

Source: Go's `strconv` (`FormatFloat` with the formats `g` and `f`, `Quote`), of which Prometheus makes its texts.
"""

import math
import re
from decimal import Decimal

from kobs.query.promql.values import Labels

_PLAIN_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_ESCAPES = {
    "\a": r"\a",
    "\b": r"\b",
    "\f": r"\f",
    "\n": r"\n",
    "\r": r"\r",
    "\t": r"\t",
    "\v": r"\v",
    "\\": r"\\",
    '"': r"\"",
}


def shortest(value: float) -> str:
    """Return the shortest text of a number, with an exponent below 1e-4 and from 1e6 on (Go's `%g`)."""
    if not math.isfinite(value):
        return _not_finite(value)
    sign, all_digits, exponent = Decimal(repr(value)).as_tuple()
    power = len(all_digits) + int(exponent) - 1 if value else 0
    if -4 <= power < 6:
        return without_exponent(value)
    digits = "".join(map(str, all_digits)).rstrip("0")
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{'-' if sign else ''}{digits[0]}{fraction}e{'-' if power < 0 else '+'}{abs(power):02d}"


def without_exponent(value: float) -> str:
    """Return the shortest text of a number that has no exponent."""
    if not math.isfinite(value):
        return _not_finite(value)
    return format(Decimal(repr(value)), "f").removesuffix(".0")


def quoted(text: str) -> str:
    """Return a text in double quotes, with escapes for what cannot be printed."""
    return (
        '"'
        + "".join(
            character if character.isprintable() and character not in '"\\' else _escaped(character)
            for character in text
        )
        + '"'
    )


def shown(labels: Labels) -> str:
    """Return a label set as `{a="b", "c.d"="e"}`."""
    return (
        "{"
        + ", ".join(
            f"{name if _PLAIN_NAME.fullmatch(name) else quoted(name)}={quoted(value)}" for name, value in labels
        )
        + "}"
    )


def line_and_column(text: str, start: int) -> str:
    """Return `line:column` of a character of a query, both from 1, the column counted in bytes as Prometheus does."""
    before = text[:start]
    return f"{before.count(chr(10)) + 1}:{len(before[before.rfind(chr(10)) + 1 :].encode()) + 1}"


def _not_finite(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "+Inf" if value > 0 else "-Inf"


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    code = ord(character)
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
