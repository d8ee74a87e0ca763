"""Numbers of an exposition, by the rules of Go's ParseFloat, which all targets are written for.

Python's own float() takes more: underscores, spaces around, digits of other scripts, a signed NaN; and it makes an
infinity of what is too large. Here those are errors.
"""

import math
import re
from array import array
from decimal import Decimal

_DECIMAL = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_SPECIAL = re.compile(rb"[+-]?inf(?:inity)?|nan", re.IGNORECASE)
_PLAIN = b"0123456789.eE+- "


def parse_number(text: bytes) -> float:
    """Return the number that a text stands for.

    Raises: ValueError.
    """
    if _DECIMAL.fullmatch(text) is not None:
        number = float(text)
        if math.isinf(number):
            raise ValueError("the number is out of range")
        return number
    if _SPECIAL.fullmatch(text) is not None:
        return float(text)
    raise ValueError("expected a number")


def parse_numbers(texts: list[bytes]) -> "array[float]":
    """Return the numbers of many texts, none of which holds a space.

    Raises: ValueError.
    """
    if not b" ".join(texts).translate(None, _PLAIN):
        numbers = array("d", map(float, texts))
        if math.isfinite(sum(numbers)):
            return numbers
    return array("d", map(parse_number, texts))


def canonical_number(text: str) -> str:
    """Return the text of a bucket's or quantile's bound in OpenMetrics' one form: `1` as `1.0`, `1000000` as `1e+06`.

    What is no number stays as it is. Source: Prometheus 3, which does so to `le` and `quantile` of every format.
    """
    try:
        number = parse_number(text.encode())
    except (ValueError, UnicodeEncodeError):
        return text
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    if number == 0:
        return "0.0"
    shortest = _shortest(number)
    return shortest if "e" in shortest or "." in shortest else f"{shortest}.0"


def _shortest(number: float) -> str:
    """Return the shortest text that gives the number again, as Go's format 'g' has it."""
    sign, digits, exponent = Decimal(repr(number)).normalize().as_tuple()
    assert isinstance(exponent, int)  # noqa: S101 - it is a finite number
    power = len(digits) + exponent - 1
    minus = "-" if sign else ""
    text = "".join(map(str, digits))
    if power < -4 or power >= 6:
        fraction = f".{text[1:]}" if len(text) > 1 else ""
        return f"{minus}{text[0]}{fraction}e{'-' if power < 0 else '+'}{abs(power):02}"
    if power < 0:
        return f"{minus}0.{'0' * (-power - 1)}{text}"
    if len(text) <= power + 1:
        return minus + text.ljust(power + 1, "0")
    return f"{minus}{text[: power + 1]}.{text[power + 1 :]}"
