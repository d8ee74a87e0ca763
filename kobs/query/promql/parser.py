"""Text arrives, a tree leaves whose every node knows its place; what is wrong is told at its line and column.

lark's LALR tables read what the lexer yields, `building` makes nodes of it and `checking` looks at their types. The
first error is told, in Prometheus' words, with what was expected where Prometheus does not say it. A column counts
bytes of UTF-8, as Prometheus' does.

Source: Prometheus 3.8, `promql/parser`.
"""

import functools
from collections import Counter
from collections.abc import Collection
from typing import Any

from lark import Lark, Token
from lark.exceptions import UnexpectedToken
from lark.parsers.lalr_analysis import Shift

from kobs.errors import LimitError, QueryError, QuerySyntaxError, UnsupportedQueryError
from kobs.query.promql.building import Building
from kobs.query.promql.checking import check
from kobs.query.promql.grammar import ERRORS, EXPECTED, GRAMMAR
from kobs.query.promql.lexer import LEXER_ERROR, TokenLexer
from kobs.query.promql.literals import quoted
from kobs.query.promql.tree import Expression

LONGEST_QUERY_CHARACTERS = 100_000
_REMEMBERED_CHARACTERS = 2_000
_MOST_REMEMBERED = 1_000
"""A tree takes some 30 times its text: together at most 60 MB, and some 5 MB of usual ones."""

_NAMED = frozenset({"IDENTIFIER", "METRIC_IDENTIFIER", "STRING", "NUMBER", "DURATION"})
_KINDS = {
    "IDENTIFIER": "identifier",
    "METRIC_IDENTIFIER": "metric identifier",
    "STRING": "string",
    "NUMBER": "number",
    "DURATION": "duration",
}
_OPERATORS = frozenset({"SIGN", "TIMES", "POWER", "COMPARISON", "AND_UNLESS", "OR", "ATAN2", "AT"})
_KEYWORDS = frozenset({"BOOL", "BY", "WITHOUT", "ON_IGNORING", "GROUP", "OFFSET", "EXTENSION"})


@functools.cache
def _lark(*, experimental_functions: bool) -> Lark:
    """Return the reader of the grammar; making it takes some ten milliseconds, once."""
    building = Building(allows_experimental=experimental_functions)
    return Lark(GRAMMAR, parser="lalr", lexer=TokenLexer, transformer=building, maybe_placeholders=False)


def parse(text: str, *, experimental_functions: bool = False) -> Expression:
    """Return the tree of an expression. Trees of short texts are remembered, as dashboards and rules ask again.

    `experimental_functions` is Prometheus' feature of that name: functions and aggregations that may still change.

    Raises: QuerySyntaxError that names line, column and what was expected; QueryTypeError with its place;
        UnsupportedQueryError that names the construct and its place; LimitError for what is too long or too deep.
    """
    if len(text) > LONGEST_QUERY_CHARACTERS:
        raise LimitError(f"the query has {len(text)} characters: the limit is {LONGEST_QUERY_CHARACTERS}")
    if len(text) <= _REMEMBERED_CHARACTERS:
        return _remembered(text, experimental_functions=experimental_functions)
    return _parse(text, experimental_functions=experimental_functions)


def _parse(text: str, *, experimental_functions: bool) -> Expression:
    try:
        expression = _lark(experimental_functions=experimental_functions).parse(text)
        return check(expression, text)  # type: ignore[arg-type]  # lark does not know what the building returns
    except UnexpectedToken as error:
        raise _placed(text, _unexpected(text, error)) from error
    except QueryError as error:
        raise _placed(text, error) from error


_remembered = functools.lru_cache(_MOST_REMEMBERED)(_parse)


# -- a token that was not expected -------------------------------------------------------------------------------------


