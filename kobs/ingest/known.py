"""Up to where this server knows segments to be delivered, and with that which batches may have been stored before.

A batch is doubtful, and is looked up by its rows, if it is marked as a retry, if its segment is new to this server, or
if it begins below what is known to be delivered: a request that was given up may come late, after others of its source.
What is known here only saves look-ups: forgetting it is never wrong.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kobs import telemetry
from kobs.ingest.batches import BatchRows
from kobs.model.scope import Scope
from kobs.storage import log_writes
from kobs.storage.clickhouse import Store
from kobs.storage.log_writes import Reach

_MOST_SOURCES = 200_000
_MOST_SEGMENTS = 4

_looked_up = telemetry.counter("kobs_ingest_log_lookups_total", "Batches that were looked up by their rows.")
_present = telemetry.counter("kobs_ingest_log_present_rows_total", "Rows of batches that were in the store already.")


@dataclass(slots=True)
class _Segments:
    """The latest segments of a source, and up to where each is delivered."""

    stored_to: dict[int, int] = field(default_factory=dict)

    def learn(self, segment: int, reached: int) -> None:
        """Take note of a segment as the latest."""
        self.stored_to[segment] = max(self.stored_to.pop(segment, 0), reached)

    def trim(self) -> None:
        """Forget the segments that were noted longest ago."""
        while len(self.stored_to) > _MOST_SEGMENTS:
            del self.stored_to[next(iter(self.stored_to))]


class Known:
    """What one server knows of the sources that it has seen."""

    def __init__(self, store: Store, *, scope: Scope) -> None:
        self._store = store
        self._scope = scope
        self._sources: OrderedDict[int, _Segments] = OrderedDict()

    def ask_ledger(self, batches: Sequence[BatchRows]) -> dict[tuple[int, int], int]:
        """Return what the ledger says of segments that this server sees for the first time, by (source, segment).

        It is remembered with the batches, once they are stored.
        """
        new = {(source, segment) for source, segment, _ in _ends(batches) if self._reached(source, segment) is None}
        if not new:
            return {}
        found = log_writes.find_segments(self._store, self._scope, sorted({source for source, _ in new}))
        reached = {(each.source, each.segment): each.delivered for each in found}
        return {key: reached.get(key, 0) for key in new}

    def look_up(self, batches: Sequence[BatchRows]) -> tuple[list[BatchRows], set[tuple[int, int, int]]]:
        """Return the doubtful batches, and the (source, segment, offset) of what the store has within their reach."""
        doubtful = [rows for rows in batches if rows.end > rows.first and self._is_doubtful(rows)]
        if not doubtful:
            return [], set()
        _looked_up.inc(len(doubtful))
        return doubtful, log_writes.find_positions(self._store, self._scope, reach(doubtful))

    def remember(self, asked: Mapping[tuple[int, int], int], batches: Sequence[BatchRows]) -> None:
        """Take note of what the ledger said, and of batches that are stored now."""
        for (source, segment), reached in asked.items():
            self._sources.setdefault(source, _Segments()).learn(segment, reached)
        for source, segment, end in _ends(batches):
            self._sources.setdefault(source, _Segments()).learn(segment, end)
            self._sources.move_to_end(source)
        # Not before all of them are noted: one that is forgotten in between would be known again by a lower end only,
        # and a late batch beyond that end would not be looked up.
        for source in {rows.source for rows in batches}:
            self._sources[source].trim()
        while len(self._sources) > _MOST_SOURCES:
            self._sources.popitem(last=False)

    def forget(self, source: int) -> None:
        """Know nothing of a source any more."""
        self._sources.pop(source, None)

    def _is_doubtful(self, rows: BatchRows) -> bool:
        reached = self._reached(rows.source, rows.batch.segment)
        return rows.batch.retry or reached is None or rows.batch.start < reached

    def _reached(self, source: int, segment: int) -> int | None:
        segments = self._sources.get(source)
        return None if segments is None else segments.stored_to.get(segment)


def count_present(rows: int) -> None:
    """Count rows that were left out because the store had them."""
    _present.inc(rows)


def reach(batches: Sequence[BatchRows]) -> Reach:
    """Return where rows of some batches can lie."""
    return Reach(
        sources=tuple(sorted({rows.source for rows in batches})),
        namespaces=tuple(sorted({rows.stream.source.namespace for rows in batches})),
        first_ns=min(rows.first_ns for rows in batches),
        last_ns=max(rows.last_ns for rows in batches),
    )


def _ends(batches: Sequence[BatchRows]) -> Iterator[tuple[int, int, int]]:
    """Yield source, segment and end of what batches cover."""
    for rows in batches:
        batch = rows.batch
        if batch.end:
            yield rows.source, batch.segment, batch.end
        if batch.tail_end:
            yield rows.source, batch.tail_segment, batch.tail_end
