"""Numbers and label sets as Prometheus writes them in its errors and warnings.

Source: Go's `strconv` (`FormatFloat` with the format `g`), Prometheus 3, `model/labels` (`String`).
"""

import math
import re
from decimal import Decimal

from kobs.query.promql.literals import number_text, quoted
from kobs.query.promql.values import Labels

_PLAIN_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def shortest(value: float) -> str:
    """Return the shortest text of a number, with an exponent below 1e-4 and from 1e6 on (Go's `%g`)."""
    if not math.isfinite(value):
        return number_text(value)
    sign, all_digits, exponent = Decimal(repr(value)).as_tuple()
    power = len(all_digits) + int(exponent) - 1 if value else 0
    if -4 <= power < 6:
        return number_text(value)
    digits = "".join(map(str, all_digits)).rstrip("0")
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{'-' if sign else ''}{digits[0]}{fraction}e{'-' if power < 0 else '+'}{abs(power):02d}"


def shown(labels: Labels) -> str:
    """Return a label set as `{a="b", "c.d"="e"}`."""
    pairs = [f"{name if _PLAIN_NAME.fullmatch(name) else quoted(name)}={quoted(value)}" for name, value in labels]
    return f"{{{', '.join(pairs)}}}"
