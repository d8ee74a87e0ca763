"""One line of an exposition, read with all rules: what the quick way through a piece does not know comes here.

A series' text is the part of a line that names it, `up{job="a"}`; the same text means the same series, so that its
labels are read once. Both formats take names in quotes inside the braces, as Prometheus 3 does for UTF-8 names.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from kobs.model.labels import METRIC_NAME
from kobs.model.samples import MetricType
from kobs.wire.exposition.numbers import canonical_number, parse_number

LAST_TIME_MS = 2**62

_NAME = rb"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL_NAME = rb"[a-zA-Z_][a-zA-Z0-9_]*"
_QUOTED = rb'"(?:\\.|[^\\"])*"'
_NAME_AT = re.compile(_NAME)
_LABEL_AT = re.compile(rb"(" + _LABEL_NAME + rb"|" + _QUOTED + rb")")
_PLAIN_LABELS_AT = re.compile(rb'(?:[a-zA-Z_][a-zA-Z0-9_]*="[^"\\]*",)*[a-zA-Z_][a-zA-Z0-9_]*="[^"\\]*"(?=\})')
_PLAIN_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="([^"\\]*)",?')
_VALUE_AT = re.compile(_QUOTED)
_SPACES_AT = re.compile(rb"[ \t]*")
_ESCAPES = re.compile(rb'\\([\\"n])')
_HELP_ESCAPES = re.compile(rb"\\([\\n])")
_UNESCAPED = {b"\\": b"\\", b'"': b'"', b"n": b"\n"}

_TEXT_END = re.compile(rb"[ \t]*([^{ \t]+)(?:[ \t]+([0-9]+))?[ \t]*")
_OPENMETRICS_END = re.compile(rb" ([^ ]+)(?: (?!# \{)([^ ]+))?( # \{.*)?", re.DOTALL)
_EXEMPLAR_END = re.compile(rb" ([^ ]+)(?: ([^ ]+))?")
_PLAIN_NUMBER = rb"-?[0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]{1,2})?"
PLAIN_EXEMPLAR = re.compile(
    rb" # \{(?:"
    + _LABEL_NAME
    + rb'="[\x20-\x21\x23-\x5b\x5d-\x7e]*",?)*\} '
    + _PLAIN_NUMBER
    + rb"(?: "
    + _PLAIN_NUMBER
    + rb")?"
)
_TEXT_META = re.compile(rb"[ \t]*#[ \t]+(HELP|TYPE)[ \t]+(" + _QUOTED + rb"|" + _NAME + rb")?(.*)", re.DOTALL)
_OPENMETRICS_META = re.compile(rb"# (HELP|TYPE|UNIT) (" + _QUOTED + rb"|" + _NAME + rb")?(.*)", re.DOTALL)

_TEXT_TYPES = {
    b"counter": MetricType.COUNTER,
    b"gauge": MetricType.GAUGE,
    b"histogram": MetricType.HISTOGRAM,
    b"summary": MetricType.SUMMARY,
    b"untyped": MetricType.UNKNOWN,
}
_OPENMETRICS_TYPES = {
    **{name: kind for name, kind in _TEXT_TYPES.items() if name != b"untyped"},
    b"unknown": MetricType.UNKNOWN,
    b"gaugehistogram": MetricType.GAUGE_HISTOGRAM,
    b"info": MetricType.INFO,
    b"stateset": MetricType.STATESET,
}

_BOUNDS = {MetricType.HISTOGRAM: "le", MetricType.SUMMARY: "quantile"}


class SampleLine(NamedTuple):
    """A line with a value. `series` is the text that names the series; `time_ms` is None where the line has none."""

    series: bytes
    labels: dict[str, str]
    value: float
    time_ms: int | None
    time_text: bytes | None = None
    exemplar: dict[str, str] | None = None
    """Its labels, where the line has one."""


@dataclass(frozen=True, slots=True)
class MetaLine:
    """What a line says of a metric family: one of type, unit and help."""

    family: str
    type: MetricType | None = None
    unit: str | None = None
    help: str | None = None


def read_text_sample(line: bytes, kind: MetricType) -> SampleLine:
    """Return a sample line of the text format; `kind` is the type that was told last.

    Raises: ValueError.
    """
    end, labels = _read_series(line, _skip_spaces(line, 0), kind=kind, is_openmetrics=False)
    found = _TEXT_END.fullmatch(line, end)
    if found is None:
        raise ValueError(_at("expected a value, then at most a timestamp in milliseconds", line, end))
    time_ms = None if found[2] is None else int(found[2])
    if time_ms is not None and time_ms >= 2**63:
        raise ValueError(_at("the timestamp is out of range", line, end))
    return SampleLine(line[:end], labels, _number(found[1]), time_ms)


def read_openmetrics_sample(line: bytes, kind: MetricType) -> SampleLine:
    """Return a sample line of OpenMetrics; `kind` is the type that was told last. An exemplar is checked and left out.

    Raises: ValueError.
    """
    end, labels = _read_series(line, 0, kind=kind, is_openmetrics=True)
    found = _OPENMETRICS_END.fullmatch(line, end)
    if found is None:
        raise ValueError(
            _at("expected a space and a value, then at most a timestamp in seconds and an exemplar", line, end)
        )
    time_ms = None if found[2] is None else _time_ms(found[2])
    exemplar = None if found[3] is None else _read_exemplar(line, found.start(3) + len(b" # {"))
    return SampleLine(line[:end], labels, _number(found[1]), time_ms, found[2], exemplar)


def read_text_meta(line: bytes) -> MetaLine | None:
    """Return what a line with `#` of the text format says; None for a comment.

    Raises: ValueError.
    """
    found = _TEXT_META.fullmatch(line)
    return None if found is None else _meta(found, _TEXT_TYPES)


def read_openmetrics_meta(line: bytes) -> MetaLine:
    """Return what a line with `#` of OpenMetrics says, which has no comments.

    Raises: ValueError.
    """
    found = _OPENMETRICS_META.fullmatch(line)
    if found is None:
        raise ValueError(_at("expected # HELP, # TYPE, # UNIT or # EOF", line, 0))
    return _meta(found, _OPENMETRICS_TYPES)


def _meta(found: "re.Match[bytes]", types: dict[bytes, MetricType]) -> MetaLine:
    keyword, name, rest = found.groups()
    if name is None:
        raise ValueError(f"expected a metric name after {keyword.decode()}")
    if name.startswith(b'"'):
        name = _unescape(name[1:-1])
    family = _text(name)
    # One character of space comes after the name; further ones are part of the text.
    text = rest[1:]
    if keyword == b"HELP":
        return MetaLine(family, help=_text(_HELP_ESCAPES.sub(lambda escape: _UNESCAPED[escape[1]], text)))
    if keyword == b"UNIT":
        unit = _text(text)
        if unit and not family.endswith(f"_{unit}"):
            raise ValueError(f"the unit {unit!r} is not the end of the metric's name {family!r}")
        return MetaLine(family, unit=unit)
    if text not in types:
        raise ValueError(f"metric type {text[:50].decode(errors='replace')!r}: expected {_listed(types)}")
    return MetaLine(family, type=types[text])


def _read_series(line: bytes, start: int, *, kind: MetricType, is_openmetrics: bool) -> tuple[int, dict[str, str]]:
    """Return where a series' text ends, and its labels."""
    labels: dict[str, str] = {}
    end = start
    named = _NAME_AT.match(line, start)
    if named is not None:
        labels[METRIC_NAME] = named[0].decode()
        end = named.end()
    brace = end if is_openmetrics else _skip_spaces(line, end)
    if line[brace : brace + 1] == b"{":
        end = _read_labels(line, brace + 1, labels, kind=kind, is_openmetrics=is_openmetrics)
    elif named is None:
        raise ValueError(_at("expected a metric name", line, start))
    if METRIC_NAME not in labels:
        raise ValueError(_at("no metric name", line, start))
    return end, labels


