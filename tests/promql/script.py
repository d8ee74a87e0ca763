"""The language of scripts: a text arrives, commands leave.

Source: the description of the language in Prometheus' repository, `promql/promqltest/README.md`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from kobs.model.durations import parse_duration_ms
from kobs.query.promql.literals import string_value
from tests.promql.series import Series, series

_LOAD = re.compile(r"load\s+(\S+)")
_INSTANT = re.compile(r"eval(?:_(fail|warn|info|ordered))?\s+instant\s+(?:at\s+(\S+)\s+)?(.+)")
_RANGE = re.compile(r"eval(?:_(fail|warn|info))?\s+range\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)\s+(.+)")
_EXPECT = re.compile(r"expect\s+(fail|warn|info|no_warn|no_info|ordered)(?:\s+(msg|regex):\s*(.+))?")
_EXPECT_POINTS = re.compile(r"expect\s+range\s+vector\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)")
_EXPECT_STRING = re.compile(r"expect\s+string\s+(.+)")
_OLD_FAILURE = re.compile(r"expected_fail_(message|regexp)\s+(.+)")


class ScriptError(ValueError):
    """A line is not in the language."""


class Kind(StrEnum):
    """What is expected besides the value."""

    FAIL = "fail"
    WARN = "warn"
    INFO = "info"
    NO_WARN = "no_warn"
    NO_INFO = "no_info"
    ORDERED = "ordered"


@dataclass(frozen=True, slots=True)
class Expectation:
    """`expect warn msg: text`; without text and pattern any message counts."""

    kind: Kind
    text: str | None = None
    pattern: str | None = None

    def holds(self, message: str) -> bool:
        """Return whether a message is an expected one; a place at its end may be left out, spaces do not count."""
        if self.text is not None:
            return self.text in (message.strip(), re.sub(r" \(\d+:\d+\)$", "", message))
        return self.pattern is None or re.search(self.pattern, message) is not None


@dataclass(frozen=True, slots=True)
class Clear:
    """`clear`."""

    line: int


@dataclass(frozen=True, slots=True)
class Load:
    """`load 5m` and its series, whose points are `step_ms` apart from 0 on."""

    line: int
    step_ms: int
    series: list[Series]


@dataclass(slots=True)
class Eval:
    """A query and what is expected of it; an instant query has `start_ms` = `end_ms` and no step."""

    line: int
    query: str
    start_ms: int
    end_ms: int
    step_ms: int | None
    expectations: list[Expectation] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    scalar: float | None = None
    string: str | None = None
    point_times: tuple[int, int, int] | None = None
    """First, last and step of the points that a range vector has."""

    def of(self, kind: Kind) -> list[Expectation]:
        """Return the expectations of a kind."""
        return [expectation for expectation in self.expectations if expectation.kind is kind]


Command = Clear | Load | Eval


def commands(text: str) -> Iterator[Command]:
    """Yield the commands of a script.

    Raises: ScriptError that names the line.
    """
    # a comment ends a command, as an empty line does
    lines = ["" if line.strip().startswith("#") else line.strip() for line in text.splitlines()]
    place = 0
    while place < len(lines):
        first = place
        place += 1
        if not lines[first]:
            continue
        try:
            if lines[first] == "clear":
                yield Clear(first + 1)
                continue
            while place < len(lines) and lines[place]:
                place += 1
            yield _command(first + 1, lines[first], lines[first + 1 : place])
        except ValueError as error:
            raise ScriptError(f"line {first + 1}: {error}") from error


def _command(line: int, head: str, rest: list[str]) -> Command:
    if (load := _LOAD.fullmatch(head)) is not None:
        return Load(line, parse_duration_ms(load[1]), [series(each) for each in rest])
    return _eval(line, head, rest)


def _eval(line: int, head: str, rest: list[str]) -> Eval:
    if (instant := _INSTANT.fullmatch(head)) is not None:
        time_ms = _time_ms(instant[2] or "0")
        found = Eval(line, instant[3], time_ms, time_ms, None)
        old = instant[1]
    elif (ranged := _RANGE.fullmatch(head)) is not None:
        old = ranged[1]
        found = Eval(line, ranged[5], _time_ms(ranged[2]), _time_ms(ranged[3]), parse_duration_ms(ranged[4]))
    else:
        raise ValueError(f"no command: {head!r}")
    for text in rest:
        _expect(found, text)
    if old is not None and not (old == "fail" and found.of(Kind.FAIL)):
        found.expectations.append(Expectation(Kind(old)))
    return found


def _expect(found: Eval, text: str) -> None:
    if (points := _EXPECT_POINTS.fullmatch(text)) is not None:
        found.point_times = (_time_ms(points[1]), _time_ms(points[2]), parse_duration_ms(points[3]))
    elif (string := _EXPECT_STRING.fullmatch(text)) is not None:
        found.string = string_value(string[1].strip(), start=0)
    elif (expect := _EXPECT.fullmatch(text)) is not None:
        kind, form, said = expect.groups()
        said = said.strip() if said is not None else None
        found.expectations.append(
            Expectation(Kind(kind), said if form == "msg" else None, said if form == "regex" else None)
        )
    elif text.split(maxsplit=1)[0] == "expect":
        raise ValueError(f"no expectation: {text!r}")
    elif (failure := _OLD_FAILURE.fullmatch(text)) is not None:
        message = failure[2].strip()
        is_text = failure[1] == "message"
        found.expectations.append(Expectation(Kind.FAIL, message if is_text else None, None if is_text else message))
    elif (number := _number(text)) is not None:
        found.scalar = number
    else:
        found.series.append(series(text))


def _number(text: str) -> float | None:
    try:
        return float(int(text, 0)) if text.lower().startswith("0x") else float(text)
    except ValueError:
        return None


def _time_ms(text: str) -> int:
    return 0 if text == "0" else parse_duration_ms(text)
