"""What lark has read of a text arrives, rule by rule in the order of the text, and nodes of the tree leave.

The first error is raised at once, so that it is also the first one that Prometheus tells. Types are not yet looked at:
a `Binary` has its matching here whatever its sides are (`checking.py`).

Source: Prometheus 3.8, `promql/parser/parse.go`, for what is refused here and in which words.
"""

# ruff: noqa: D102 - a method is named like its rule in grammar.py, which tells what it reads

import dataclasses
from typing import NamedTuple, NoReturn

from lark import Token, Transformer, v_args

from kobs.errors import QuerySyntaxError, UnsupportedQueryError
from kobs.model.labels import METRIC_NAME
from kobs.query.promql import literals, modifiers, patterns
from kobs.query.promql.literals import quoted
from kobs.query.promql.modifiers import Duration
from kobs.query.promql.signatures import AGGREGATIONS_WITH_PARAMETER, EXPERIMENTAL_AGGREGATIONS, FUNCTIONS
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
    NumberLiteral,
    Parentheses,
    StringLiteral,
    Subquery,
    Unary,
    VectorMatching,
    VectorSelector,
)

_SET_OPERATORS = ("and", "or", "unless")


class _Labels(NamedTuple):
    names: tuple[str, ...]
    end: int


class _Arguments(NamedTuple):
    expressions: tuple[Expression, ...]
    end: int


class _Matchers(NamedTuple):
    matchers: tuple[Matcher, ...]
    start: int
    end: int


