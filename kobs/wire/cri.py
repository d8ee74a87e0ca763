"""Lines as container runtimes write them: `TIME STREAM TAGS CONTENT`.

In: the physical lines of a log. Out: a column for each part of a line, in the order of the lines. A runtime writes a
line longer than its buffer in parts, tagged `P` but for the last (`F`); `join_parts` lays them together by stream.
A line that has not this form is kept whole, with the time of the line before it.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

PART = 2
"""Bit of a kind: the line goes on in the next line of its stream."""
STDERR = 1
"""Bit of a kind: the line came from standard error."""
MALFORMED = 4
"""The kind of a line that is not CRI; it belongs to no stream."""

MAX_GAP_LINES = 1000
"""A part is completed only if fewer lines than this come between it and the next part of its stream."""

_KINDS = {b" stdout F": 0, b" stderr F": STDERR, b" stdout P": PART, b" stderr P": PART | STDERR}
_SECOND = re.compile(rb"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)")
_ZONE = re.compile(rb"Z|([+-])(\d\d):?(\d\d)")
_LINE = re.compile(
    rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{0,9}))?(Z|[+-]\d\d:?\d\d)"
    rb"( (?:stdout|stderr) [FP])(?::[^ ]*)?(?: (.*))?",
    re.DOTALL,
)
# `2026-11-22T10:15:00.` and nine digits: what both runtimes write, so that the rest of a line is at fixed places.
_SECOND_END = 20
_FRACTION_END = 29


@dataclass(frozen=True, slots=True)
class CriLines:
    """Columns, one value a physical line. `kinds` holds PART and STDERR bits, or MALFORMED."""

    times_ns: list[int]
    kinds: list[int]
    bodies: list[bytes]


@dataclass(frozen=True, slots=True)
class Joined:
    """What joining the parts of lines has changed.

    `heads` names for each line that was absorbed the line that took it in. `last_parts` names for each line that took
    others in the last of them. `pending` holds, by stream bit, the lines that still wait for their end.
    """

    heads: dict[int, int]
    last_parts: dict[int, int]
    pending: dict[int, int]


def parse(lines: list[bytes], *, read_ns: int) -> CriLines:
    """Return the columns of physical lines (given without their newlines).

    Source: Kubernetes design proposal "CRI: Log management for container runtimes"; containerd `pkg/cri/io/logger.go`
    (nine digits of fraction, `Z` or an offset), conmon `src/ctr_logging.c` (offset `+00:00`).
    """
    times: list[int] = []
    kinds: list[int] = []
    bodies: list[bytes] = []
    seconds: dict[bytes, int] = {}
    zone, start, known = _usual_heads(lines)
    previous = read_ns
    for line in lines:
        kind = known.get(line[_FRACTION_END:start])
        fraction = line[_SECOND_END:_FRACTION_END]
        if kind is not None and fraction.isdigit():
            second = line[:_SECOND_END]
            base = seconds.get(second)
            if base is None:
                base = _second_ns(second[:-1], zone) if second.endswith(b".") else None
                if base is not None:
                    seconds[second] = base
            if base is not None:
                previous = base + int(fraction)
                times.append(previous)
                kinds.append(kind)
                bodies.append(line[start:])
                continue
        time_ns, kind, body = _parse_line(line)
        if time_ns is not None:
            previous = time_ns
        times.append(previous)
        kinds.append(kind)
        bodies.append(body)
    return CriLines(times, kinds, bodies)


def join_parts(lines: CriLines) -> Joined:
    """Find which parts make one line, and lay their bodies together in `lines.bodies` at the first of them."""
    heads: dict[int, int] = {}
    last_parts: dict[int, int] = {}
    waiting: dict[int, list[int]] = {}
    bodies = lines.bodies

    def finish(parts: list[int]) -> None:
        if len(parts) > 1:
            head = parts[0]
            bodies[head] = b"".join([bodies[part] for part in parts])
            last_parts[head] = parts[-1]
            heads.update(dict.fromkeys(parts[1:], head))

    for index, kind in enumerate(lines.kinds):
        if kind == MALFORMED:
            continue
        stream = kind & STDERR
        parts = waiting.get(stream)
        if parts is not None and index - parts[-1] > MAX_GAP_LINES:
            finish(waiting.pop(stream))
            parts = None
        if kind & PART:
            if parts is None:
                waiting[stream] = [index]
            else:
                parts.append(index)
        elif parts is not None:
            parts.append(index)
            finish(waiting.pop(stream))
    pending: dict[int, int] = {}
    for stream, parts in waiting.items():
        finish(parts)
        if len(lines.kinds) - parts[-1] <= MAX_GAP_LINES:
            pending[stream] = parts[0]
    return Joined(heads, last_parts, pending)


def _usual_heads(lines: list[bytes]) -> tuple[bytes, int, dict[bytes, int]]:
    """Return the zone of the first line, where the content of lines of that zone starts, and their middle parts."""
    width = 10 if lines and lines[0][_FRACTION_END : _FRACTION_END + 1] == b"Z" else 15
    zone = lines[0][_FRACTION_END : _FRACTION_END + width - 9] if lines else b""
    if _ZONE.fullmatch(zone) is None:
        zone, width = b"Z", 10
    known: dict[bytes, int] = {}
    for words, kind in _KINDS.items():
        known[zone + words + b" "] = kind
        known[zone + words] = kind
    return zone, _FRACTION_END + width + 1, known


def _parse_line(line: bytes) -> tuple[int | None, int, bytes]:
    """Return time, kind and content of a line of any allowed form; (None, MALFORMED, line) for others."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None, MALFORMED, line
    second, fraction, zone, words, body = found.groups()
    base = _second_ns(second, zone)
    if base is None:
        return None, MALFORMED, line
    return base + int((fraction or b"").ljust(9, b"0")), _KINDS[words], body or b""


def _second_ns(text: bytes, zone: bytes) -> int | None:
    """Return `YYYY-MM-DDTHH:MM:SS` in a zone as ns UTC; None if there is no such moment."""
    found = _SECOND.fullmatch(text)
    shift = _ZONE.fullmatch(zone)
    if found is None or shift is None:
        return None
    year, month, day, hour, minute, second = map(int, found.groups())
    try:
        seconds = int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp())
    except ValueError:
        return None
    if shift[1] is not None:
        hours, minutes = int(shift[2]), int(shift[3])
        if hours > 23 or minutes > 59:
            return None
        seconds -= (hours * 3600 + minutes * 60) * (-1 if shift[1] == b"-" else 1)
    return seconds * 1_000_000_000
