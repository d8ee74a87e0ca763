"""Lines as container runtimes write them: `TIME STREAM TAGS CONTENT`.

In: the physical lines of a log. Out: a column for each part of a line, in the order of the lines. A runtime writes a
line longer than its buffer in parts, tagged `P` but for the last (`F`); `join_parts` lays them together by stream.
A line that has not this form is kept whole, with the time of the line before it.
"""

import operator
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
_BLOCK_LINES = 256
_SECONDS_NS = {b"%02d." % second: second * 1_000_000_000 for second in range(60)}


@dataclass(frozen=True, slots=True)
class CriLines:
    """Columns, one value a physical line. `kinds` holds PART and STDERR bits, or MALFORMED.

    A time is the sum of its two columns: most of them are never asked for where a log is only cut.
    """

    seconds_ns: list[int]
    fractions: list[bytes]
    kinds: list[int]
    bodies: list[bytes]

    def time_ns(self, line: int) -> int:
        """Return the time of a line; of a malformed one, that of the line before it."""
        return self.seconds_ns[line] + int(self.fractions[line])

    def times_ns(self) -> list[int]:
        """Return the times of all lines."""
        return list(map(operator.add, self.seconds_ns, map(int, self.fractions)))


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
    columns = CriLines([], [], [], [])
    usual = _Usual(lines[0] if lines else b"")
    for start in range(0, len(lines), _BLOCK_LINES):
        block = lines[start : start + _BLOCK_LINES]
        if usual.parse(block, columns):
            continue
        for line in block:
            time_ns, kind, body = _parse_line(line)
            if time_ns is None:
                time_ns = columns.time_ns(-1) if columns.kinds else read_ns
            columns.seconds_ns.append(time_ns)
            columns.fractions.append(b"0")
            columns.kinds.append(kind)
            columns.bodies.append(body)
    return columns


def join_parts(lines: CriLines) -> Joined:
    """Find which parts make one line, and lay their bodies together in `lines.bodies` at the first of them."""
    if PART not in lines.kinds and PART | STDERR not in lines.kinds:
        return Joined({}, {}, {})
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


class _Usual:
    """Lines as runtimes write them today, all in one zone and with nine digits of fraction: each part at its place."""

    def __init__(self, first_line: bytes) -> None:
        zone = first_line[_FRACTION_END : _FRACTION_END + 1]
        if zone != b"Z":
            zone = first_line[_FRACTION_END : _FRACTION_END + 6]
        if _ZONE.fullmatch(zone) is None:
            zone = b"Z"
        self._seconds = _Seconds(zone)
        self._body_start = _FRACTION_END + len(zone) + 10
        self._kinds = {zone + words + end: kind for words, kind in _KINDS.items() for end in (b" ", b"")}

    def parse(self, lines: list[bytes], columns: CriLines) -> bool:
        """Append the columns of lines; False, and nothing appended, if one of them differs."""
        start = self._body_start
        seconds_ns = self._seconds
        kinds = self._kinds
        fractions = [line[_SECOND_END:_FRACTION_END] for line in lines]
        if not b"".join(fractions).isdigit():
            return False
        try:
            line_seconds = [seconds_ns[line[:_SECOND_END]] for line in lines]
            line_kinds = [kinds[line[_FRACTION_END:start]] for line in lines]
        except KeyError:
            return False
        columns.seconds_ns.extend(line_seconds)
        columns.fractions.extend(fractions)
        columns.kinds.extend(line_kinds)
        columns.bodies.extend([line[start:] for line in lines])
        return True


class _Seconds(dict[bytes, int]):
    """`YYYY-MM-DDTHH:MM:SS.` to ns UTC; KeyError for what is no moment."""

    def __init__(self, zone: bytes) -> None:
        super().__init__()
        self._zone = zone
        self._minutes: dict[bytes, int] = {}

    def __missing__(self, text: bytes) -> int:
        # A quiet container's lines are each in a second of their own.
        minute = text[:17]
        minute_ns = self._minutes.get(minute)
        if minute_ns is None:
            minute_ns = moment_ns(minute + b"00", self._zone)
            if minute_ns is None:
                raise KeyError(text)
            self._minutes[minute] = minute_ns
        self[text] = second_ns = minute_ns + _SECONDS_NS[text[17:]]
        return second_ns


def _parse_line(line: bytes) -> tuple[int | None, int, bytes]:
    """Return time, kind and content of a line of any allowed form; (None, MALFORMED, line) for others."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None, MALFORMED, line
    second, fraction, zone, words, body = found.groups()
    base = moment_ns(second, zone)
    if base is None:
        return None, MALFORMED, line
    return base + int((fraction or b"").ljust(9, b"0")), _KINDS[words], body or b""


def is_zone(text: bytes) -> bool:
    """Tell whether a text is a zone as it ends a time."""
    return _ZONE.fullmatch(text) is not None


def moment_ns(text: bytes, zone: bytes) -> int | None:
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
