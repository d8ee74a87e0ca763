"""Text arrives, the tokens of PromQL leave; what is no token leaves as one last token of the type `LEXER_ERROR`.

Words are keywords everywhere but inside of braces, and inside of brackets only durations are read, so the lexer knows
where it stands, as Prometheus' own does: whether a text is accepted, and which of two errors is told, depends on it.

Source: Prometheus 3.8, `promql/parser` (what is accepted, and the wording of errors).
"""

import re
from collections.abc import Iterator

from lark import Token
from lark.lexer import Lexer

from kobs.query.promql.literals import escape_error, quoted_character

LEXER_ERROR = "LEXER_ERROR"

AGGREGATIONS = frozenset(
    {
        *("avg", "bottomk", "count", "count_values", "group", "limit_ratio", "limitk"),
        *("max", "min", "quantile", "stddev", "stdvar", "sum", "topk"),
    }
)

KEYWORDS = {
    **dict.fromkeys(AGGREGATIONS, "AGGREGATION"),
    **dict.fromkeys(("min", "max"), "MIN_MAX"),
    **dict.fromkeys(("and", "unless"), "AND_UNLESS"),
    "or": "OR",
    "atan2": "ATAN2",
    "offset": "OFFSET",
    **dict.fromkeys(("anchored", "smoothed"), "EXTENSION"),
    "by": "BY",
    "without": "WITHOUT",
    **dict.fromkeys(("on", "ignoring"), "ON_IGNORING"),
    **dict.fromkeys(("group_left", "group_right"), "GROUP"),
    "bool": "BOOL",
    **dict.fromkeys(("start", "end"), "START_END"),
    "step": "STEP",
    **dict.fromkeys(("inf", "nan"), "NUMBER"),
}
"""The types of the words that are no identifiers, in lower case; upper case means the same."""

SIGNS = {
    **dict.fromkeys("+-", "SIGN"),
    **dict.fromkeys("*/%", "TIMES"),
    "^": "POWER",
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), "COMPARISON"),
    "=": "EQUAL",
    ",": "COMMA",
    "@": "AT",
    "(": "LPAR",
    ")": "RPAR",
    "[": "LSQB",
    "]": "RSQB",
    "{": "LBRACE",
    "}": "RBRACE",
    ":": "COLON",
}

_SKIPPED = r"(?P<skipped>(?:[ \t\r\n]+|\#[^\r\n]*)+)"
_QUOTE = r"""(?P<quote>["'`])"""
_STATEMENT = re.compile(
    rf"""{_SKIPPED}
    | (?P<word>[a-zA-Z_:][a-zA-Z0-9_:]*)
    | (?P<number>\.?[0-9])
    | (?P<sign>==|!=|<=|>=|[-+*/%^<>,(){{\[\]@]|=(?!~))
    | {_QUOTE}""",
    re.X,
)
_BRACES = re.compile(
    rf"""{_SKIPPED}
    | (?P<word>[a-zA-Z_][a-zA-Z0-9_]*)
    | (?P<matching>=~|!~|!=|=)
    | (?P<sign>[,}}])
    | {_QUOTE}""",
    re.X,
)
_BRACKETS = re.compile(
    r"(?P<skipped>[ \t\r\n]+)|(?P<word>[smSM][a-zA-Z_]*)|(?P<number>\.?[0-9])|(?P<sign>[-+*/%^,()\]:])"
)
"""Between `[` and the first number."""
_LETTERS = re.compile(r"[a-zA-Z_]*")
_STRINGS = {
    '"': re.compile(r'"(?:[^"\\\n]|\\[^\n])*"'),
    "'": re.compile(r"'(?:[^'\\\n]|\\[^\n])*'"),
    "`": re.compile(r"`[^`]*`"),
}
_PLAIN_NUMBER = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?![0-9a-zA-Z_.])")
_NUMBER = re.compile(
    r"""(?: 0[xX]_?[0-9a-fA-F]*(?:_[0-9a-fA-F]+)*
          | \.?[0-9]+(?:_[0-9]+)*(?:\.(?:[0-9]+(?:_[0-9]+)*)?)?(?:[eE][+-]?+(?:[0-9]++(?:_[0-9]++)*+|(?!\Z)))?+
        )(?![0-9a-zA-Z_.])""",
    re.X,
)
_DURATION = re.compile(r"\.?[0-9]+(?:\.[0-9]*)?[smhdwy]s?(?:[0-9]+[smhdw]s?)*(?![0-9a-zA-Z_])")
_WRONG_NUMBER = re.compile(
    r"""0[xX]_?[0-9a-fA-F_]*\.?
      | \.?[0-9](?:[0-9]|_(?![._eE])|\.(?![._])|[eE][+-]?)*
        (?:[._]{1,2}|[smhdwy]s?(?:[0-9]+[smhdw]s?)*(?:[0-9]+|[a-zA-Z_])?)?""",
    re.X,
)


_NEXT = {
    "LBRACE": _BRACES,
    "RBRACE": _STATEMENT,
    "LSQB": _BRACKETS,
    "RSQB": _STATEMENT,
    # what follows a duration between brackets is read as everywhere else
    "NUMBER": _STATEMENT,
    "DURATION": _STATEMENT,
}
"""What the tokens after one are read by, where that changes."""


class TokenLexer(Lexer):
    """What lark asks for tokens."""

    def __init__(self, _: object) -> None:
        pass

    def lex(self, data: str) -> Iterator[Token]:  # type: ignore[override]  # lark gives a lexer of one's own the text
        """Yield the tokens of a text."""
        return _Lexing(data).tokens()


