"""Parses selectors. Everything else of PromQL is recognised and refused by its name, with its place.

Source: Prometheus 3, `promql/parser` (UTF-8 names in quotes, numbers as durations, modifiers after the range).
"""

import math
import re
from typing import Any, NoReturn

import re2
from lark import Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from kobs.errors import QueryError, QuerySyntaxError, UnsupportedQueryError
from kobs.model.labels import METRIC_NAME
from kobs.query.promql import literals
from kobs.query.promql.grammar import AGGREGATIONS, RESERVED, WORD_OPERATORS, parser, told
from kobs.query.promql.tree import (
    AtAnchor,
    AtModifier,
    Expression,
    Matcher,
    MatchOperator,
    MatrixSelector,
    VectorSelector,
)

LONGEST_QUERY_CHARACTERS = 100_000
LONGEST_PATTERN_CHARACTERS = 4096
_LATEST_MS = 2**63 // 1_000_000

_WORD = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_IGNORED = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SIGNS = re.compile(r"==|!=|<=|>=|[-+*/%^<>]")
_NUMBER = re.compile(r"\.?[0-9][0-9a-zA-Z_.]*(?:(?<=[eE])[+-][0-9]+)?")
_STRING = re.compile(r""""(?:[^"\\\n]|\\[^\n])*"|'(?:[^'\\\n]|\\[^\n])*'|`[^`]*`""")
_SUBQUERY = re.compile(r"\[[^\[\]{}:]*:[^\[\]{}]*\]")


def parse(text: str) -> Expression:
    """Return the tree of an expression.

    Raises: QuerySyntaxError that names line, column and what was expected; UnsupportedQueryError that names the
        construct and its place.
    """
    if len(text) > LONGEST_QUERY_CHARACTERS:
        raise QueryError(f"the query has {len(text)} characters: the limit is {LONGEST_QUERY_CHARACTERS}")
    begin = _skip(text, 0)
    if begin == len(text):
        raise QuerySyntaxError("unknown position: parse error: no expression found in input", start=0, end=0)
    _refuse_unsupported_beginning(text, begin)
    try:
        tree = parser().parse(text)
    except UnexpectedInput as error:
        _refuse(text, error)
    try:
        return _expression(tree)
    except UnsupportedQueryError as error:
        _unsupported(text, str(error), error.start or 0, error.end or 0)
    except QuerySyntaxError as error:
        raise _syntax_error(text, str(error), error.start or 0, error.end or 0) from error


# -- from lark's tree --------------------------------------------------------------------------------------------------


def _expression(tree: "Tree[Token]") -> Expression:
    selector, *rest = (child for child in tree.children if isinstance(child, Tree))
    matchers = _matchers(selector)
    ranges = [child for child in rest if child.data == "range"]
    offset_ms: int | None = None
    at: AtModifier | None = None
    for child in rest:
        if child.data == "offset":
            if offset_ms is not None:
                raise QuerySyntaxError("offset may not be set multiple times", **_place(child))
            offset_ms = _duration(child)
        elif child.data in ("at_time", "at_anchor"):
            if at is not None:
                raise QuerySyntaxError("@ <timestamp> may not be set multiple times", **_place(child))
            at = _at(child)
    end = tree.meta.end_pos
    vector_end = selector.meta.end_pos if ranges else end
    vector = VectorSelector(matchers, offset_ms or 0, at, selector.meta.start_pos, vector_end)
    if not ranges:
        return vector
    range_ms = _duration(ranges[0])
    if range_ms <= 0:
        raise QuerySyntaxError("duration must be greater than 0", **_place(ranges[0]))
    return MatrixSelector(vector, range_ms, vector.start, end)


def _matchers(selector: "Tree[Token]") -> tuple[Matcher, ...]:
    found: list[Matcher] = []
    for child in selector.children:
        if isinstance(child, Token):
            found.append(_name_matcher(str(child), child))
            continue
        for item in child.children:
            assert isinstance(item, Tree)  # noqa: S101 - the grammar has no other child here
            if item.data == "quoted_name":
                token = _tokens(item)[0]
                found.append(_name_matcher(literals.string_value(token, start=_start(token)), token))
            else:
                found.append(_comparison(item))
    _check_one_name(selector, found)
    if all(_matches_empty(matcher) for matcher in found):
        raise QuerySyntaxError("vector selector must contain at least one non-empty matcher", **_place(selector))
    return tuple(found)


