"""ClickHouse's errors as kobs's own, by what the caller does next.

What arrives is an engine's error code, name and text; what leaves is an error of `kobs.errors`. The text is shortened
to its first sentence and quoted values are left out of it, because statements and rows hold what users wrote.
"""

import errno
import re

from kobs.errors import ConfigError, KobsError, LimitError, RetryableError, StorageError

_MEMORY_LIMIT_EXCEEDED = 241
_TIMEOUT_EXCEEDED = 159
_TOO_MANY_PARTS = 252
_WRITTEN_BY_STATEMENTS = {
    395: "a condition of the statement failed",  # FUNCTION_THROW_IF_VALUE_IS_NON_ZERO
    457: "the value of a parameter is not of its type",  # BAD_QUERY_PARAMETER
}
"""Codes whose text is nothing but values, with what is said instead."""

_PASSING = {
    202: 1.0,  # TOO_MANY_SIMULTANEOUS_QUERIES
    203: 1.0,  # NO_FREE_CONNECTION
    209: 1.0,  # SOCKET_TIMEOUT
    210: 1.0,  # NETWORK_ERROR
    242: 5.0,  # TABLE_IS_READ_ONLY
    243: 10.0,  # NOT_ENOUGH_SPACE
    252: 5.0,  # TOO_MANY_PARTS: merges are behind
    279: 1.0,  # ALL_CONNECTION_TRIES_FAILED
    285: 1.0,  # TOO_FEW_LIVE_REPLICAS
    319: 1.0,  # UNKNOWN_STATUS_OF_INSERT
    425: 1.0,  # SYSTEM_ERROR
    999: 1.0,  # KEEPER_EXCEPTION
}
"""Codes of passing faults, with the seconds after which another try makes sense."""

_DISK_FULL = re.compile(rf"errno:? {errno.ENOSPC}\b|No space left on device")
_TEXT_OF_STATEMENT = re.compile(
    r"\b[Ii]n scope |\b[Ww]hile (?:executing|processing|reading|parsing|converting)|\(at row |\(query: |"
    r"\bSyntax error|\bRow \d+:|\bparsed text|\bBuffer |\bIn query |\n",
)
_CODE = re.compile(r"\bCode: (\d+)")
_PREFIX = re.compile(r"^.*?(?:Code: \d+\. DB::\w*Exception: )+", re.DOTALL)
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'")
_LONGEST_TEXT = 300


def from_engine(text: str, *, code: int | None, name: str | None, doing: str) -> KobsError:  # a return a kind of fault
    """Return the error for an engine's `code` and `name`; `doing` says in a few words what was tried.

    Without a code the statement did not reach an engine, or its answer did not come back: a passing fault.
    """
    said = f"{doing}: {_WRITTEN_BY_STATEMENTS.get(code or 0) or _harmless(text)}"
    if _DISK_FULL.search(text) is not None:
        return RetryableError(f"{doing}: the store's disk is full", retry_after_seconds=10.0)
    if code is None:
        return RetryableError(said)
    if code == _MEMORY_LIMIT_EXCEEDED:
        if "(total)" in text:
            return RetryableError(f"{said}; the engine as a whole is at its limit (embedded: storage.max_memory_bytes)")
        return LimitError(f"{said}; a statement may take half of storage.max_memory_bytes")
    if code == _TIMEOUT_EXCEEDED:
        return LimitError(f"{said}; the setting is storage.query_timeout_seconds")
    if code == _TOO_MANY_PARTS and "single INSERT block" in text:
        return LimitError(f"{said}; cut the insert into fewer partitions")
    if code in _PASSING:
        return RetryableError(said, retry_after_seconds=_PASSING[code])
    return StorageError(f"{said} ({name or 'UNKNOWN'}, code {code})", code=code, name=name or "UNKNOWN")


def from_opening(text: str, *, folder: str, locked: bool) -> KobsError:
    """Return the error for an embedded engine that does not open on `folder`; `locked`: another process has it.

    The engine writes its reason on standard error only; what it raises says little.
    """
    if locked:
        return ConfigError(
            f"storage.url: another kobs runs on the folder {folder}; stop it, or give this one another folder"
        )
    if "already initialized with path" in text:
        return ConfigError(f"storage.url: this process has an engine open on another folder than {folder}")
    found = _CODE.search(text)
    return from_engine(text, code=int(found[1]) if found is not None else 0, name=None, doing=f"open {folder}")


def _harmless(text: str) -> str:
    """Return the first sentence of an engine's text without statement and values."""
    said = _PREFIX.sub("", text)
    cut = _TEXT_OF_STATEMENT.search(said)
    if cut is not None and cut.start() > 0:
        said = said[: cut.start()]
    elif cut is not None:
        said = "the statement cannot be read"
    said = re.sub(r"\s*\([A-Z][A-Z0-9_]+\)\s*(?:\(version .*)?$", "", said)
    return _QUOTED.sub("'...'", said)[:_LONGEST_TEXT].rstrip(" .:,;")
