"""A log filter outside the store: checked before it is sent, and applied to rows that a tail reads.

Both ways give the same entries as the engine does: tokens are runs of ASCII letters, digits and all bytes beyond ASCII;
case is that of ASCII letters; regular expressions are RE2's, where `.` matches line breaks too.
"""

import re
from collections.abc import Mapping
from typing import Any

import re2

from kobs.errors import QueryError, QuerySyntaxError
from kobs.model.log_filter import LogFilter
from kobs.model.scope import Scope, Signal
from kobs.storage.log_reads import LogRow

MOST_PATTERN_CHARACTERS = 4096

_SEPARATOR = re.compile(r"[\x00-/:-@\[-`{-\x7f]")


def check_token(token: str) -> None:
    """Refuse a token that is not one run of letters and digits.

    Raises: QueryError.
    """
    found = _SEPARATOR.search(token)
    if found is not None:
        raise QueryError(
            f"token={token[:100]!r}: {found.group()!r} ends a token, which is one run of letters and digits; "
            "ask for one of its parts, or for the whole with text=",
            start=found.start(),
            end=found.end(),
        )
    _check_length("token", token)


def check_text(text: str) -> None:
    """Refuse a text that is too long.

    Raises: QueryError.
    """
    _check_length("text", text)


def check_regex(pattern: str) -> None:
    """Refuse what is no regular expression of RE2.

    Raises: QuerySyntaxError, QueryError.
    """
    _check_length("regex", pattern)
    try:
        _compiled(pattern)
    except re2.error as error:
        reason = error.args[0] if error.args else b""
        said = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise QuerySyntaxError(
            f"regex={pattern[:100]!r}: expected a regular expression in RE2's syntax ({said})"
        ) from error


def _check_length(name: str, value: str) -> None:
    if not value:
        raise QueryError(f"{name}: expected some text, got nothing; leave the parameter out to match everything")
    if len(value) > MOST_PATTERN_CHARACTERS:
        raise QueryError(
            f"{name}: {len(value)} characters; the limit is {MOST_PATTERN_CHARACTERS}, ask for a part of it"
        )


class Matcher:
    """A reader's scope and filter, ready to be asked row by row."""

    def __init__(self, scope: Scope, wanted: LogFilter) -> None:
        self._scope = scope
        self._labels = wanted.sources.by_label()
        self._severities = frozenset(wanted.severities)
        self._text = wanted.text.encode()
        token = re.escape(wanted.token.encode().lower())
        self._token = re.compile(rb"(?<![0-9a-z\x80-\xff])" + token + rb"(?![0-9a-z\x80-\xff])") if token else None
        self._regex = _compiled(wanted.regex) if wanted.regex else None

    def takes_stream(self, row: LogRow, labels: Mapping[str, str]) -> bool:
        """Tell whether rows of this row's stream, which has these labels, may match at all."""
        scope = self._scope
        if Signal.LOGS not in scope.signals:
            return False
        if scope.clusters is not None and row.cluster not in scope.clusters:
            return False
        if scope.namespaces is not None and row.namespace not in scope.namespaces:
            return False
        own = {**labels, "cluster": row.cluster, "namespace": row.namespace}
        return all(own.get(name, "") in values for name, values in self._labels.items())

    def takes_row(self, row: LogRow) -> bool:
        """Tell whether a row of a stream that is taken matches."""
        if self._severities and row.severity not in self._severities:
            return False
        if self._text and self._text not in row.body:
            return False
        if self._token is not None and self._token.search(row.body.lower()) is None:
            return False
        return self._regex is None or self._regex.search(row.body) is not None


def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.dot_nl = True
    return re2.compile(pattern.encode(), options)