def _name_matcher(name: str, token: Token) -> Matcher:
    return Matcher(METRIC_NAME, MatchOperator.EQUAL, name, _start(token), _start(token) + len(token))


def _comparison(item: "Tree[Token]") -> Matcher:
    name, operator, value = _tokens(item)
    matcher = Matcher(
        literals.string_value(name, start=_start(name)) if name.type == "STRING" else str(name),
        MatchOperator(str(operator)),
        literals.string_value(value, start=_start(value)),
        item.meta.start_pos,
        item.meta.end_pos,
    )
    if matcher.operator in (MatchOperator.REGEX, MatchOperator.NOT_REGEX):
        _check_pattern(matcher)
    return matcher


def _check_one_name(selector: "Tree[Token]", matchers: list[Matcher]) -> None:
    """Refuse a second metric name beside one that stands before the braces or alone in quotes."""
    named = any(token.type == "METRIC" for token in _tokens(selector))
    quoted = any(True for _ in selector.find_data("quoted_name"))
    names = [
        matcher.value for matcher in matchers if matcher.name == METRIC_NAME and matcher.operator is MatchOperator.EQUAL
    ]
    if (named or quoted) and len(names) > 1:
        raise QuerySyntaxError(f'metric name must not be set twice: "{names[0]}" or "{names[1]}"', **_place(selector))


def _check_pattern(matcher: Matcher) -> None:
    place = {"start": matcher.start, "end": matcher.end}
    if len(matcher.value) > LONGEST_PATTERN_CHARACTERS:
        raise QuerySyntaxError(
            f"pattern of {len(matcher.value)} characters: the limit is {LONGEST_PATTERN_CHARACTERS}", **place
        )
    try:
        _compiled(matcher.value)
    except re2.error as error:
        reason = error.args[0] if error.args else b""
        said = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise QuerySyntaxError(f"error parsing regexp: {said}", **place) from error


def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.dot_nl = True
    return re2.compile(pattern, options)


def _matches_empty(matcher: Matcher) -> bool:
    match matcher.operator:
        case MatchOperator.EQUAL:
            return not matcher.value
        case MatchOperator.NOT_EQUAL:
            return bool(matcher.value)
        case MatchOperator.REGEX:
            return _compiled(matcher.value).fullmatch("") is not None
        case MatchOperator.NOT_REGEX:
            return _compiled(matcher.value).fullmatch("") is None


def _at(tree: "Tree[Token]") -> AtModifier:
    place = _place(tree)
    tokens = _tokens(tree)
    if tree.data == "at_anchor":
        return AtModifier(AtAnchor(f"{tokens[-1].lower()}()"), 0, **place)
    try:
        seconds = literals.duration_ms(tokens[-1]) / 1000 if tokens[-1].type == "DURATION" else _number(tokens[-1])
    except ValueError as error:
        raise QuerySyntaxError(str(error), **place) from error
    if not math.isfinite(seconds) or abs(seconds) * 1000 >= _LATEST_MS:
        raise QuerySyntaxError(f"timestamp out of bounds for @ modifier: {_sign(tokens) * seconds:g}", **place)
    return AtModifier(AtAnchor.TIME, _sign(tokens) * round(seconds * 1000), **place)


def _duration(tree: "Tree[Token]") -> int:
    """Return the signed milliseconds of a range or an offset."""
    tokens = _tokens(tree)
    try:
        return _sign(tokens) * literals.duration_ms(tokens[-1])
    except ValueError as error:
        raise QuerySyntaxError(str(error), **_place(tree)) from error


def _number(token: Token) -> float:
    return literals.number_value(token)


def _sign(tokens: list[Token]) -> int:
    return -1 if any(sign.type == "SIGN" and sign == "-" for sign in tokens) else 1


def _tokens(tree: "Tree[Token]") -> list[Token]:
    return [child for child in tree.children if isinstance(child, Token)]


def _start(token: Token) -> int:
    return token.start_pos or 0


def _place(tree: "Tree[Token]") -> dict[str, int]:
    return {"start": tree.meta.start_pos, "end": tree.meta.end_pos}


# -- what is not a selector --------------------------------------------------------------------------------------------


