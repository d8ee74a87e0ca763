"""The grammar of selectors, and which words and signs of PromQL lie outside of it.

Lark makes an LALR parser with a contextual lexer of it, so that a word such as `offset` is a name wherever only a name
can stand.
"""

import functools
from collections.abc import Collection

from lark import Lark

_GRAMMAR = r"""
start: selector range? modifier*

selector: METRIC matchers? | matchers
matchers: "{" [matcher ("," matcher)* ","?] "}"
matcher: (LABEL | STRING) OPERATOR STRING -> comparison
       | STRING -> quoted_name
range: "[" (DURATION | NUMBER) "]"
modifier: OFFSET SIGN? (DURATION | NUMBER) -> offset
        | "@" SIGN? (DURATION | NUMBER) -> at_time
        | "@" ANCHOR "(" ")" -> at_anchor

METRIC: /[a-zA-Z_:][a-zA-Z0-9_:]*/
LABEL: /[a-zA-Z_][a-zA-Z0-9_]*/
OPERATOR: "=~" | "!~" | "!=" | "="
STRING: /"(?:[^"\\\n]|\\[^\n])*"|'(?:[^'\\\n]|\\[^\n])*'|`[^`]*`/
DURATION.2: /(?:[0-9]+(?:ms|[smhdwy]))+(?![a-zA-Z0-9_])/
NUMBER.1: (HEXADECIMAL | DIGITS ("." DIGITS?)? EXPONENT? | "." DIGITS EXPONENT? | /inf/i | /nan/i) /(?![a-zA-Z0-9_.])/
HEXADECIMAL: /0[xX](?:_?[0-9a-fA-F])+/
DIGITS: /[0-9](?:_?[0-9])*/
EXPONENT: /[eE][+-]?/ DIGITS
OFFSET: /offset(?![a-zA-Z0-9_:])/i
ANCHOR: /(?:start|end)(?![a-zA-Z0-9_:])/i
SIGN: "+" | "-"

%ignore /[ \t\r\n]+/
%ignore /#[^\n]*/
"""

TERMINALS = {
    "METRIC": "a metric name",
    "LABEL": "a label name",
    "OPERATOR": "one of = != =~ !~",
    "STRING": "a string",
    "DURATION": "a duration",
    "NUMBER": "a number",
    "OFFSET": "offset",
    "ANCHOR": "start() or end()",
    "SIGN": "a sign",
    "LBRACE": "{",
    "RBRACE": "}",
    "LSQB": "[",
    "RSQB": "]",
    "LPAR": "(",
    "RPAR": ")",
    "COMMA": ",",
    "AT": "@",
    "$END": "the end",
}
"""What a person is told of the parser's terminals."""

AGGREGATIONS = frozenset(
    {
        *("avg", "bottomk", "count", "count_values", "group", "limit_ratio", "limitk"),
        *("max", "min", "quantile", "stddev", "stdvar", "sum", "topk"),
    }
)
WORD_OPERATORS = frozenset({"and", "or", "unless", "atan2"})
RESERVED = frozenset({"bool", "on", "ignoring", "group_left", "group_right"})
"""Words that are no metric names where an expression begins."""


@functools.cache
def parser() -> Lark:
    """Return the parser; making it takes some milliseconds, once."""
    return Lark(_GRAMMAR, parser="lalr", lexer="contextual", propagate_positions=True, maybe_placeholders=False)


def told(terminals: Collection[str]) -> str:
    """Return what was expected, in words: `a, b or c`."""
    words = sorted({TERMINALS[name] for name in terminals if name in TERMINALS and name != "SIGN"})
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
