"""A tree as it was read arrives, and leaves with its types right: a `Binary` has a matching only between vectors.

Source: Prometheus 3.8, `promql/parser/parse.go` (`checkAST`): what is refused, in which order and words.
"""

import dataclasses
from typing import NoReturn

from kobs.errors import LimitError, QueryTypeError
from kobs.model.labels import METRIC_NAME
from kobs.query.promql import patterns
from kobs.query.promql.literals import quoted
from kobs.query.promql.signatures import FUNCTIONS
from kobs.query.promql.tree import (
    Aggregation,
    Binary,
    Call,
    Cardinality,
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

DEEPEST_NESTING = 200
"""Every level costs frames of Python's stack, here and where the tree is evaluated."""

COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})
SET_OPERATORS = frozenset({"and", "or", "unless"})
_SHORT = {ValueType.VECTOR: "vector", ValueType.MATRIX: "matrix"}


def value_type(expression: Expression) -> ValueType:
    """Return what an expression gives."""
    while isinstance(expression, Parentheses | Unary):
        expression = expression.expression
    match expression:
        case NumberLiteral():
            return ValueType.SCALAR
        case StringLiteral():
            return ValueType.STRING
        case MatrixSelector() | Subquery():
            return ValueType.MATRIX
        case Call():
            return FUNCTIONS[expression.function].returns
        case Binary():
            return _binary_type(expression)
        case _:
            return ValueType.VECTOR


def _binary_type(binary: Binary) -> ValueType:
    both = {value_type(binary.left), value_type(binary.right)}
    return ValueType.SCALAR if both == {ValueType.SCALAR} else ValueType.VECTOR


def check(expression: Expression, text: str) -> Expression:
    """Return a tree of right types; `text` is what it was read from.

    Raises: QueryTypeError at the first place that is wrong; LimitError for what is nested too deep.
    """
    return _Checking(text).checked(expression, 1)[0]


class _Checking:
    def __init__(self, text: str) -> None:
        self._text = text

    def checked(self, node: Expression, depth: int) -> tuple[Expression, ValueType]:
        """Return a node whose parts are checked, and its type."""
        if depth > DEEPEST_NESTING:
            raise LimitError(
                f"the query's expressions are nested more than {DEEPEST_NESTING} deep, which is the limit: "
                "a chain of operators counts a level each; split the query, or set parentheses around halves of a chain"
            )
        match node:
            case Binary():
                return self._binary(node, depth)
            case Aggregation():
                return self._aggregation(node, depth), ValueType.VECTOR
            case Call():
                return self._call(node, depth), FUNCTIONS[node.function].returns
            case Parentheses():
                inner, kind = self.checked(node.expression, depth + 1)
                return _with(node, inner), kind
            case Unary():
                inner, kind = self.checked(node.expression, depth + 1)
                if kind not in (ValueType.SCALAR, ValueType.VECTOR):
                    said = "unary expression only allowed on expressions of type scalar or instant vector"
                    _refuse(f'{said}, got "{kind}"', node)
                return _with(node, inner), kind
            case Subquery():
                inner, kind = self.checked(node.expression, depth + 1)
                if kind is not ValueType.VECTOR:
                    _refuse(f"subquery is only allowed on instant vector, got {_SHORT.get(kind, kind)} instead", node)
                return _with(node, inner), ValueType.MATRIX
            case MatrixSelector():
                _check_selector(node.vector)
            case VectorSelector():
                _check_selector(node)
        return node, value_type(node)

    def _binary(self, node: Binary, depth: int) -> tuple[Expression, ValueType]:
        left, left_type = self.checked(node.left, depth + 1)
        right, right_type = self.checked(node.right, depth + 1)
        kinds = (left_type, right_type)
        are_scalars = kinds == (ValueType.SCALAR, ValueType.SCALAR)
        if node.returns_bool and node.operator not in COMPARISONS:
            self._refuse_operator("bool modifier can only be used on comparison operators", node)
        if are_scalars and node.operator in COMPARISONS and not node.returns_bool:
            self._refuse_operator("comparisons between scalars must use BOOL modifier", node)
        matching = node.matching
        if matching is not None:
            for label in matching.labels:
                if matching.is_on and label in matching.include:
                    self._refuse_operator(f"label {quoted(label)} must not occur in ON and GROUP clause at once", node)
        for side, kind in ((left, left_type), (right, right_type)):
            if kind not in (ValueType.SCALAR, ValueType.VECTOR):
                _refuse("binary expression must contain only scalar and instant vector types", side)
        if kinds != (ValueType.VECTOR, ValueType.VECTOR):
            if matching is not None and matching.labels:
                _refuse("vector matching only allowed between instant vectors", node)
            if node.operator in SET_OPERATORS:
                _refuse(f'set operator "{node.operator}" not allowed in binary scalar expression', node)
            matching = None
        elif node.operator in SET_OPERATORS:
            _check_set_matching(node, matching)
        kind = ValueType.SCALAR if are_scalars else ValueType.VECTOR
        if left is not node.left or right is not node.right or matching is not node.matching:
            node = dataclasses.replace(node, left=left, right=right, matching=matching)
        return node, kind

    def _aggregation(self, node: Aggregation, depth: int) -> Expression:
        inner, kind = self.checked(node.expression, depth + 1)
        if kind is not ValueType.VECTOR:
            said = f"expected type {ValueType.VECTOR} in aggregation expression, got {kind}"
            _refuse(said, node.expression)
        parameter = node.parameter
        if parameter is not None:
            parameter, kind = self.checked(parameter, depth + 1)
            expected = ValueType.STRING if node.operator == "count_values" else ValueType.SCALAR
            if kind is not expected:
                _refuse(f"expected type {expected} in aggregation parameter, got {kind}", parameter)
        if inner is node.expression and parameter is node.parameter:
            return node
        return dataclasses.replace(node, expression=inner, parameter=parameter)

    def _call(self, node: Call, depth: int) -> Expression:
        _check_count(node)
        signature = FUNCTIONS[node.function]
        has_labels_only = node.function == "info" and len(node.arguments) > 1
        if has_labels_only:
            _check_info(node)
        arguments: list[Expression] = []
        for index, argument in enumerate(node.arguments):
            expected = signature.arguments[min(index, len(signature.arguments) - 1)]
            if has_labels_only and index == 1:
                arguments.append(argument)
                continue
            found, kind = self.checked(argument, depth + 1)
            if kind is not expected:
                said = f"expected type {expected} in call to function {quoted(node.function)}, got {kind}"
                _refuse(said, argument)
            arguments.append(found)
        if all(new is old for new, old in zip(arguments, node.arguments, strict=True)):
            return node
        return dataclasses.replace(node, arguments=tuple(arguments))

    def _refuse_operator(self, said: str, node: Binary) -> NoReturn:
        """Refuse a binary expression at its operator."""
        start = node.left.end
        while self._text[start].isspace():
            start += 1
        raise QueryTypeError(said, start=start, end=max(start, node.right.start))