def _refuse_unsupported_beginning(text: str, begin: int) -> None:
    """Refuse by its name an expression that begins like no selector."""
    sign = text[begin]
    if sign in "+-":
        _unsupported(text, f"the sign {sign} before an expression", begin, begin + 1)
    if sign == "(":
        _unsupported(text, "an expression in parentheses", begin, begin + 1)
    if (number := _NUMBER.match(text, begin)) is not None:
        _refuse_number(text, number)
    if (literal := _STRING.match(text, begin)) is not None:
        _unsupported(text, "a string as expression", begin, literal.end())
    word = _WORD.match(text, begin)
    if word is None:
        return
    name = word[0].lower()
    after = _skip(text, word.end())
    following = text[after : after + 1]
    if name in RESERVED:
        raise _syntax_error(text, f"unexpected {word[0]}, expected an expression", begin, word.end())
    if name in ("inf", "nan"):
        _unsupported(text, "a number as expression", begin, word.end())
    grouping = _WORD.match(text, after)
    grouped = grouping is not None and grouping[0].lower() in ("by", "without")
    if name in AGGREGATIONS and (following == "(" or grouped):
        _unsupported(text, f"the aggregation {name}", begin, word.end())
    if following == "(":
        _unsupported(text, f"the function {word[0]}", begin, word.end())


def _refuse_number(text: str, number: re.Match[str]) -> NoReturn:
    try:
        literals.duration_ms(number[0])
    except ValueError:
        said = f'bad number or duration syntax: "{number[0]}"'
        raise _syntax_error(text, said, number.start(), number.end()) from None
    _unsupported(text, "a number as expression", number.start(), number.end())


def _refuse(text: str, error: UnexpectedInput) -> NoReturn:
    """Say what is wrong where lark stopped."""
    at_end = isinstance(error, UnexpectedToken) and error.token.type == "$END"
    place = len(text) if at_end or error.pos_in_stream is None else error.pos_in_stream
    expected = _expected(error)
    place = _skip(text, place)
    # A modifier can follow wherever an expression can end, and nowhere else.
    is_whole = "OFFSET" in expected
    subquery = _SUBQUERY.match(text, text.rfind("[", 0, place)) if "[" in text[:place] else None
    if subquery is not None and subquery.end() > place:
        _unsupported(text, "a subquery", subquery.start(), subquery.end())
    if is_whole and (operator := _SIGNS.match(text, place)) is not None:
        _unsupported(text, f"the operator {operator[0]}", place, operator.end())
    word = _WORD.match(text, place)
    if is_whole and word is not None and word[0].lower() in WORD_OPERATORS:
        _unsupported(text, f"the operator {word[0].lower()}", place, word.end())
    if is_whole and text.startswith("[", place):
        after_range = text[:place].rstrip().endswith("]")
        said = "ranges only allowed for vector selectors" if after_range else "no offset modifiers allowed before range"
        raise _syntax_error(text, said, place, place + 1)
    if is_whole:
        expected.add("$END")
    if place == len(text):
        raise _syntax_error(text, f"unexpected end of input, expected {told(expected)}", place, place)
    literal = _STRING.match(text, place)
    if text[place] in "\"'`" and literal is None:
        raise _syntax_error(text, "unterminated quoted string", place, len(text))
    found = next((match[0] for match in (word, literal) if match is not None), text[place])
    raise _syntax_error(text, f"unexpected {found}, expected {told(expected)}", place, place + len(found))


def _expected(error: UnexpectedInput) -> set[str]:
    """Return the terminals that could have come."""
    if isinstance(error, UnexpectedToken):
        return set(error.accepts or error.expected)
    return set(error.allowed or ()) if isinstance(error, UnexpectedCharacters) else set()


def _skip(text: str, place: int) -> int:
    """Return the place of the next character that is neither space nor comment."""
    found = _IGNORED.match(text, place)
    return place if found is None else found.end()


def _unsupported(text: str, construct: str, start: int, end: int) -> NoReturn:
    raise UnsupportedQueryError(
        f"{_line_and_column(text, start)}: {construct} is not supported: only selectors are", start=start, end=end
    )


def _syntax_error(text: str, said: str, start: int, end: int) -> QuerySyntaxError:
    return QuerySyntaxError(f"{_line_and_column(text, start)}: parse error: {said}", start=start, end=end)


def _line_and_column(text: str, place: int) -> str:
    """Return `line:column`, both from 1, as Prometheus tells a place."""
    return f"{text.count(chr(10), 0, place) + 1}:{place - text.rfind(chr(10), 0, place)}"
