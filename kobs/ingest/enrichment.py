"""What many lines say of themselves: severities and trace ids of all bodies of a request at once.

In: bodies in their order. Out: for each what `kobs.ingest.parse` says of it. Most lines name no trace, and many lines
of text no severity: what they lack is found for all of them at once, and only the others are read one by one.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kobs.ingest.parse import (
    KLOG_SEVERITIES,
    SCAN_BYTES,
    SEVERITIES,
    SEVERITY_WORDS,
    TRACE_LOOKS_BACK,
    TRACE_SIGNS,
    severity,
    trace_id,
)

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


@dataclass(frozen=True, slots=True)
class Bodies:
    """Bodies in one text, as columns lay them: that of a number is from its start to its end."""

    column: pa.Array
    text: NDArray[np.uint8]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, column: pa.Array) -> "Bodies":
        """Return the bodies of a column of `pa.binary()`."""
        _, offsets, data = column.buffers()
        if not data:
            return cls(column, np.zeros(1, np.uint8), *np.zeros((2, len(column)), np.int64))
        places = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1].astype(np.int64)
        return cls(column, np.frombuffer(data, np.uint8), places[:-1], places[1:])

    def __len__(self) -> int:
        return len(self.starts)

    def some(self, lines: NDArray[np.int64]) -> Iterator[bytes]:
        """Yield the bodies of some numbers."""
        text = self.text.data
        for start, end in zip(self.starts[lines].tolist(), self.ends[lines].tolist(), strict=True):
            yield bytes(text[start:end])

    def first_bytes(self) -> NDArray[np.uint8]:
        """Return the first byte of each; of an empty one any."""
        return self.text[np.minimum(self.starts, len(self.text) - 1)]

    def places_of(self, word: bytes) -> NDArray[np.int64]:
        """Return where in the text a word of two bytes and more is, also where it goes over the end of a body."""
        size = max(len(self.text) - len(word) + 1, 0)
        places = np.flatnonzero((self.text[:size] == word[0]) & (self.text[1 : size + 1] == word[1]))
        for at in range(2, len(word)):
            places = places[self.text[places + at] == word[at]]
        return places


def severity_codes(bodies: Bodies) -> NDArray[np.int32]:
    """Return the severity of each body as its place in `WORDS`."""
    codes = np.zeros(len(bodies), np.int32)
    is_asked = bodies.ends > bodies.starts
    if not is_asked.any():
        return codes
    first_bytes = bodies.first_bytes()
    for read in (_read_json, _read_klog):
        lines, found = read(bodies, first_bytes)
        codes[lines] = found
        is_asked[lines] = False
    numbered = np.flatnonzero(is_asked & (first_bytes >= ord("0")) & (first_bytes <= ord("9")))
    if len(numbered):
        heads = pc.binary_slice(bodies.column.take(pa.array(numbered)), 0, SCAN_BYTES)
        is_asked[numbered] = pc.match_substring_regex(heads, _SAYS_SEVERITY).to_numpy(zero_copy_only=False)
    asked = np.flatnonzero(is_asked)
    codes[asked] = [_CODES[severity(body)] for body in bodies.some(asked)]
    return codes


def trace_ids(bodies: Bodies) -> pa.Array:
    """Return the trace id that each body names, or an empty text."""
    ids: dict[int, str] = {}
    text = bodies.text.data
    for sign, id_at in TRACE_SIGNS.items():
        places = bodies.places_of(sign)
        lines = np.searchsorted(bodies.ends, places, side="right")
        inside = lines < len(bodies)
        places, lines = places[inside], lines[inside]
        starts, ends = bodies.starts[lines].tolist(), bodies.ends[lines].tolist()
        for line, at, start, end in zip(lines.tolist(), places.tolist(), starts, ends, strict=True):
            if at < start or line in ids:
                continue
            # So near its beginning, what is before the body would be looked at.
            is_near = at < start + TRACE_LOOKS_BACK
            found = trace_id(bytes(text[start:end])) if is_near else id_at(text, at, end)
            if found:
                ids[line] = found
    named = sorted(ids)
    sizes = np.zeros(len(bodies) + 1, np.int32)
    sizes[np.array(named, np.int64) + 1] = [len(ids[line]) for line in named]
    content = "".join([ids[line] for line in named]).encode("ascii")
    return pa.StringArray.from_buffers(
        len(bodies), pa.py_buffer(np.cumsum(sizes, dtype=np.int32)), pa.py_buffer(content)
    )


def _read_klog(bodies: Bodies, first_bytes: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return lines that begin as klog's do, `E1122 `, and their severities."""
    lines = np.flatnonzero((_KLOG_CODES[first_bytes] > 0) & (bodies.ends - bodies.starts >= 6))
    heads = bodies.text[bodies.starts[lines, None] + np.arange(1, 6)]
    digits = heads[:, :4] - np.uint8(ord("0"))
    lines = lines[(digits <= 9).all(axis=1) & (heads[:, 4] == ord(" "))]
    return lines, _KLOG_CODES[first_bytes[lines]]


def _read_json(bodies: Bodies, first_bytes: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return JSON lines whose own first `level` is a short known word, and their severities."""
    text, starts, ends = bodies.text, bodies.starts, bodies.ends
    lines = np.flatnonzero((first_bytes == ord("{")) & (ends > starts))
    if not len(lines):
        return lines, np.zeros(0, np.int32)
    keys = pc.find_substring(bodies.column.take(pa.array(lines)), _LEVEL_KEY).to_numpy(zero_copy_only=False)
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
