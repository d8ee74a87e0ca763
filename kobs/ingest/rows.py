"""From batches to rows: bytes of segments arrive, columns of the table `logs` leave, each batch's in their order.

Each byte of a batch ends in exactly one row, or in a drop that is returned beside the rows with its bytes and reason.
The same batch gives the same rows, whenever it comes and whatever comes with it: nothing here reads a clock. The
batches of a request are taken together, because most of what is to be said of a line costs less for all lines at once;
a batch with anything unusual in it is read alone.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import re2
from numpy.typing import NDArray

from kobs.config import StorageSettings
from kobs.errors import RejectedError
from kobs.ingest import enrichment
from kobs.ingest.batches import BatchRows, Placed
from kobs.ingest.entry_rows import EntryRows
from kobs.ingest.usual_rows import UsualRows, read_usual
from kobs.storage.log_writes import LOG_ROWS

_DAY_NS = 86_400_000_000_000


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a request's batches: LOG_ROWS, which of them each batch has, and which batches were refused."""

    table: pa.Table
    batches: list[BatchRows]
    refused: list[tuple[Placed, RejectedError]]

    def without(self, present: set[tuple[int, int, int]], doubtful: Sequence[BatchRows]) -> pa.Table:
        """Return the rows but for those of doubtful batches whose (source, segment, offset) is present."""
        keep = np.ones(self.table.num_rows, bool)
        for rows in doubtful:
            part = self.table.slice(rows.first, rows.end - rows.first)
            positions = zip(*(part[name].to_pylist() for name in ("source", "segment", "offset")), strict=True)
            keep[rows.first : rows.end] = [position not in present for position in positions]
        return self.table if keep.all() else self.table.filter(pa.array(keep))


class RowBuilder:
    """Turns batches into rows, with the server's settings."""

    def __init__(self, storage: StorageSettings, *, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self.keep_days = keep_days_of(storage)

    def build(self, payload: bytes, batches: Sequence[Placed], *, attempt: int, today: int) -> Rows:
        """Return the rows of batches, given in the order of their bytes.

        `today` is the present day since 1970, by which expired entries are left out. A batch with a start pattern that
        is none is refused, and has no rows.
        """
        most = self._max_body_bytes

        def oldest_ns(placed: Placed) -> int:
            return (today - self.keep_days(placed.stream.source.namespace)) * _DAY_NS

        usual, rest = read_usual(payload, batches, oldest_ns=oldest_ns, max_body_bytes=most)
        others = EntryRows()
        built = list(usual.rows)
        refused: list[tuple[Placed, RejectedError]] = []
        for placed in rest:
            oldest = oldest_ns(placed)
            try:
                built.append(others.add(payload, placed, before=usual.count, oldest_ns=oldest, max_body_bytes=most))
            except RejectedError as error:
                refused.append((placed, error))
        return Rows(self._table(usual, others, built, attempt=attempt), built, refused)

    def _table(self, usual: UsualRows, others: EntryRows, batches: list[BatchRows], *, attempt: int) -> pa.Table:
        """Return all rows as they are inserted: those of usual lines, then those of the other batches."""
        body_column = pa.concat_arrays([usual.bodies, pa.array(others.bodies, pa.binary())])
        bodies = enrichment.Bodies.of(body_column)
        severities = enrichment.severity_codes(bodies)
        for line, word in enumerate(others.severities, usual.count):
            if word:
                severities[line] = enrichment.WORDS.index(word)
        sources = [rows.stream.source for rows in batches]
        owners = np.repeat(np.arange(len(batches)), [rows.end - rows.first for rows in batches])

        def of_batches(values: list[int], kind: type[np.generic]) -> pa.Array:
            return pa.array(np.array(values, kind)[owners])

        def of_lines(some: NDArray[Any], rest: list[int], kind: type[np.generic]) -> pa.Array:
            return pa.array(np.concatenate([some.astype(kind), np.array(rest, kind)]))

        nothing = np.zeros(usual.count, np.int64)
        arrays = [
            of_lines(usual.times_ns, others.times_ns, np.int64).view(pa.timestamp("ns", "UTC")),
            _words([source.cluster for source in sources], owners),
            _words([source.namespace for source in sources], owners),
            of_lines(usual.streams, others.streams, np.uint64),
            pa.DictionaryArray.from_arrays(pa.array(severities), pa.array(enrichment.WORDS, pa.string())),
            enrichment.trace_ids(bodies),
            body_column,
            of_batches([rows.source for rows in batches], np.uint64),
            of_lines(usual.segments, others.segments, np.int64),
            of_lines(usual.offsets, others.offsets, np.uint64),
            of_lines(usual.sizes, others.sizes, np.uint32),
            of_lines(nothing, others.tail_segments, np.int64),
            of_lines(nothing, others.tail_sizes, np.uint32),
            pa.array(np.full(len(bodies), attempt & 0xFF, np.uint8)),
            of_batches([self.keep_days(source.namespace) for source in sources], np.uint16),
        ]
        return pa.Table.from_arrays(arrays, schema=LOG_ROWS)


def _words(values: list[str], owners: NDArray[np.int64]) -> pa.Array:
    """Return a column of few different values as the engine takes it fastest."""
    codes = {word: code for code, word in enumerate(dict.fromkeys(values))}
    indices = np.array([codes[value] for value in values], np.int32)[owners]
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), pa.array(list(codes), pa.string()))


def keep_days_of(storage: StorageSettings) -> Callable[[str], int]:
    """Return the function from a namespace to the days that its logs are kept."""
    rules = [(re2.compile(rule.namespace), rule.days) for rule in storage.keep]

    @functools.lru_cache(maxsize=10_000)
    def days(namespace: str) -> int:
        return next((days for pattern, days in rules if pattern.fullmatch(namespace) is not None), storage.keep_days)

    return days
