"""What a tree tells before it is evaluated: what an expression really is, and what is the same at every moment."""

from kobs.query.promql.tree import (
    Aggregation,
    Binary,
    Call,
    Expression,
    MatrixSelector,
    NumberLiteral,
    Parentheses,
    StringLiteral,
    Subquery,
    Unary,
    VectorSelector,
)

_DEPENDS_ON_MOMENT = frozenset(
    {
        *("day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute", "month", "year"),
        *("predict_linear", "time", "timestamp"),
    }
)
"""Functions that look at the moment itself."""

_KEEP_ORDER = frozenset(
    {
        *("abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "clamp", "clamp_max", "clamp_min", "cos"),
        *("cosh", "day_of_month", "day_of_week", "day_of_year", "days_in_month", "deg", "exp", "floor", "hour", "ln"),
        *("label_join", "label_replace", "log10", "log2", "minute", "month", "rad", "round", "sgn", "sin", "sinh"),
        *("sqrt", "tan", "tanh", "timestamp", "year"),
    }
)
_SORT = frozenset({"sort", "sort_by_label", "sort_by_label_desc", "sort_desc"})


def unwrapped(expression: Expression) -> Expression:
    """Return what stands in parentheses."""
    while isinstance(expression, Parentheses):
        expression = expression.expression
    return expression


def is_invariant(expression: Expression) -> bool:
    """Return whether an expression has the same value at every moment: all it selects is set by `@`.

    Source: Prometheus 3, `promql/engine.go` (`preprocessExprHelper`). Other than there, the parameter of an aggregation
    counts as well.
    """
    match expression:
        case NumberLiteral() | StringLiteral():
            return True
        case VectorSelector() | Subquery():
            return expression.at is not None
        case MatrixSelector():
            return expression.vector.at is not None
        case Parentheses() | Unary():
            return is_invariant(expression.expression)
        case Binary():
            return is_invariant(expression.left) and is_invariant(expression.right)
        case Aggregation():
            parameter = expression.parameter
            return is_invariant(expression.expression) and (parameter is None or is_invariant(parameter))
        case Call():
            return expression.function not in _DEPENDS_ON_MOMENT and all(map(is_invariant, expression.arguments))


def is_ordered(expression: Expression) -> bool:
    """Return whether an instant query answers in the order of its series' values: it sorts, or chooses the greatest."""
    match expression:
        case Parentheses() | Unary():
            return is_ordered(expression.expression)
        case Binary():
            return is_ordered(expression.left) or (expression.operator != "or" and is_ordered(expression.right))
        case Aggregation():
            return expression.operator in ("topk", "bottomk")
        case Call():
            if expression.function in _KEEP_ORDER:
                return any(map(is_ordered, expression.arguments))
            return expression.function in _SORT
        case _:
            return False
