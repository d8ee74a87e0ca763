"""What an engine answers to a query of a script, and whether that is what the script expects.

Source: Prometheus' `promql/promqltest` for how near a number must be.
"""

import math
import sys
from dataclasses import dataclass, field

from tests.promql.script import Eval, Expectation, Kind

NEAR = 1e-6
"""How much two numbers may differ, relative to their sum."""

Labels = dict[str, str]
Points = list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A value and its annotations, or an error.

    `kind` is Prometheus' `scalar`, `string`, `vector` or `matrix`; `series` are in the answer's order, of which a
    scalar is one without labels.
    """

    kind: str = ""
    series: list[tuple[Labels, Points]] = field(default_factory=list)
    string: str = ""
    warnings: list[str] = field(default_factory=list)
    infos: list[str] = field(default_factory=list)
    error: str | None = None


def differences(expected: Eval, answer: Answer) -> list[str]:
    """Return what is not as expected; nothing if all is."""
    if failures := expected.of(Kind.FAIL):
        if answer.error is None:
            return [f"expected an error, got {_shown(answer)}"]
        return [
            f"expected the error {failure}, got {answer.error!r}"
            for failure in failures
            if not failure.holds(answer.error)
        ]
    if answer.error is not None:
        return [f"error: {answer.error}"]
    return [*_annotation_differences(expected, answer), *value_differences(expected, answer)]


def _annotation_differences(expected: Eval, answer: Answer) -> list[str]:
    found = []
    for kind, none, messages in (
        (Kind.WARN, Kind.NO_WARN, answer.warnings),
        (Kind.INFO, Kind.NO_INFO, answer.infos),
    ):
        wanted = expected.of(kind)
        found.extend(f"expected {each}, got {messages}" for each in wanted if not any(map(each.holds, messages)))
        if wanted:
            found.extend(f"not expected: {message!r}" for message in messages if not _is_expected(wanted, message))
        if expected.of(none) and messages:
            found.append(f"expected {none}, got {messages}")
    return found


def _is_expected(wanted: list[Expectation], message: str) -> bool:
    return any(each.holds(message) for each in wanted)


def value_differences(expected: Eval, answer: Answer) -> list[str]:
    """Return what of the value is not as expected."""
    if expected.string is not None:
        is_same = answer.kind == "string" and answer.string == expected.string
        return [] if is_same else [f"expected the string {expected.string!r}, got {_shown(answer)}"]
    if expected.scalar is not None:
        is_same = answer.kind == "scalar" and is_near(answer.series[0][1][0][1], expected.scalar)
        return [] if is_same else [f"expected {expected.scalar}, got {_shown(answer)}"]
    is_points = expected.step_ms is not None or expected.point_times is not None
    if answer.kind != ("matrix" if is_points else "vector"):
        return [f"expected series, got {_shown(answer)}"]
    return _series_differences(expected, answer)


def _series_differences(expected: Eval, answer: Answer) -> list[str]:
    wanted = [(each.labels, _points(expected, each.points)) for each in expected.series]
    found = []
    if answer.kind == "matrix" and (keys := [_key(labels) for labels, _ in answer.series]) != sorted(keys):
        found.append("the series are not in the order of their labels")
    got = {_key(labels): points for labels, points in answer.series}
    if len(got) != len(answer.series):
        found.append("a label set comes twice")
    for labels, points in wanted:
        actual = got.pop(_key(labels), None)
        if actual is None:
            found.append(f"{labels} is missing: expected {points}")
        elif not _are_near(points, actual):
            found.append(f"{labels}: expected {points}, got {actual}")
    found.extend(f"not expected: {dict(key)} {points}" for key, points in got.items())
    if expected.of(Kind.ORDERED) and not found:
        order = [labels for labels, _ in answer.series]
        if order != [labels for labels, _ in wanted]:
            found.append(f"the order is {order}")
    return found


def _points(expected: Eval, values: list[float | None]) -> Points:
    """Return expected values with their times."""
    if expected.point_times is not None:
        start, _, step = expected.point_times
    else:
        start, step = expected.start_ms, expected.step_ms or 0
    return [(start + index * step, value) for index, value in enumerate(values) if value is not None]


def _are_near(wanted: Points, actual: Points) -> bool:
    if [time_ms for time_ms, _ in wanted] != [time_ms for time_ms, _ in actual]:
        return False
    return all(is_near(one[1], other[1]) for one, other in zip(wanted, actual, strict=True))


def is_near(one: float, other: float) -> bool:
    """Return whether two numbers are the same for a script."""
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    if one == other:
        return True
    if math.isinf(one) or math.isinf(other):
        return False
    total = abs(one) + abs(other)
    difference = abs(one - other)
    if one == 0 or other == 0 or total < sys.float_info.min:
        return difference < NEAR * sys.float_info.min
    return difference / min(total, sys.float_info.max) < NEAR


def _key(labels: Labels) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def _shown(answer: Answer) -> str:
    return f"{answer.kind} {answer.string or answer.series}"
