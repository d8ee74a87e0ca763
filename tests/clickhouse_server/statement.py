"""One request's statement, taken apart as far as the engine's Python door needs it."""

import re
from dataclasses import dataclass

_SPACE = rb"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
_INSERT = re.compile(_SPACE + rb"INSERT\s+INTO\b", re.IGNORECASE | re.DOTALL)
# exactly one line end after the format's name, because the data may begin with one
_INSERT_FORMAT = re.compile(rb"(.*?)\bFORMAT\s+(\w+)(?:[ \t]*\r?\n|[ \t]*$|[ \t])", re.IGNORECASE | re.DOTALL)
_FORMAT = re.compile(rb"\bFORMAT\s+(\w+)\s*(?:\bSETTINGS\b.*)?;?\s*$", re.IGNORECASE | re.DOTALL)
_READS = re.compile(_SPACE + rb"(?:SELECT|WITH)\b", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class DataInsert:
    """An insert with its rows in a format: the statement up to FORMAT, the format, the rows' bytes."""

    head: str
    format: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Statement:
    """Any other statement, with the output format that it names itself."""

    text: str
    format: str | None
    reads: bool


def parse(query: bytes, body: bytes) -> DataInsert | Statement:
    """Return the statement of a request; its text is in the URL, the body, or begins in one and ends in the other."""
    text = query + b"\n" + body if query and body else query or body
    if _INSERT.match(text) is not None:
        found = _INSERT_FORMAT.match(text)
        if found is not None and found[2].upper() != b"VALUES":
            return DataInsert(found[1].decode(), found[2].decode(), text[found.end() :])
    named = _FORMAT.search(text)
    return Statement(
        text=text.decode(),
        format=named[1].decode() if named is not None else None,
        reads=_READS.match(text) is not None,
    )
