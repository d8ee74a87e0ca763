"""Regular expressions of matchers and label functions: RE2's, anchored at both ends, with Go's words for what is wrong.

Source: the wording of Go's `regexp/syntax`, which Prometheus passes on.
"""

import functools
from typing import Any

import re2

from kobs.errors import QuerySyntaxError
from kobs.query.promql.tree import Matcher, MatchOperator

LONGEST_PATTERN_CHARACTERS = 4096

_GO_WORDS = {
    "missing )": "missing closing )",
    "missing ]": "missing closing ]",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid repetition size": "invalid repeat count",
    "invalid perl operator": "invalid or unsupported Perl syntax",
}
"""Where RE2's library names an error by other words than Go."""


def check(matcher: Matcher) -> None:
    """Refuse a matcher whose pattern is wrong or too long.

    Raises: QuerySyntaxError.
    """
    place = {"start": matcher.start, "end": matcher.end}
    if len(matcher.value) > LONGEST_PATTERN_CHARACTERS:
        raise QuerySyntaxError(
            f"pattern of {len(matcher.value)} characters: the limit is {LONGEST_PATTERN_CHARACTERS}", **place
        )
    try:
        compiled(matcher.value)
    except re2.error as error:
        raise QuerySyntaxError(f"error parsing regexp: {_in_words_of_go(error)}", **place) from error


@functools.lru_cache(maxsize=256)
def compiled(pattern: str) -> Any:
    """Return what matches a pattern.

    Raises: re2.error.
    """
    options = re2.Options()
    options.log_errors = False
    options.dot_nl = True
    return re2.compile(pattern, options)


def matches(matcher: Matcher, value: str) -> bool:
    """Return whether a matcher takes a label's value, "" being that of a label that is not there."""
    match matcher.operator:
        case MatchOperator.EQUAL:
            return matcher.value == value
        case MatchOperator.NOT_EQUAL:
            return matcher.value != value
        case MatchOperator.REGEX:
            return compiled(matcher.value).fullmatch(value) is not None
        case MatchOperator.NOT_REGEX:
            return compiled(matcher.value).fullmatch(value) is None


def matches_empty(matcher: Matcher) -> bool:
    """Return whether a matcher takes series without its label."""
    return matches(matcher, "")


def _in_words_of_go(error: Exception) -> str:
    reason = error.args[0] if error.args else b""
    said = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
    if said.startswith("trailing \\"):
        return "trailing backslash at end of expression: ``"
    kind, separator, place = said.partition(": ")
    return f"{_GO_WORDS.get(kind, kind)}: `{place}`" if separator else said