def _unexpected(text: str, error: UnexpectedToken) -> QueryError:
    """Return what is to be said where lark stopped."""
    token = error.token
    interactive: Any = error.interactive_parser
    state = interactive.parser_state
    if token.type == "$END" and len(state.state_stack) == 1:
        return QuerySyntaxError("no expression found in input", start=0, end=0)
    expected = told(interactive.accepts())
    is_wrong = token.type == LEXER_ERROR
    try:
        _reduce(state, only_certain=is_wrong)
    except QueryError as earlier:
        return earlier
    if is_wrong:
        said = str(token)
        if said.startswith("unexpected ") and ", expected " not in said:
            said = f"{said}, expected {expected}"
        return QuerySyntaxError(said, start=token.start_pos, end=len(text))
    start = len(text) if token.type == "$END" else token.start_pos or 0
    said = f"unexpected {_described(token)}"
    rule = _rule_of_error(state.parse_conf.states, list(state.state_stack))
    if rule is not None:
        where, in_words = ERRORS[rule]
        said = f"{said} in {where}"
        expected = in_words or expected
    return QuerySyntaxError(f"{said}, expected {expected}", start=start, end=start + len(token))


def _reduce(state: Any, *, only_certain: bool) -> None:
    """Make of the stack what it is whatever comes next, as yacc's default reductions do: their errors come first.

    A reduction is certain where nothing else could be done.

    Raises: QueryError.
    """
    states = state.parse_conf.states
    while True:
        actions = {
            name: entry for name, entry in states[state.state_stack[-1]].items() if name.isupper() or name == "$END"
        }
        reductions = Counter(argument for action, argument in actions.values() if action is not Shift)
        is_certain = len(reductions) == 1 and reductions.total() == len(actions)
        if not reductions or (only_certain and not is_certain) or actions.get("ERROR", (None,))[0] is Shift:
            return
        rule = reductions.most_common(1)[0][0]
        size = len(rule.expansion)
        values = state.value_stack[len(state.value_stack) - size :]
        if size:
            del state.state_stack[-size:], state.value_stack[-size:]
        state.value_stack.append(state.parse_conf.callbacks[rule](values))
        state.state_stack.append(states[state.state_stack[-1]][rule.origin.name][1])


def _rule_of_error(states: Any, stack: list[Any]) -> str | None:
    """Return the alias of the innermost rule that takes an `ERROR`, where the stack stands; None without one."""
    while stack:
        trial = list(stack)
        while (entry := states[trial[-1]].get("ERROR")) is not None:
            action, argument = entry
            if action is Shift:
                return _reduced_rule(states[argument])
            size = len(argument.expansion)
            del trial[len(trial) - size :]
            trial.append(states[trial[-1]][argument.origin.name][1])
        stack.pop()
    return None


def _reduced_rule(actions: Any) -> str | None:
    aliases = {argument.alias for action, argument in actions.values() if action is not Shift}
    return aliases.pop() if len(aliases) == 1 else None


def _described(token: Token) -> str:
    """Return a token in Prometheus' words."""
    kind, text = token.type, str(token)
    if kind == "$END":
        return "end of input"
    if kind in ("IDENTIFIER", "METRIC_IDENTIFIER"):
        return f"{_KINDS[kind]} {quoted(text)}"
    if kind in _NAMED:
        return f"{_KINDS[kind]} {_shortened(text)}"
    if kind in _KEYWORDS:
        return f"<{text}>"
    if kind in _OPERATORS or (kind == "MATCHING" and text != "="):
        return f"<op:{text}>"
    if kind in ("AGGREGATION", "MIN_MAX"):
        return f"<aggr:{text}>"
    return _shortened(text)


def _shortened(text: str) -> str:
    return f"{quoted(text[:10])}..." if len(text.encode()) > 10 else quoted(text)


def told(terminals: Collection[str]) -> str:
    """Return what was expected, in words: `a, b or c`."""
    words = sorted({EXPECTED[name] for name in terminals if name in EXPECTED})
    if not words:
        return "an expression"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


# -- places ------------------------------------------------------------------------------------------------------------


def _placed(text: str, error: QueryError) -> QueryError:
    """Return an error that names its line and column."""
    start, end = error.start or 0, error.end or 0
    where = line_and_column(text, start)
    if isinstance(error, UnsupportedQueryError):
        return UnsupportedQueryError(f"{where}: {error} is not supported", start=start, end=end)
    return type(error)(f"{where}: parse error: {error}", start=start, end=end)


def line_and_column(text: str, place: int) -> str:
    """Return `line:column`, both from 1, the column in bytes, as Prometheus tells a place."""
    if not text:
        return "unknown position"
    line = text.rfind("\n", 0, place) + 1
    return f"{text.count(chr(10), 0, place) + 1}:{len(text[line:place].encode()) + 1}"
