"""What many lines say of themselves: severities and trace ids of all bodies of a request at once.

In: bodies in their order. Out: for each what `kobs.ingest.parse` says of it. Most lines name no trace, and many lines
of text no severity: what they lack is found for all of them at once, and only the others are read one by one.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kobs.ingest.parse import SCAN_BYTES, SEVERITIES, find_trace_ids, severity

WORDS = ("", *SEVERITIES)
"""Words of severities by their codes."""

_CODES = {word: code for code, word in enumerate(WORDS)}
# What is in every line that begins with a digit and has a severity: a word of `parse`'s, or a key of logfmt. Its
# letters in any case, because that costs nothing.
_SAYS_SEVERITY = (
    r"(?i)trace|trce|debug|dbug|dbg|fine|info|inf|notice|warn|wrn|err|severe|crit|fatal|alert|emerg|panic|verbose|fail"
    r"|log:|level=|lvl=|severity="
)
_BETWEEN = b"\n\0"
"""Lies between bodies that are searched as one text: no name of a trace goes over it or begins with it."""


def severity_codes(bodies: Sequence[bytes], column: pa.Array) -> NDArray[np.int32]:
    """Return the severity of each body as its place in `WORDS`. `column` holds the bodies too, as `pa.binary()`."""
    codes = np.zeros(len(bodies), np.int32)
    _, offsets, data = column.buffers()
    if not data:
        return codes
    places = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(bodies) + 1]
    text = np.frombuffer(data, np.uint8)
    first_bytes = text[np.minimum(places[:-1], len(text) - 1)]
    is_asked = places[1:] > places[:-1]
    numbered = np.flatnonzero(is_asked & (first_bytes >= ord("0")) & (first_bytes <= ord("9")))
    if len(numbered):
        heads = pc.binary_slice(column.take(pa.array(numbered)), 0, SCAN_BYTES)
        is_asked[numbered] = pc.match_substring_regex(heads, _SAYS_SEVERITY).to_numpy(zero_copy_only=False)
    asked = np.flatnonzero(is_asked)
    codes[asked] = [_CODES[severity(bodies[line])] for line in asked.tolist()]
    return codes


def trace_ids(bodies: Sequence[bytes]) -> list[str]:
    """Return the trace id that each body names, or an empty text."""
    ids = [""] * len(bodies)
    if not bodies:
        return ids
    found = list(find_trace_ids(_BETWEEN.join(bodies)))
    ends = np.cumsum(np.fromiter(map(len, bodies), np.int64, len(bodies)) + len(_BETWEEN))
    lines = np.searchsorted(ends, [at for at, _ in found], side="right").tolist()
    for line, (_, digits) in zip(lines, found, strict=True):
        if not ids[line]:
            ids[line] = digits
    return ids
