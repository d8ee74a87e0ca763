"""A tree arrives, the JSON of Prometheus' `parse_query` leaves, from which its page draws the tree.

Source: Prometheus 3.8, `web/api/v1/translate_ast.go`.
"""

from typing import Any

from kobs.query.promql.literals import number_text
from kobs.query.promql.signatures import FUNCTIONS
from kobs.query.promql.tree import (
    Aggregation,
    AtAnchor,
    AtModifier,
    Binary,
    Call,
    Expression,
    MatrixSelector,
    NumberLiteral,
    Parentheses,
    StringLiteral,
    Subquery,
    Unary,
    ValueType,
    VectorMatching,
    VectorSelector,
)

_TYPES = {
    ValueType.SCALAR: "scalar",
    ValueType.STRING: "string",
    ValueType.VECTOR: "vector",
    ValueType.MATRIX: "matrix",
}
_ANCHORS = {AtAnchor.START: "start", AtAnchor.END: "end"}


def describe(expression: Expression) -> dict[str, Any]:
    """Return an expression as JSON's values."""
    match expression:
        case NumberLiteral():
            return {"type": "numberLiteral", "val": number_text(expression.value)}
        case StringLiteral():
            return {"type": "stringLiteral", "val": expression.value}
        case VectorSelector():
            return {"type": "vectorSelector", **_selector(expression)}
        case MatrixSelector():
            return {"type": "matrixSelector", "range": expression.range_ms, **_selector(expression.vector)}
        case Subquery():
            return {
                "type": "subquery",
                "expr": describe(expression.expression),
                "range": expression.range_ms,
                "offset": expression.offset_ms,
                "step": expression.step_ms or 0,
                **_at(expression.at),
            }
        case Parentheses():
            return {"type": "parenExpr", "expr": describe(expression.expression)}
        case Unary():
            return {"type": "unaryExpr", "op": expression.operator, "expr": describe(expression.expression)}
        case Binary():
            return {
                "type": "binaryExpr",
                "op": expression.operator,
                "lhs": describe(expression.left),
                "rhs": describe(expression.right),
                "matching": _matching(expression.matching),
                "bool": expression.returns_bool,
            }
        case Call():
            return {
                "type": "call",
                "func": _function(expression.function),
                "args": [describe(argument) for argument in expression.arguments],
            }
        case Aggregation():
            parameter = expression.parameter
            return {
                "type": "aggregation",
                "op": expression.operator,
                "expr": describe(expression.expression),
                "param": describe(parameter) if parameter is not None else None,
                "grouping": list(expression.labels),
                "without": expression.is_without,
            }


def _selector(selector: VectorSelector) -> dict[str, Any]:
    matchers = selector.matchers
    if selector.bare_name:
        # Prometheus has a name that stands before the braces last
        matchers = (*matchers[1:], matchers[0])
    return {
        "name": selector.bare_name,
        "offset": selector.offset_ms,
        "matchers": [
            {"name": matcher.name, "value": matcher.value, "type": matcher.operator.value} for matcher in matchers
        ],
        **_at(selector.at),
        "anchored": False,
        "smoothed": False,
    }


def _at(at: AtModifier | None) -> dict[str, Any]:
    if at is None:
        return {"timestamp": None, "startOrEnd": None}
    is_time = at.anchor is AtAnchor.TIME
    return {"timestamp": at.time_ms if is_time else None, "startOrEnd": _ANCHORS.get(at.anchor)}


def _matching(matching: VectorMatching | None) -> dict[str, Any] | None:
    if matching is None:
        return None
    return {
        "card": matching.cardinality.value,
        "labels": list(matching.labels),
        "on": matching.is_on,
        "include": list(matching.include),
    }


def _function(name: str) -> dict[str, Any]:
    signature = FUNCTIONS[name]
    return {
        "name": name,
        "argTypes": [_TYPES[argument] for argument in signature.arguments],
        "variadic": signature.variadic,
        "returnType": _TYPES[signature.returns],
    }