class _Lexing:
    """One text being read."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._parentheses = 0
        self._is_in_brackets = False
        self._has_colon = False
        self._has_duration = False

    def tokens(self) -> Iterator[Token]:
        """Yield the tokens of the text, the error last."""
        end = len(self._text)
        pattern = _STATEMENT
        while self._place < end:
            start = self._place
            found = pattern.match(self._text, start)
            if found is None:
                yield self._no_token(pattern)
                return
            self._place = found.end()
            if found.lastgroup == "skipped":
                continue
            token = self._token(found, pattern)
            yield token
            if token.type == LEXER_ERROR:
                return
            pattern = _NEXT.get(token.type, pattern)
        if (said := self._unclosed(pattern)) is not None:
            yield self._error(said, end)

    def _token(self, found: "re.Match[str]", pattern: "re.Pattern[str]") -> Token:
        start, text = found.start(), found[0]
        match found.lastgroup:
            case "number":
                return self._number(start)
            case "quote":
                return self._string(start)
            case "word" if pattern is _BRACES:
                return Token("IDENTIFIER", text, start)
            case "word":
                return self._word(start, text, pattern)
            case "matching":
                return Token("MATCHING", text, start)
            case _:
                return self._sign(start, text, within_brackets=pattern is _BRACKETS)

    def _word(self, start: int, word: str, pattern: "re.Pattern[str]") -> Token:
        if self._is_in_brackets:
            return self._word_in_brackets(start, word, pattern)
        kind = KEYWORDS.get(word.lower())
        if kind is None:
            kind = "METRIC_IDENTIFIER" if ":" in word else "IDENTIFIER"
        return Token(kind, word, start)

    def _word_in_brackets(self, start: int, word: str, pattern: "re.Pattern[str]") -> Token:
        """Return what a word or a colon between brackets is, where only `step`, `min` and `max` are words."""
        if word[0] == ":":
            if self._has_colon:
                return self._error("unexpected colon ':'", start)
            self._has_colon = True
            self._place = start + 1
            return Token("COLON", ":", start)
        letters = _LETTERS.match(word)
        word = letters[0] if letters is not None else ""
        if word.lower() in ("step", "min", "max"):
            self._place = start + len(word)
            return Token(KEYWORDS[word.lower()], word, start)
        named = quoted_character(self._text[start])
        if pattern is _BRACKETS:
            return self._error(f"unexpected character in duration expression: {named}", start)
        return self._error(f"unexpected character: {named}, expected ':'", start)

    def _sign(self, start: int, sign: str, *, within_brackets: bool) -> Token:
        match sign:
            case "(":
                self._parentheses += 1
            case ")":
                self._parentheses -= 1
                if self._parentheses < 0:
                    return self._error("unexpected right parenthesis ')'", start + 1)
            case "[":
                if self._is_in_brackets:
                    return self._error("unexpected left bracket '['", start)
                self._is_in_brackets = True
                self._has_colon = False
            case "]":
                if not self._is_in_brackets:
                    return self._error("unexpected right bracket ']'", start)
                self._is_in_brackets = False
            case ":" if within_brackets:
                if not self._has_duration:
                    return self._error("unexpected colon before duration in duration expression", start + 1)
                if self._has_colon:
                    return self._error("unexpected repeated colon in duration expression", start + 1)
                self._has_colon = True
        return Token(SIGNS[sign], sign, start)

    def _number(self, start: int) -> Token:
        text = self._text
        found = _PLAIN_NUMBER.match(text, start) or _NUMBER.match(text, start)
        kind = "NUMBER"
        if found is None:
            found = _DURATION.match(text, start)
            kind = "DURATION"
        if found is None:
            wrong = _WRONG_NUMBER.match(text, start)
            said = wrong[0] if wrong is not None else text[start]
            return self._error(f'bad number or duration syntax: "{said}"', start)
        self._has_duration = True
        self._place = found.end()
        return Token(kind, found[0], start)

    def _string(self, start: int) -> Token:
        quote = self._text[start]
        found = _STRINGS[quote].match(self._text, start)
        if found is None:
            rest = self._text[start:].partition("\n")[0] if quote != "`" else self._text[start:]
            said = escape_error(rest, quote) or (
                "unterminated raw string" if quote == "`" else "unterminated quoted string"
            )
            return self._error(said, start)
        literal = found[0]
        if "\ufffd" in literal:
            return self._error("invalid UTF-8 rune", start)
        if "\\" in literal and quote != "`" and (wrong := escape_error(literal, quote)) is not None:
            return self._error(wrong, start)
        self._place = found.end()
        return Token("STRING", literal, start)

    def _no_token(self, pattern: "re.Pattern[str]") -> Token:
        """Return the error of a character that begins no token."""
        start = self._place
        sign = self._text[start]
        following = self._text[start + 1 : start + 2]
        named = quoted_character(sign)
        if pattern is _BRACKETS:
            said = f"unexpected character in duration expression: {named}"
        elif sign == "!":
            where = " inside braces" if pattern is _BRACES else ""
            said = f"unexpected character after '!'{where}: {quoted_character(following or chr(0xFFFD))}"
        elif sign == "=":
            said = "unexpected character after '=': '~'"
        elif pattern is not _BRACES:
            said = f"unexpected character: {named}"
        else:
            said = f"unexpected left brace {named}" if sign == "{" else f"unexpected character inside braces: {named}"
        return self._error(said, start)

    def _unclosed(self, pattern: "re.Pattern[str]") -> str | None:
        """Return what is wrong with a text that ends here."""
        if pattern is _BRACES:
            return "unexpected end of input inside braces"
        if pattern is _BRACKETS:
            return "unexpected end of input in duration expression"
        if self._parentheses:
            return "unclosed left parenthesis"
        return "unclosed left bracket" if self._is_in_brackets else None

    def _error(self, said: str, start: int) -> Token:
        return Token(LEXER_ERROR, said, start)
