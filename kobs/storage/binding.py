"""Parameters and settings of a statement, checked and brought into the one form that both kinds of client leave alone.

A value never becomes part of a statement's text: parameters are bound by the engine.
"""

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any

from kobs.errors import StorageError

_SETTING_NAME = re.compile(r"[a-z_][a-z0-9_]*")


def with_comment(settings: Mapping[str, object] | None, comment: str) -> dict[str, object]:
    """Return the settings of a statement that `comment` marks, if it is not empty."""
    return {**(settings or {}), **({"log_comment": comment} if comment else {})}


def settings_clause(settings: Mapping[str, object]) -> str:
    """Return settings as the clause after FORMAT, which is the whole statement's, whatever its selects say."""
    for name in settings:
        if _SETTING_NAME.fullmatch(name) is None:
            raise StorageError(f"{name!r} is no name of a setting", code=115, name="UNKNOWN_SETTING")
    return (
        " SETTINGS " + ", ".join(f"{name} = {_quoted(value)}" for name, value in settings.items()) if settings else ""
    )


def _quoted(value: object) -> str:
    text = str(int(value)) if isinstance(value, bool) else str(value)
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def checked_parameters(sql: str, parameters: Mapping[str, object] | None) -> dict[str, Any] | None:
    """Return the parameters as the client takes them.

    Raises: StorageError if one has no place `{name:Type}` in the text, where the client would write values into the
        text itself, or cannot be bound.
    """
    checked: dict[str, Any] = {}
    for name, value in (parameters or {}).items():
        if re.search(rf"\{{\s*{re.escape(name)}\s*:", sql) is None:
            raise StorageError(f"parameter {name}: no place in the text", code=456, name="UNKNOWN_QUERY_PARAMETER")
        checked[name] = _checked_value(name, value)
    return checked or None


def _checked_value(name: str, value: object) -> object:
    """Return a parameter's value in a form that the client leaves as it is."""
    if isinstance(value, Mapping | bytes):
        hint = "bind two arrays and use mapFromArrays" if isinstance(value, Mapping) else "bind hex and use unhex"
        message = f"parameter {name}: a {type(value).__name__} cannot be bound; {hint}"
        raise StorageError(message, code=36, name="BAD_ARGUMENTS")
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            raise StorageError(f"parameter {name}: a time without a zone", code=36, name="BAD_ARGUMENTS")
        # the client would cut a datetime to whole seconds
        return value.astimezone(dt.UTC).replace(tzinfo=None).isoformat(sep=" ")
    if isinstance(value, list | tuple | frozenset | set):
        return [_checked_value(name, item) for item in value]
    return value
