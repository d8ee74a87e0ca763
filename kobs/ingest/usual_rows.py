"""Rows of the batches in which every line is usual: all their lines at once, a column at a time.

A request's payload and its batches arrive; columns of rows leave, in the order of the bytes, and which batches are left
to `kobs.ingest.entry_rows`. Those give the same rows for any batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kobs.ingest import cri_lines
from kobs.ingest.batches import EARLIEST_NS, LATEST_AHEAD_NS, BatchRows, Placed, describe
from kobs.ingest.cri_lines import CriLines
from kobs.wire.ship import LineFormat


@dataclass(frozen=True, slots=True)
class UsualRows:
    """Columns of the usual lines of some batches; such a line has no tail."""

    rows: list[BatchRows]
    times_ns: NDArray[np.int64]
    streams: NDArray[np.uint64]
    bodies: pa.Array
    segments: NDArray[np.int64]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @property
    def count(self) -> int:
        """How many rows they are."""
        return len(self.bodies)

    @classmethod
    def empty(cls) -> "UsualRows":
        """Return no rows."""
        none = np.zeros(0, np.int64)
        return cls([], none, none.astype(np.uint64), pa.array([], pa.binary()), none, none, none)


def read_usual(
    payload: bytes, batches: Sequence[Placed], *, oldest_ns: Callable[[Placed], int], max_body_bytes: int
) -> tuple[UsualRows, list[Placed]]:
    """Return the rows of batches with usual lines only, and the other batches.

    `oldest_ns` tells the time before which a batch's lines are expired: a batch with such lines is left too.
    """
    chosen = [each for each in batches if _is_plain_cri(each)]
    if not chosen:
        return UsualRows.empty(), list(batches)
    places = [(each.at, each.at + each.batch.length) for each in chosen]
    lines = cri_lines.read(payload, places, max_body_bytes=max_body_bytes)
    usual = _rows(payload, chosen, lines, oldest_ns=oldest_ns)
    read = {rows.placed.index for rows in usual.rows}
    return usual, [each for each in batches if each.index not in read]


def _is_plain_cri(placed: Placed) -> bool:
    """Tell whether a batch may consist of lines that are entries: no pattern joins them, no rotation parts them."""
    stream, batch = placed.stream, placed.batch
    return stream.format is LineFormat.CRI and not stream.start_pattern and not batch.tail_end and batch.length > 0


def _rows(payload: bytes, chosen: list[Placed], lines: CriLines, *, oldest_ns: Callable[[Placed], int]) -> UsualRows:
    """Return the columns of usual lines, but of batches in which some are expired: these are read alone."""
    read_ns = np.array([each.batch.read_ns for each in chosen], np.int64)[lines.batches]
    is_sane = (lines.times_ns >= EARLIEST_NS) & (lines.times_ns <= read_ns + LATEST_AHEAD_NS)
    times_ns = np.where(is_sane, lines.times_ns, read_ns)
    limits_ns = np.array([oldest_ns(each) for each in chosen], np.int64)[lines.batches]
    kept: slice | NDArray[np.bool_] = slice(None)
    expired = np.unique(lines.batches[times_ns < limits_ns])
    if len(expired):
        kept = ~np.isin(lines.batches, expired)
    batches, times_ns, is_stderr = lines.batches[kept], times_ns[kept], lines.is_stderr[kept]
    starts, ends = lines.starts[kept], lines.ends[kept]
    body_starts = lines.body_starts[kept]

    described = [describe(each.stream) for each in chosen]
    ids = np.array([[number for number, _ in each.streams] for each in described], np.uint64)
    shift = np.array([each.batch.start - each.at for each in chosen], np.int64)
    segments = np.array([each.batch.segment for each in chosen], np.int64)
    firsts = np.flatnonzero(np.diff(batches, prepend=-1))
    limits = np.append(firsts[1:], len(batches))
    rows: list[BatchRows] = []
    if len(firsts):
        lowest = np.minimum.reduceat(times_ns, firsts).tolist()
        highest = np.maximum.reduceat(times_ns, firsts).tolist()
        errors = np.add.reduceat(is_stderr.astype(np.int64), firsts).tolist()
        for which, first, end, first_ns, last_ns, stderr in zip(
            batches[firsts].tolist(), firsts.tolist(), limits.tolist(), lowest, highest, errors, strict=True
        ):
            streams = described[which].streams
            used = streams if 0 < stderr < end - first else streams[stderr > 0 :][:1]
            placed, source = chosen[which], described[which].source
            rows.append(BatchRows(placed, source, first, end, first_ns, last_ns, [], dict(used), malformed=0))
    return UsualRows(
        rows=rows,
        times_ns=times_ns,
        streams=ids[batches, is_stderr.astype(np.int64)],
        bodies=_cut(payload, body_starts, ends),
        segments=segments[batches],
        offsets=starts + shift[batches],
        sizes=ends - starts + 1,
    )


def _cut(payload: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> pa.Array:
    """Return pieces of a payload that follow one another as one column."""
    if not len(starts):
        return pa.array([], pa.binary())
    # Pieces and what is between them, in turns.
    bounds = np.stack([starts, ends], axis=1).ravel().astype(np.int32)
    all_pieces = pa.Array.from_buffers(
        pa.binary(), len(bounds) - 1, [None, pa.py_buffer(bounds), pa.py_buffer(payload)]
    )
    return all_pieces.take(pa.array(np.arange(0, len(bounds) - 1, 2)))
