"""The nodes of a parsed expression. `start` and `end` are characters of the text, `end` exclusive."""

import enum
from dataclasses import dataclass

from kobs.model.labels import METRIC_NAME


class MatchOperator(enum.StrEnum):
    """How a label is compared."""

    EQUAL = "="
    NOT_EQUAL = "!="
    REGEX = "=~"
    NOT_REGEX = "!~"


@dataclass(frozen=True, slots=True)
class Matcher:
    """A condition on one label; a label that is not there has the empty value. Patterns must match the whole value."""

    name: str
    operator: MatchOperator
    value: str
    start: int
    end: int


class AtAnchor(enum.StrEnum):
    """What the time of an `@` modifier is."""

    TIME = "time"
    START = "start()"
    END = "end()"


@dataclass(frozen=True, slots=True)
class AtModifier:
    """`@ 1609746000`, `@ start()`, `@ end()`; `time_ms` counts for the first form only."""

    anchor: AtAnchor
    time_ms: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class VectorSelector:
    """`name{matchers} offset 5m @ time`. A metric name is a matcher of `__name__`."""

    matchers: tuple[Matcher, ...]
    offset_ms: int
    at: AtModifier | None
    start: int
    end: int

    def metric_name(self) -> str | None:
        """Return the one metric name that is selected, None where it is not said."""
        for matcher in self.matchers:
            if matcher.name == METRIC_NAME and matcher.operator is MatchOperator.EQUAL:
                return matcher.value
        return None


@dataclass(frozen=True, slots=True)
class MatrixSelector:
    """`selector[5m]`; modifiers are the vector's."""

    vector: VectorSelector
    range_ms: int
    start: int
    end: int


Expression = VectorSelector | MatrixSelector