@v_args(inline=True)
class Building(Transformer[Token, Expression]):
    """A method a rule of the grammar; tokens and what the rule's parts have become arrive."""

    def __init__(self, *, allows_experimental: bool) -> None:
        super().__init__()
        self._allows_experimental = allows_experimental

    def start(self, expression: Expression) -> Expression:
        return expression

    # -- operators -----------------------------------------------------------------------------------------------------

    def binary(
        self, left: Expression, sign: Token, modifier: tuple[bool, VectorMatching], right: Expression
    ) -> Expression:
        operator = sign.lower()
        returns_bool, matching = modifier
        if operator in _SET_OPERATORS and matching.cardinality is Cardinality.ONE_TO_ONE:
            matching = dataclasses.replace(matching, cardinality=Cardinality.MANY_TO_MANY)
        return Binary(operator, left, right, returns_bool, matching, left.start, right.end)

    def unary(self, sign: Token, operand: Expression) -> Expression:
        if isinstance(operand, NumberLiteral):
            value = -operand.value if sign == "-" else operand.value
            return NumberLiteral(value, _start(sign), operand.end, operand.is_duration)
        return Unary(str(sign), operand, _start(sign), operand.end)

    def parentheses(self, opening: Token, expression: Expression, closing: Token) -> Expression:
        return Parentheses(expression, _start(opening), _end(closing))

    def bool_modifier(self, *word: Token) -> bool:
        return bool(word)

    def modifier(
        self,
        returns_bool: bool,  # noqa: FBT001 - lark gives no keywords
        matching: Token | None = None,
        labels: _Labels | None = None,
        side: Token | None = None,
        include: _Labels | None = None,
    ) -> tuple[bool, VectorMatching]:
        cardinality = Cardinality.ONE_TO_ONE
        if side is not None:
            is_left = side.lower() == "group_left"
            cardinality = Cardinality.MANY_TO_ONE if is_left else Cardinality.ONE_TO_MANY
        names = labels.names if labels is not None else ()
        is_on = matching is not None and matching.lower() == "on"
        return returns_bool, VectorMatching(cardinality, names, is_on, include.names if include is not None else ())

    # -- calls ---------------------------------------------------------------------------------------------------------

    def call(self, name: Token, arguments: _Arguments) -> Expression:
        signature = FUNCTIONS.get(str(name))
        if signature is None:
            _refuse(f"unknown function with name {quoted(name)}", name)
        if signature.is_experimental and not self._allows_experimental:
            _refuse(f"function {quoted(name)} is not enabled", name)
        return Call(signature.name, arguments.expressions, _start(name), arguments.end)

    def arguments(self, *parts: Token | list[Expression]) -> _Arguments:
        expressions = parts[1] if isinstance(parts[1], list) else []
        closing = parts[-1]
        return _Arguments(tuple(expressions), _end(closing))

    def argument_list(self, *parts: "Expression | Token | list[Expression]") -> list[Expression]:
        first = parts[0]
        last = parts[-1]
        if isinstance(first, list):
            first.append(last)  # type: ignore[arg-type]  # the grammar has an expression there
            return first
        return [last]  # type: ignore[list-item]  # the same

    def trailing_comma(self, _: list[Expression], comma: Token) -> NoReturn:
        _refuse("trailing commas not allowed in function call args", comma)

    def aggregator(self, word: Token) -> Token:
        return word

    def grouping(self, word: Token, labels: _Labels) -> tuple[bool, _Labels]:
        return word.lower() == "without", labels

    def aggregation(self, operator: Token, *parts: "_Arguments | tuple[bool, _Labels]") -> Expression:
        arguments = parts[-1]
        assert isinstance(arguments, _Arguments)  # noqa: S101 - the grammar has them last
        is_without, labels = parts[0] if len(parts) == 2 else (False, _Labels((), 0))
        return self._aggregation(operator, arguments, labels=labels.names, is_without=is_without, end=arguments.end)  # type: ignore[union-attr, arg-type]

    def aggregation_before(self, operator: Token, arguments: _Arguments, grouping: tuple[bool, _Labels]) -> Expression:
        is_without, labels = grouping
        return self._aggregation(operator, arguments, labels=labels.names, is_without=is_without, end=labels.end)

    def _aggregation(
        self, word: Token, arguments: _Arguments, *, labels: tuple[str, ...], is_without: bool, end: int
    ) -> Expression:
        operator = word.lower()
        expressions = arguments.expressions
        if not expressions:
            _refuse("no arguments for aggregate expression provided", word)
        if operator in EXPERIMENTAL_AGGREGATIONS and not self._allows_experimental:
            flag = "--enable-feature=promql-experimental-functions"
            _refuse(f"{operator}() is experimental and must be enabled with {flag}", word)
        expected = 2 if operator in AGGREGATIONS_WITH_PARAMETER else 1
        if len(expressions) != expected:
            said = "wrong number of arguments for aggregate expression provided"
            _refuse(f"{said}, expected {expected}, got {len(expressions)}", word)
        parameter = expressions[0] if expected == 2 else None
        return Aggregation(operator, expressions[-1], parameter, labels, is_without, _start(word), end)

    def labels(self, *parts: "Token | list[str]") -> _Labels:
        names = parts[1] if isinstance(parts[1], list) else []
        closing = parts[-1]
        return _Labels(tuple(names), _end(closing))

    def label_list(self, *parts: "str | list[str]") -> list[str]:
        first = parts[0]
        if isinstance(first, list):
            first.append(str(parts[-1]))
            return first
        return [first]

    def label(self, word: str) -> str:
        return word

    def label_word(self, word: Token) -> str:
        return str(word)

    def quoted_label(self, literal: Token) -> str:
        name = literals.string_value(literal, start=_start(literal))
        if not name:
            _refuse('invalid label name for grouping: ""', literal)
        return name

    # -- literals ------------------------------------------------------------------------------------------------------

    def literal(self, token: Token) -> NumberLiteral:
        is_duration = token.type == "DURATION"
        try:
            value = literals.duration_seconds(token) if is_duration else literals.number_value(token)
        except QuerySyntaxError as error:
            _refuse(str(error), token)
        return NumberLiteral(value, _start(token), _end(token), is_duration)

    def string(self, literal: Token) -> Expression:
        start = _start(literal)
        return StringLiteral(literals.string_value(literal, start=start), start, _end(literal))

    # -- selectors -----------------------------------------------------------------------------------------------------

    def name(self, word: Token) -> Token:
        return word

    def selector(self, name: Token, braces: _Matchers | None = None) -> Expression:
        start, end = _start(name), _end(name)
        matchers = [Matcher(METRIC_NAME, MatchOperator.EQUAL, str(name), start, end)]
        if braces is not None:
            matchers.extend(braces.matchers)
            end = braces.end
        return VectorSelector(tuple(matchers), 0, None, start, end, str(name))

    def nameless(self, braces: _Matchers) -> Expression:
        return VectorSelector(braces.matchers, 0, None, braces.start, braces.end)

    def matchers(self, opening: Token, *parts: "list[Matcher] | Token") -> _Matchers:
        found = parts[0] if isinstance(parts[0], list) else []
        closing = parts[-1]
        return _Matchers(tuple(found), _start(opening), _end(closing))

    def matcher_list(self, *parts: "list[Matcher] | Matcher | Token") -> list[Matcher]:
        first, last = parts[0], parts[-1]
        if isinstance(first, list):
            first.append(last)  # type: ignore[arg-type]  # the grammar has a matcher there
            return first
        return [last]  # type: ignore[list-item]  # the same

    def matcher(self, name: Token, sign: Token, literal: Token) -> Matcher:
        start, end = _start(name), _end(literal)
        matcher = Matcher(
            literals.string_value(name, start=start) if name.type == "STRING" else str(name),
            MatchOperator(str(sign)),
            literals.string_value(literal, start=_start(literal)),
            start,
            end,
        )
        if matcher.operator in (MatchOperator.REGEX, MatchOperator.NOT_REGEX):
            patterns.check(matcher)
        return matcher

    def quoted_name(self, literal: Token) -> Matcher:
        start = _start(literal)
        name = literals.string_value(literal, start=start)
        return Matcher(METRIC_NAME, MatchOperator.EQUAL, name, start, _end(literal))

    def matrix(self, operand: Expression, opening: Token, length: Duration, closing: Token) -> Expression:
        range_ms = length.milliseconds("range")
        return modifiers.ranged(operand, range_ms, opening=_start(opening), end=_end(closing))

    def subquery(
        self, operand: Expression, _opening: Token, length: Duration, _colon: Token, *rest: "Duration | Token"
    ) -> Expression:
        step = rest[0]
        step_ms = step.milliseconds("step") if isinstance(step, Duration) else None
        return Subquery(operand, length.milliseconds("range"), step_ms, 0, None, operand.start, _end(rest[-1]))

    # -- modifiers -----------------------------------------------------------------------------------------------------

    def offset_modifier(self, operand: Expression, _: Token, offset: Duration) -> Expression:
        return modifiers.moved(operand, offset)

    def at_time(self, operand: Expression, sign: Token, *rest: "Token | NumberLiteral") -> Expression:
        literal = rest[-1]
        assert isinstance(literal, NumberLiteral)  # noqa: S101 - the grammar has it last
        time_ms = modifiers.at_time_ms(-literal.value if rest[0] == "-" else literal.value, operand)
        return modifiers.anchored(operand, AtModifier(AtAnchor.TIME, time_ms, _start(sign), literal.end))

    def at_anchor(self, operand: Expression, sign: Token, word: Token, _: Token, closing: Token) -> Expression:
        anchor = AtAnchor.START if word.lower() == "start" else AtAnchor.END
        return modifiers.anchored(operand, AtModifier(anchor, 0, _start(sign), _end(closing)))

    def extension(self, operand: Expression, word: Token) -> NoReturn:
        _refuse(f"{word.lower()} modifier is experimental and not enabled", operand)

    # -- durations -----------------------------------------------------------------------------------------------------

    def plain_duration(self, literal: NumberLiteral) -> Duration:
        return Duration(literal.value, literal.start, literal.end).in_range(literal.start, literal.end)

    def signed_duration(self, sign: Token, duration: "Duration | NumberLiteral") -> Duration:
        seconds = duration.value if isinstance(duration, NumberLiteral) else duration.seconds
        signed = Duration(-seconds if sign == "-" else seconds, _start(sign), duration.end)
        return signed.in_range(_start(sign), _end(sign))

    def twice_signed_duration(self, sign: Token, inner: Token, duration: Duration) -> Duration:
        return self.signed_duration(sign, self.signed_duration(inner, duration))

    def offset(self, *parts: "Token | Duration") -> Duration:
        last = parts[-1]
        assert isinstance(last, Duration)  # noqa: S101 - what else could come has raised
        return last

    def positive(self, duration: Duration) -> Duration:
        return duration.positive()

    def duration_operation(self, left: Duration, _sign: Token, _right: Duration) -> NoReturn:
        _refuse("experimental duration expression is not enabled", left)

    def duration_parentheses(self, _: Token, duration: Duration, __: Token) -> NoReturn:
        _refuse("experimental duration expression is not enabled", duration)

    def wrapped_offset(self, _sign: Token, _: Token, duration: Duration, __: Token) -> NoReturn:
        _refuse("experimental duration expression is not enabled", duration)

    def step(self, word: Token, _: Token, closing: Token) -> NoReturn:
        raise UnsupportedQueryError("the experimental duration step()", start=_start(word), end=_end(closing))

    def extreme(self, word: Token, *parts: "Token | Duration") -> NoReturn:
        end = _end(parts[-1])
        raise UnsupportedQueryError(f"the experimental duration {word.lower()}()", start=_start(word), end=end)


def _start(token: Token) -> int:
    return token.start_pos or 0


def _end(token: object) -> int:
    assert isinstance(token, Token)  # noqa: S101 - the grammar has a token there
    return (token.start_pos or 0) + len(token)


def _refuse(said: str, place: "Token | Expression | Duration") -> NoReturn:
    if isinstance(place, Token):
        raise QuerySyntaxError(said, start=_start(place), end=_end(place))
    raise QuerySyntaxError(said, start=place.start, end=place.end)
