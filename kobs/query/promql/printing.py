"""A tree arrives, its text leaves: on one line as in Prometheus' annotations, or laid out as its `format_query` does.

Source: Prometheus 3.8, `promql/parser/printer.go` and `prettier.go`.
"""

import re
from collections.abc import Iterable

from kobs.model.labels import METRIC_NAME
from kobs.query.promql.literals import duration_text, number_text, quoted
from kobs.query.promql.tree import (
    Aggregation,
    AtAnchor,
    AtModifier,
    Binary,
    Call,
    Cardinality,
    Expression,
    Matcher,
    MatchOperator,
    MatrixSelector,
    NumberLiteral,
    Parentheses,
    StringLiteral,
    Subquery,
    Unary,
    VectorSelector,
)

LONGEST_LINE_BYTES = 100
"""What is longer is laid out on several lines."""

_METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def canonical(expression: Expression) -> str:
    """Return an expression on one line."""
    match expression:
        case NumberLiteral():
            return _number(expression)
        case StringLiteral():
            return quoted(expression.value)
        case VectorSelector():
            return _selector(expression) + _modifiers(expression.at, expression.offset_ms)
        case MatrixSelector():
            vector = expression.vector
            length = duration_text(expression.range_ms)
            return f"{_selector(vector)}[{length}]{_modifiers(vector.at, vector.offset_ms)}"
        case Subquery():
            return canonical(expression.expression) + _subquery_suffix(expression)
        case Parentheses():
            return f"({canonical(expression.expression)})"
        case Unary():
            return expression.operator + canonical(expression.expression)
        case Binary():
            return f"{canonical(expression.left)} {_operator(expression)} {canonical(expression.right)}"
        case Call():
            return f"{expression.function}({', '.join(canonical(argument) for argument in expression.arguments)})"
        case Aggregation():
            parameter = f"{canonical(expression.parameter)}, " if expression.parameter is not None else ""
            return f"{_aggregation(expression)}({parameter}{canonical(expression.expression)})"


def pretty(expression: Expression, level: int = 0) -> str:
    """Return an expression on as many lines as make it readable, `level` steps to the right."""
    indent = "  " * level
    line = canonical(expression)
    if isinstance(expression, Unary):
        return f"{indent}{expression.operator}{pretty(expression.expression, level).strip()}"
    if len(line.encode()) <= LONGEST_LINE_BYTES:
        # a subquery that fits stands at the left end, as Prometheus has it
        return line if isinstance(expression, Subquery) else indent + line
    match expression:
        case Subquery():
            return pretty(expression.expression, level) + _subquery_suffix(expression)
        case Parentheses():
            return f"{indent}(\n{pretty(expression.expression, level + 1)}\n{indent})"
        case Binary():
            left, right = pretty(expression.left, level + 1), pretty(expression.right, level + 1)
            return f"{left}\n{indent}{_operator(expression)}\n{right}"
        case Call():
            arguments = ",\n".join(pretty(argument, level + 1) for argument in expression.arguments)
            return f"{indent}{expression.function}(\n{arguments}\n{indent})"
        case Aggregation():
            parameter = f"{pretty(expression.parameter, level + 1)},\n" if expression.parameter is not None else ""
            inner = pretty(expression.expression, level + 1)
            return f"{indent}{_aggregation(expression)}(\n{parameter}{inner}\n{indent})"
        case _:
            return indent + line


def matcher_text(matcher: Matcher) -> str:
    """Return a matcher as it stands between braces."""
    name = matcher.name if _LABEL_NAME.fullmatch(matcher.name) else quoted(matcher.name)
    return f"{name}{matcher.operator.value}{quoted(matcher.value)}"


def _selector(selector: VectorSelector) -> str:
    """Return a selector without its modifiers."""
    matchers = sorted(
        matcher_text(matcher) for matcher in selector.matchers if not _is_bare_name(matcher, selector.bare_name)
    )
    return f"{selector.bare_name}{{{','.join(matchers)}}}" if matchers else selector.bare_name


def _is_bare_name(matcher: Matcher, name: str) -> bool:
    is_name = matcher.name == METRIC_NAME and matcher.operator is MatchOperator.EQUAL
    return is_name and bool(name) and matcher.value == name


def _modifiers(at: AtModifier | None, offset_ms: int) -> str:
    text = ""
    if at is not None:
        # Prometheus prints a float of three digits, which a time of more than 53 bits rounds
        text = f" @ {at.time_ms / 1000:.3f}" if at.anchor is AtAnchor.TIME else f" @ {at.anchor.value}"
    return f"{text} offset {duration_text(offset_ms)}" if offset_ms else text


def _subquery_suffix(subquery: Subquery) -> str:
    step = duration_text(subquery.step_ms) if subquery.step_ms is not None else ""
    return f"[{duration_text(subquery.range_ms)}:{step}]{_modifiers(subquery.at, subquery.offset_ms)}"


def _number(number: NumberLiteral) -> str:
    return duration_text(int(number.value * 1e9 / 1_000_000)) if number.is_duration else number_text(number.value)


def _operator(binary: Binary) -> str:
    """Return an operator with its modifiers."""
    text = f"{binary.operator} bool" if binary.returns_bool else binary.operator
    matching = binary.matching
    if matching is None or not (matching.labels or matching.is_on):
        return text
    text = f"{text} {'on' if matching.is_on else 'ignoring'} ({', '.join(matching.labels)})"
    sides = {Cardinality.MANY_TO_ONE: "left", Cardinality.ONE_TO_MANY: "right"}
    if (side := sides.get(matching.cardinality)) is not None:
        text = f"{text} group_{side} ({', '.join(matching.include)})"
    return text


def _aggregation(aggregation: Aggregation) -> str:
    """Return an aggregation's name and labels."""
    if aggregation.is_without:
        return f"{aggregation.operator} without ({_labels(aggregation.labels)}) "
    return f"{aggregation.operator} by ({_labels(aggregation.labels)}) " if aggregation.labels else aggregation.operator


def _labels(names: Iterable[str]) -> str:
    return ", ".join(name if _METRIC_NAME.fullmatch(name) else quoted(name) for name in names)
