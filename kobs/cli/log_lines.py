"""An entry as a line on a terminal, in a pipe or as JSON: what arrives is the server's JSON, what leaves are bytes.

On a terminal nothing that a log holds can act on it: control characters and bytes that are no text are shown as
escapes. In a pipe a line is exactly its bytes.
"""

import base64
import datetime as dt
import json
import re
from collections.abc import Mapping
from typing import Any

_COLOURS = {
    "fatal": "\x1b[1;31m",
    "critical": "\x1b[1;31m",
    "error": "\x1b[31m",
    "warn": "\x1b[33m",
    "warning": "\x1b[33m",
    "info": "\x1b[32m",
    "debug": "\x1b[2m",
    "trace": "\x1b[2m",
}
_DIM, _CYAN, _END = "\x1b[2m", "\x1b[36m", "\x1b[0m"
_ACTIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that move the cursor, change colours or the direction of text, and bytes that are none."""

Entry = Mapping[str, Any]


def as_json(entry: Entry) -> bytes:
    """Return an entry as one line of JSON."""
    return json.dumps(entry, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def as_bytes(entry: Entry) -> bytes:
    """Return an entry for a pipe: time in UTC, severity, place, and the exact bytes of its line."""
    seconds, nanoseconds = divmod(int(entry["time"]), 1_000_000_000)
    moment = dt.datetime.fromtimestamp(seconds, tz=dt.UTC)
    head = f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z {entry['severity'] or '-'} {_escaped(_place(entry))} "
    return head.encode("utf-8", "replace") + _body(entry) + b"\n"


def on_terminal(entry: Entry, *, in_colour: bool) -> bytes:
    """Return an entry for a person: local time, severity, place, line; further lines of it are indented."""
    seconds, nanoseconds = divmod(int(entry["time"]), 1_000_000_000)
    moment = dt.datetime.fromtimestamp(seconds, tz=dt.UTC).astimezone()
    time = f"{moment:%m-%d %H:%M:%S}.{nanoseconds // 1_000_000:03d}"
    severity = _escaped(str(entry["severity"]))
    place = _escaped(_place(entry))
    text = _escaped(_body(entry).decode("utf-8", "surrogateescape")).rstrip("\n").replace("\n", "\n    ")
    level = f"{severity[:5]:5}"
    if in_colour:
        time, place = f"{_DIM}{time}{_END}", f"{_CYAN}{place}{_END}"
        colour = _COLOURS.get(severity.lower())
        level = f"{colour}{level}{_END}" if colour is not None else level
    return f"{time} {level} {place} {text}\n".encode()


def _place(entry: Entry) -> str:
    """Return where an entry comes from: namespace/Pod/container, else node and file or unit."""
    labels = entry["labels"]
    names = ("namespace", "pod", "container") if "pod" in labels else ("node", "filename", "unit")
    return "/".join(value.lstrip("/") for name in names if (value := str(labels.get(name, "")))) or "-"


def _body(entry: Entry) -> bytes:
    encoded = entry.get("line_base64")
    return base64.b64decode(encoded) if encoded is not None else str(entry["line"]).encode("utf-8", "replace")


def _escaped(text: str) -> str:
    return _ACTIVE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found.group())
    if code >= 0xD800:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
