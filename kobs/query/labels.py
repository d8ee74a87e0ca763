"""Labels of streams, remembered: a stream's id is the hash of its labels, so that they never change."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

from kobs.model.scope import Scope
from kobs.storage import log_reads
from kobs.storage.clickhouse import Store
from kobs.storage.log_reads import LogRow

_MOST_STREAMS = 50_000


class StreamLabels:
    """Resolves the streams of rows to labels, from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._known: OrderedDict[int, dict[str, str]] = OrderedDict()

    def of_rows(self, scope: Scope, rows: Sequence[LogRow]) -> dict[int, dict[str, str]]:
        """Return the labels of the rows' streams; a stream that nobody registered has those that its rows tell."""
        told = {row.stream: row for row in rows}
        with self._lock:
            known = {stream: self._known[stream] for stream in told if stream in self._known}
        missing = told.keys() - known.keys()
        if missing:
            times = [row.time_ns for row in rows if row.stream in missing]
            found = log_reads.find_labels(self._store, scope, missing, first_ns=min(times), last_ns=max(times))
            with self._lock:
                self._known.update(found)
                while len(self._known) > _MOST_STREAMS:
                    self._known.popitem(last=False)
            known |= found
        for stream in told.keys() - known.keys():
            own = {"cluster": told[stream].cluster, "namespace": told[stream].namespace}
            known[stream] = {name: value for name, value in own.items() if value}
        return known
