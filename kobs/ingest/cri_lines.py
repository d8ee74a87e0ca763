"""The CRI lines of many batches at once, as long as they are as runtimes write them and each is an entry of its own.

In: the bytes of a request, and where in them batches of CRI lines lie. Out: which of those batches consist of such
lines alone, and columns of their lines: what `kobs.wire.entries.split` gives for them, at a fraction of its cost.
Whatever is unusual about a line (a part of a longer one, an old form of a time, a stack trace, too many bytes) leaves
its whole batch to `split`, which alone says how such bytes become entries.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kobs.wire import cri
from kobs.wire.grouping import CANDIDATE_BYTES, is_candidate

_NEWLINE = 10
_TIME_BYTES = 29
"""`2026-11-22T10:15:00.` and nine digits."""
_TAGS = tuple(np.frombuffer(words, np.uint8) for words in (b" stdout F ", b" stderr F "))
_TAG_BYTES = 10
_FORM = np.frombuffer(b"0000-00-00T00:00:00.000000000", np.uint8)
_FREEDOM = np.where(_FORM == 48, 9, 0).astype(np.uint8)
"""How far beyond `_FORM` each byte of a time may be: digits up to 9, all others not at all."""
_MINUTE_DIGITS = np.array([0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15])
_MINUTE_WEIGHTS = 10 ** np.arange(11, -1, -1, dtype=np.int64)
_MINUTE_BYTES = 17
_SECOND = slice(17, 19)
_SECOND_WEIGHTS = np.array([10, 1], np.int64)
_FRACTION = slice(20, 29)
_FRACTION_WEIGHTS = 10 ** np.arange(8, -1, -1, dtype=np.int64)
_MAY_BE_CANDIDATE = np.zeros(256, bool)
_MAY_BE_CANDIDATE[[byte[0] for byte in CANDIDATE_BYTES]] = True
_NO_MOMENT = -(2**63)


@dataclass(frozen=True, slots=True)
class CriLines:
    """Columns, one value a line, in the order of the payload."""

    is_read: NDArray[np.bool_]
    """By batch: that all its lines are here. No line of any other batch is."""
    batches: NDArray[np.int64]
    """Index of the line's batch."""
    starts: NDArray[np.int64]
    """Place in the payload of the line's first byte."""
    body_starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    """Place of the line's newline: the end of its body."""
    times_ns: NDArray[np.int64]
    is_stderr: NDArray[np.bool_]


def read(payload: bytes, places: Sequence[tuple[int, int]], *, max_body_bytes: int) -> CriLines:
    """Return the lines of those batches of which each line is usual and an entry.

    `places` are the first byte and the end of each batch in the payload, in its order, none over another.
    """
    data = np.frombuffer(payload, np.uint8)
    begins, limits = np.array(places, np.int64).reshape(-1, 2).T
    is_read = limits > begins
    is_read[is_read] = data[limits[is_read] - 1] == _NEWLINE
    ends = np.flatnonzero(data == _NEWLINE)
    batches = np.searchsorted(limits, ends, side="right")
    inside = batches < len(begins)
    inside[inside] = ends[inside] >= begins[batches[inside]]
    if not inside.all():
        ends, batches = ends[inside], batches[inside]
    starts = np.zeros_like(ends)
    starts[1:] = ends[:-1] + 1
    starts = np.maximum(starts, begins[batches])

    zones = [_zone(payload[begin + _TIME_BYTES : begin + _TIME_BYTES + 6]) for begin in begins]
    head_sizes = np.array([_TIME_BYTES + len(zone) + _TAG_BYTES for zone in zones], np.int64)
    body_starts = starts + head_sizes[batches] if len(batches) else starts
    times_ns = np.zeros(len(ends), np.int64)
    is_stderr = np.zeros(len(ends), bool)
    is_usual = (body_starts <= ends) & (ends - body_starts <= max_body_bytes)
    for zone in set(zones):
        of_zone = np.array([each == zone for each in zones])
        lines = np.flatnonzero(is_usual if of_zone.all() else is_usual & of_zone[batches])
        if len(lines):
            heads = np.lib.stride_tricks.sliding_window_view(data, _TIME_BYTES + len(zone) + _TAG_BYTES)[starts[lines]]
            times_ns[lines], is_stderr[lines], is_usual[lines] = _read_heads(heads, zone)
    is_read[batches[~is_usual]] = False
    first_bytes = data[np.minimum(body_starts, len(data) - 1)]
    for line in np.flatnonzero(_MAY_BE_CANDIDATE[first_bytes] & is_read[batches]).tolist():
        batch = batches[line]
        if is_read[batch] and is_candidate(payload, int(body_starts[line]), int(ends[line])):
            is_read[batch] = False
    kept = is_read[batches]
    if kept.all():
        return CriLines(is_read, batches, starts, body_starts, ends, times_ns, is_stderr)
    return CriLines(
        is_read, batches[kept], starts[kept], body_starts[kept], ends[kept], times_ns[kept], is_stderr[kept]
    )


def _zone(text: bytes) -> bytes:
    """Return the zone that a batch's lines have, as its first line tells; that of nearly all where it is none."""
    return text if text[:1] in b"+-" and cri.is_zone(text) else b"Z"


def _read_heads(
    heads: NDArray[np.uint8], zone: bytes
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return times, whether standard error, and whether a line is usual (if not, its other values mean nothing)."""
    digits = heads[:, :_TIME_BYTES] - _FORM
    is_usual = (digits <= _FREEDOM).all(axis=1)
    is_usual &= (heads[:, _TIME_BYTES : _TIME_BYTES + len(zone)] == np.frombuffer(zone, np.uint8)).all(axis=1)
    is_stdout, is_stderr = ((heads[:, -_TAG_BYTES:] == words).all(axis=1) for words in _TAGS)
    is_usual &= is_stdout | is_stderr
    minutes = digits[:, _MINUTE_DIGITS] @ _MINUTE_WEIGHTS
    seconds = digits[:, _SECOND] @ _SECOND_WEIGHTS
    # Lines of a container come in the order of their times: a few runs of minutes.
    firsts = np.flatnonzero(np.concatenate([[True], minutes[1:] != minutes[:-1]]))
    texts = [heads[first, :_MINUTE_BYTES].tobytes() for first in firsts]
    starts_ns = np.array([_minute_ns(text, zone) for text in texts], np.int64)
    minutes_ns = np.repeat(starts_ns, np.diff(firsts, append=len(minutes)))
    is_usual &= (seconds < 60) & (minutes_ns != _NO_MOMENT)
    times_ns = minutes_ns + seconds * 1_000_000_000 + digits[:, _FRACTION] @ _FRACTION_WEIGHTS
    return times_ns, is_stderr, is_usual


@functools.lru_cache(maxsize=10_000)
def _minute_ns(text: bytes, zone: bytes) -> int:
    """Return the beginning of a minute (`YYYY-MM-DDTHH:MM:`) as ns UTC; `_NO_MOMENT` if no calendar has it."""
    found = cri.moment_ns(text + b"00", zone)
    return _NO_MOMENT if found is None else found
