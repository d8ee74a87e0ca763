"""Runs a script on an engine and tells what is not as the script expects, with its line."""

import re
from pathlib import Path

from kobs.model.samples import Sample
from tests.promql.answers import Answer, differences, value_differences
from tests.promql.engines import Engine
from tests.promql.script import Clear, Eval, Kind, Load, commands

_MINUTE_MS = 60_000
_MOVES = re.compile(r"@\s*(start|end)\s*\(")


def run(script: Path, engine: Engine) -> list[str]:
    """Return what is not as expected, a text a difference that begins with its line."""
    engine.clear()
    found = []
    for command in commands(script.read_text()):
        if isinstance(command, Clear):
            engine.clear()
        elif isinstance(command, Load):
            engine.write(samples(command))
        else:
            found.extend(
                f"{script.name}:{command.line}: {command.query}: {each}" for each in _evaluate(command, engine)
            )
    return found


def samples(load: Load) -> list[Sample]:
    """Return the samples of a `load`."""
    return [
        Sample(series.labels, index * load.step_ms, value)
        for series in load.series
        for index, value in enumerate(series.points)
        if value is not None
    ]


def _evaluate(command: Eval, engine: Engine) -> list[str]:
    if command.step_ms is not None:
        return differences(command, engine.range(command.query, command.start_ms, command.end_ms, command.step_ms))
    time_ms = command.start_ms
    found = differences(command, engine.instant(command.query, time_ms))
    if found or command.of(Kind.FAIL) or not _is_same_in_a_range(command):
        return found
    # an instant query is also the middle of a range query
    middle = _at(engine.range(command.query, time_ms - _MINUTE_MS, time_ms + _MINUTE_MS, _MINUTE_MS), command)
    if middle.error is not None:
        return [f"as a range query: error: {middle.error}"]
    return [f"as a range query: {each}" for each in value_differences(command, middle)]


def _is_same_in_a_range(command: Eval) -> bool:
    is_one = command.string is not None or command.point_times is not None
    return not (is_one or command.of(Kind.ORDERED) or _MOVES.search(command.query))


def _at(answer: Answer, command: Eval) -> Answer:
    """Return what a range query says of an instant query's moment."""
    series = []
    for labels, points in answer.series:
        of_moment = [point for point in points if point[0] == command.start_ms]
        if of_moment:
            series.append((labels, of_moment))
    return Answer("scalar" if command.scalar is not None else "vector", series, error=answer.error)
