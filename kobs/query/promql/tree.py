"""The nodes of a parsed expression. `start` and `end` are characters of the text, `end` exclusive."""

import enum
from dataclasses import dataclass

from kobs.model.labels import METRIC_NAME


class ValueType(enum.StrEnum):
    """What an expression gives, in Prometheus' words."""

    SCALAR = "scalar"
    STRING = "string"
    VECTOR = "instant vector"
    MATRIX = "range vector"


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
class NumberLiteral:
    """`1.5`, `0x1f`, `Inf`, `5m` (as seconds, and printed as a duration again)."""

    value: float
    start: int
    end: int
    is_duration: bool = False


@dataclass(frozen=True, slots=True)
class StringLiteral:
    """`"text"`."""

    value: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class VectorSelector:
    """`name{matchers} offset 5m @ time`. A metric name is a matcher of `__name__`, and first where it is bare."""

    matchers: tuple[Matcher, ...]
    offset_ms: int
    at: AtModifier | None
    start: int
    end: int
    bare_name: str = ""
    """The metric name where it stands before the braces."""

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


@dataclass(frozen=True, slots=True)
class Subquery:
    """`expression[1h:5m] offset 1d @ time`; `step_ms` is None where the default resolution counts."""

    expression: "Expression"
    range_ms: int
    step_ms: int | None
    offset_ms: int
    at: AtModifier | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Parentheses:
    """`(expression)`."""

    expression: "Expression"
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Unary:
    """`-expression` or `+expression`."""

    operator: str
    expression: "Expression"
    start: int
    end: int


class Cardinality(enum.StrEnum):
    """How many series of each side may be one pair's."""

    ONE_TO_ONE = "one-to-one"
    MANY_TO_ONE = "many-to-one"
    """`group_left`."""
    ONE_TO_MANY = "one-to-many"
    """`group_right`."""
    MANY_TO_MANY = "many-to-many"
    """Set operators."""


@dataclass(frozen=True, slots=True)
class VectorMatching:
    """`on (labels) group_left (include)`; without `on` the labels are those that are ignored."""

    cardinality: Cardinality
    labels: tuple[str, ...]
    is_on: bool
    include: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Binary:
    """`left operator right`. `matching` is set where both sides are vectors; `returns_bool` is the modifier `bool`."""

    operator: str
    """One of + - * / % ^ atan2 == != > < >= <= and or unless."""
    left: "Expression"
    right: "Expression"
    returns_bool: bool
    matching: VectorMatching | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Aggregation:
    """`sum by (labels) (expression)`; `parameter` is that of topk, quantile, count_values and their like."""

    operator: str
    expression: "Expression"
    parameter: "Expression | None"
    labels: tuple[str, ...]
    is_without: bool
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Call:
    """`function(arguments)`; the function is one of the table of signatures."""

    function: str
    arguments: "tuple[Expression, ...]"
    start: int
    end: int


Expression = (
    NumberLiteral
    | StringLiteral
    | VectorSelector
    | MatrixSelector
    | Subquery
    | Parentheses
    | Unary
    | Binary
    | Aggregation
    | Call
)