def _with(node: "Parentheses | Unary | Subquery", inner: Expression) -> Expression:
    return node if inner is node.expression else dataclasses.replace(node, expression=inner)


def _check_count(call: Call) -> None:
    """Refuse a wrong number of arguments."""
    signature = FUNCTIONS[call.function]
    most, count = len(signature.arguments), len(call.arguments)
    called = f"argument(s) in call to {quoted(call.function)}, got {count}"
    if signature.variadic == 0:
        if count != most:
            _refuse(f"expected {most} {called}", call)
    elif count < most - 1:
        _refuse(f"expected at least {most - 1} {called}", call)
    elif 0 < signature.variadic < count - most + 1:
        _refuse(f"expected at most {most - 1 + signature.variadic} {called}", call)


def _check_info(call: Call) -> None:
    """Refuse a second argument of `info` that is more than matchers of labels."""
    labels = call.arguments[1]
    kind = value_type(labels)
    if kind is not ValueType.VECTOR:
        said = f"expected type {ValueType.VECTOR} in call to function {quoted(call.function)}, got {kind}"
        _refuse(said, call)
    if not isinstance(labels, VectorSelector):
        _refuse("expected label selectors only", labels)
    if labels.bare_name:
        _refuse("expected label selectors only, got vector selector instead", labels)


def _check_set_matching(node: Binary, matching: VectorMatching | None) -> None:
    if matching is not None and matching.cardinality is not Cardinality.MANY_TO_MANY:
        _refuse(f'no grouping allowed for "{node.operator}" operation', node)


def _check_selector(selector: VectorSelector) -> None:
    if selector.bare_name:
        for matcher in selector.matchers[1:]:
            if matcher.name == METRIC_NAME:
                said = f"metric name must not be set twice: {quoted(selector.bare_name)} or {quoted(matcher.value)}"
                _refuse(said, selector)
    elif all(patterns.matches_empty(matcher) for matcher in selector.matchers):
        _refuse("vector selector must contain at least one non-empty matcher", selector)


def _refuse(said: str, node: Expression) -> NoReturn:
    raise QueryTypeError(said, start=node.start, end=node.end)
