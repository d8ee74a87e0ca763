"""Registers the label sets of log rows, each once a day."""

from collections import OrderedDict
from collections.abc import Iterable

import pyarrow as pa

from kobs.errors import KobsError
from kobs.ingest.batches import BatchRows
from kobs.storage import log_writes
from kobs.storage.clickhouse import Store

_DAY_NS = 86_400_000_000_000
_MOST_SETS = 200_000


class LabelSets:
    """The label sets that one server has written, by day."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._written: OrderedDict[tuple[int, int], None] = OrderedDict()

    def register(self, batches: Iterable[BatchRows]) -> None:
        """Write label sets that this server has not written for their day yet."""
        rows: list[dict[str, object]] = []
        new: list[tuple[int, int]] = []
        for built in batches:
            source = built.stream.source
            for stream_id, labels in built.labels.items():
                for day in range(built.first_ns // _DAY_NS, built.last_ns // _DAY_NS + 1):
                    if (stream_id, day) in self._written:
                        continue
                    self._written[stream_id, day] = None
                    new.append((stream_id, day))
                    begin_ms = day * 86_400_000
                    rows.append(
                        {
                            "cluster": source.cluster,
                            "namespace": source.namespace,
                            "stream": stream_id,
                            "labels": list(labels.items()),
                            "day": day,
                            "first": begin_ms,
                            "last": begin_ms + 86_399_999,
                        }
                    )
        if not rows:
            return
        try:
            log_writes.write_streams(self._store, pa.Table.from_pylist(rows, schema=log_writes.STREAM_ROWS))
        except KobsError:
            for key in new:
                self._written.pop(key, None)
            raise
        while len(self._written) > _MOST_SETS:
            self._written.popitem(last=False)
