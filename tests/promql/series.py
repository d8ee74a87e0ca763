"""The notation of series and their points in scripts: `metric{label="value"} 1 2+3x4 _ _x2 stale`."""

import re
import struct
from dataclasses import dataclass

from kobs.model.labels import METRIC_NAME
from kobs.model.samples import STALE_NAN_BITS
from kobs.query.promql.literals import string_value

STALE: float = struct.unpack("<d", struct.pack("<Q", STALE_NAN_BITS))[0]

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_STRING = r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`"""
_LABEL = re.compile(rf"\s*(?:([a-zA-Z_][a-zA-Z0-9_]*)|({_STRING}))(?:\s*=\s*({_STRING}))?\s*(,|\}})")
_NUMBER = r"(?:[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+\.|[iI][nN][fF]|[nN][aA][nN])"
_OMITTED = re.compile(r"_(?:x([0-9]+))?")
_REPEATED = re.compile(rf"([+-]?{_NUMBER})([+-]{_NUMBER})?(?:x([0-9]+))?")


@dataclass(frozen=True, slots=True)
class Series:
    """A label set and its points, None where there is none."""

    labels: dict[str, str]
    points: list[float | None]


def series(text: str) -> Series:
    """Read a series with its points.

    Raises: ValueError.
    """
    labels, rest = _labels(text)
    return Series(labels, [point for item in rest.split() for point in _points(item)])


def _labels(text: str) -> tuple[dict[str, str], str]:
    """Return the labels at the beginning of a text, and what follows them."""
    labels: dict[str, str] = {}
    name = _NAME.match(text)
    place = 0
    if name is not None:
        labels[METRIC_NAME] = name[0]
        place = name.end()
    if text[place : place + 1] != "{":
        if name is None:
            raise ValueError(f"no series: {text!r}")
        return labels, text[place:]
    place += 1
    if (end := re.compile(r"\s*\}").match(text, place)) is not None:
        return labels, text[end.end() :]
    while True:
        found = _LABEL.match(text, place)
        if found is None or (found[1] is not None and found[3] is None):
            raise ValueError(f"no label at {text[place:]!r} of {text!r}")
        bare, literal, value, sign = found.groups()
        label = bare if bare is not None else string_value(literal, start=0)
        if value is None:
            labels[METRIC_NAME] = label
        else:
            labels[label] = string_value(value, start=0)
        place = found.end()
        if sign == "}" or (end := re.compile(r"\s*\}").match(text, place)) is not None:
            return labels, text[place if sign == "}" or end is None else end.end() :]


def _points(item: str) -> list[float | None]:
    """Return the points of `1`, `_`, `stale`, `1x3`, `1+2x3`, `_x3`.

    Raises: ValueError.
    """
    if item == "stale":
        return [STALE]
    if (omitted := _OMITTED.fullmatch(item)) is not None:
        return [None] * (int(omitted[1]) if omitted[1] is not None else 1)
    if "{{" in item:
        raise ValueError("native histograms are not among the samples that kobs stores")
    found = _REPEATED.fullmatch(item)
    if found is None or (found[2] is not None and found[3] is None):
        raise ValueError(f"no points: {item!r}")
    value, step = float(found[1]), float(found[2] or 0)
    points: list[float | None] = [value]
    for _ in range(int(found[3] or 0)):
        # one step after the other, as Prometheus adds them
        value = value + step if found[2] is not None else value
        points.append(value)
    return points
