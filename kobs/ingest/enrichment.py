"""What many lines say of themselves: severities and trace ids of all bodies of a request at once.

In: bodies in their order. Out: for each what `kobs.ingest.parse` says of it. Most lines name no trace, and many lines
of text no severity: what they lack is found for all of them at once, and only the others are read one by one.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kobs.ingest.parse import KLOG_SEVERITIES, SCAN_BYTES, SEVERITIES, SEVERITY_WORDS, find_trace_ids, severity

WORDS = ("", *SEVERITIES)
"""Words of severities by their codes."""

_CODES = {word: code for code, word in enumerate(WORDS)}
# What is in every line that begins with a digit and has a severity: a word of `parse`'s, or a key of logfmt. Its
# letters in any case, because that costs nothing.
_SAYS_SEVERITY = (
    r"(?i)trace|trce|debug|dbug|dbg|fine|info|inf|notice|warn|wrn|err|severe|crit|fatal|alert|emerg|panic|verbose|fail"
    r"|log:|level=|lvl=|severity="
)
_LEVEL_KEY = b'"level"'
_AFTER_KEY = np.frombuffer(b':"', np.uint8)
_WINDOW = np.arange(8)
"""A word of up to seven bytes and the quote behind it are compared as one number."""


def _number(word: bytes) -> int:
    return int.from_bytes(word.ljust(8, b"\0"), "little")


_SHORT_WORDS = sorted((_number(word), _CODES[code]) for word, code in SEVERITY_WORDS.items() if len(word) < 8)
_WORD_NUMBERS = np.array([number for number, _ in _SHORT_WORDS], np.uint64)
_WORD_CODES = np.array([code for _, code in _SHORT_WORDS], np.int32)
_KLOG_CODES = np.zeros(256, np.int32)
for _letter, _word in KLOG_SEVERITIES.items():
    _KLOG_CODES[_letter[0]] = _CODES[_word]
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
    starts, ends = places[:-1].astype(np.int64), places[1:].astype(np.int64)
    first_bytes = text[np.minimum(starts, len(text) - 1)]
    is_asked = ends > starts
    for read in (_read_json, _read_klog):
        lines, found = read(text, starts, ends, first_bytes, column)
        codes[lines] = found
        is_asked[lines] = False
    numbered = np.flatnonzero(is_asked & (first_bytes >= ord("0")) & (first_bytes <= ord("9")))
    if len(numbered):
        heads = pc.binary_slice(column.take(pa.array(numbered)), 0, SCAN_BYTES)
        is_asked[numbered] = pc.match_substring_regex(heads, _SAYS_SEVERITY).to_numpy(zero_copy_only=False)
    asked = np.flatnonzero(is_asked)
    codes[asked] = [_CODES[severity(bodies[line])] for line in asked.tolist()]
    return codes


def _read_klog(
    text: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    first_bytes: NDArray[np.uint8],
    column: pa.Array,  # noqa: ARG001 - each of these functions takes the same
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return lines that begin as klog's do, `E1122 `, and their severities."""
    lines = np.flatnonzero((_KLOG_CODES[first_bytes] > 0) & (ends - starts >= 6))
    heads = text[starts[lines, None] + np.arange(1, 6)]
    digits = heads[:, :4] - np.uint8(ord("0"))
    lines = lines[(digits <= 9).all(axis=1) & (heads[:, 4] == ord(" "))]
    return lines, _KLOG_CODES[first_bytes[lines]]


def _read_json(
    text: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    first_bytes: NDArray[np.uint8],
    column: pa.Array,
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return JSON lines whose own first `level` is a short known word, and their severities."""
    lines = np.flatnonzero((first_bytes == ord("{")) & (ends > starts))
    if not len(lines):
        return lines, np.zeros(0, np.int32)
    keys = pc.find_substring(column.take(pa.array(lines)), _LEVEL_KEY).to_numpy(zero_copy_only=False)
    after = starts[lines] + keys + len(_LEVEL_KEY)
    # The window lies within the line, so that the next one is never read.
    chosen = (keys > 0) & (after + len(_AFTER_KEY) + len(_WINDOW) <= ends[lines])
    lines, after, at = lines[chosen], after[chosen], (starts[lines] + keys)[chosen]
    braces = np.append(np.flatnonzero(text == ord("{")), len(text))
    next_braces = braces[np.searchsorted(braces, starts[lines] + 1)]
    windows = text[after[:, None] + len(_AFTER_KEY) + _WINDOW]
    is_quote = windows == ord('"')
    sizes = is_quote.argmax(axis=1)
    windows[sizes[:, None] <= _WINDOW] = 0
    words = windows.view(np.uint64)[:, 0]
    places = np.minimum(np.searchsorted(_WORD_NUMBERS, words), len(_WORD_NUMBERS) - 1)
    known = (
        (text[after[:, None] + np.arange(2)] == _AFTER_KEY).all(axis=1)
        & (next_braces >= at)
        & is_quote.any(axis=1)
        & (_WORD_NUMBERS[places] == words)
    )
    return lines[known], _WORD_CODES[places[known]]


def trace_ids(bodies: Sequence[bytes]) -> list[str]:
    """Return the trace id that each body names, or an empty text."""
    ids = [""] * len(bodies)
    if not bodies:
        return ids
    found = find_trace_ids(_BETWEEN.join(bodies))
    ends = np.cumsum(np.fromiter(map(len, bodies), np.int64, len(bodies)) + len(_BETWEEN))
    lines = np.searchsorted(ends, [at for at, _ in found], side="right").tolist()
    for line, (_, digits) in zip(lines, found, strict=True):
        if not ids[line]:
            ids[line] = digits.decode("ascii")
    return ids
