"""Where to cut a batch: pure decisions over the bytes that are there.

A cut never separates what will become one entry, unless waiting for the rest would take too long.
"""

import re

from kobs.wire.entries import open_from
from kobs.wire.ship import LineFormat

_CRI_TAG = re.compile(rb"^[^ \n]+ (stdout|stderr) ([PF])", re.MULTILINE)


def finished_to(data: bytes, *, format: LineFormat, start_pattern: str) -> int:  # noqa: A002 - the field's word
    """Return up to where entries are finished whatever comes next."""
    return open_from(data, format=format, start_pattern=start_pattern)


def complete_to(data: bytes, *, format: LineFormat) -> int:  # noqa: A002 - the field's word
    """Return up to where all lines are complete: no line without its newline, no partial line without its rest.

    A group of lines may be separated there; it is where to cut when its next line does not come.
    """
    end = data.rfind(b"\n") + 1
    if format is not LineFormat.CRI:
        return end
    pending: dict[bytes, int] = {}
    for found in _CRI_TAG.finditer(data, 0, end):
        stream, tag = found.groups()
        if tag == b"P":
            pending.setdefault(stream, found.start())
        else:
            pending.pop(stream, None)
    return min(pending.values(), default=end)


def lines_to(data: bytes) -> int:
    """Return up to where physical lines are complete; a partial line may be separated from its rest there."""
    return data.rfind(b"\n") + 1