def _read_labels(
    line: bytes, at: int, labels: dict[str, str], *, kind: MetricType, is_openmetrics: bool, is_exemplar: bool = False
) -> int:
    """Read what is between braces into `labels`; return where it ends, behind the closing one."""
    end = _read_plain_labels(line, at, labels)
    if end is None:
        end = at
        skip = _skip_nothing if is_openmetrics else _skip_spaces
        while line[(end := skip(line, end)) : end + 1] != b"}":
            name, value, end = _read_label(line, end, skip, can_be_name=not is_exemplar)
            if name in labels:
                what = "the metric name is given twice" if name == METRIC_NAME else f"the label {name} appears twice"
                raise ValueError(_at(what, line, end))
            labels[name] = value
            if line[end : end + 1] == b",":
                end += 1
            elif is_openmetrics and line[end : end + 1] != b"}":
                raise ValueError(_at("expected , or }", line, end))
        end += 1
    bound = _BOUNDS.get(kind)
    if bound is not None and bound in labels:
        labels[bound] = canonical_number(labels[bound])
    return end


def _read_plain_labels(line: bytes, at: int, labels: dict[str, str]) -> int | None:
    """Read labels that have their plainest form, as nearly all have; return None, with nothing read, for others."""
    plain = _PLAIN_LABELS_AT.match(line, at)
    if plain is None:
        return None
    pairs = _PLAIN_LABEL.findall(_text(plain[0]))
    count = len(labels) + len(pairs)
    labels.update(pairs)
    if len(labels) < count:
        raise ValueError(_at("a label appears twice", line, at))
    return plain.end() + 1


def _read_label(line: bytes, at: int, skip: Callable[[bytes, int], int], *, can_be_name: bool) -> tuple[str, str, int]:
    """Return the name and value of the label at a place, and where it ends; a text in quotes alone is a name."""
    found = _LABEL_AT.match(line, at)
    if found is None:
        raise ValueError(_at("expected a label name or }", line, at))
    is_quoted = found[0].startswith(b'"')
    name = _text(_unescape(found[0][1:-1]) if is_quoted else found[0])
    at = skip(line, found.end())
    if is_quoted and can_be_name and line[at : at + 1] in (b",", b"}"):
        return METRIC_NAME, name, at
    if line[at : at + 1] != b"=":
        raise ValueError(_at("expected = after the label name", line, at))
    valued = _VALUE_AT.match(line, skip(line, at + 1))
    if valued is None:
        raise ValueError(_at("expected a label value in quotes", line, at + 1))
    return name, _text(_unescape(valued[0][1:-1])), skip(line, valued.end())


def _read_exemplar(line: bytes, start: int) -> dict[str, str]:
    labels: dict[str, str] = {}
    end = _read_labels(line, start, labels, kind=MetricType.UNKNOWN, is_openmetrics=True, is_exemplar=True)
    found = _EXEMPLAR_END.fullmatch(line, end)
    if found is None:
        raise ValueError(_at("expected the exemplar's value, then at most its timestamp", line, end))
    _number(found[1])
    if found[2] is not None:
        _time_ms(found[2])
    return labels


def _time_ms(text: bytes) -> int:
    seconds = _number(text)
    if not math.isfinite(seconds):
        raise ValueError(f"timestamp {text[:50].decode(errors='replace')!r}: expected seconds")
    # What no clock will ever show is still told from what is no number.
    return int(max(min(seconds * 1000, LAST_TIME_MS), -LAST_TIME_MS))


def _number(text: bytes) -> float:
    try:
        return parse_number(text)
    except ValueError as error:
        raise ValueError(f"{error}, got {text[:50].decode(errors='replace')!r}") from None


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{raw[:50]!r} is not UTF-8") from None


def _unescape(raw: bytes) -> bytes:
    return _ESCAPES.sub(lambda escape: _UNESCAPED[escape[1]], raw) if b"\\" in raw else raw


def _skip_spaces(line: bytes, at: int) -> int:
    found = _SPACES_AT.match(line, at)
    return at if found is None else found.end()


def _skip_nothing(line: bytes, at: int) -> int:  # noqa: ARG001 - as _skip_spaces, for the format without spaces
    return at


def _at(expected: str, line: bytes, at: int) -> str:
    shown = line[at : at + 40].decode(errors="replace")
    return f"{expected}, got {shown!r}" if shown else f"{expected}, got the line's end"


def _listed(types: dict[bytes, MetricType]) -> str:
    return ", ".join(name.decode() for name in types)
