"""What this server was told of the agents' series: numbers arrive, slots of the series table leave.

A session that is not known as far as a frame counts on gives None, upon which its agent tells all series again. So
everything here may be forgotten, and beyond a number of series all of it is. All of it may be called from any thread.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from kobs.ingest.series_table import UNKNOWN, SeriesTable, Slots
from kobs.wire.samples import SampleRequest

MOST_SERIES = 2_000_000
"""Series in memory, of some 400 bytes each."""
MOST_SERIES_BYTES = 1024**3
"""Bytes of their label sets."""
MOST_SESSIONS = 10_000


@dataclass(frozen=True, slots=True)
class Series:
    """The series of one session: slots by number."""

    table: SeriesTable
    told: int
    """How many were told so far."""
    slots: Slots


class Sessions:
    """All sessions that this server knows, the most recently heard last, and the table of their series."""

    def __init__(self, *, most_series: int = MOST_SERIES) -> None:
        self._most_series = most_series
        self._table = SeriesTable()
        self._sessions: OrderedDict[str, Series] = OrderedDict()
        self._lock = threading.Lock()

    def table(self) -> SeriesTable:
        """Return the table for new series; one that has too many is left for a new one."""
        with self._lock:
            if len(self._table) >= self._most_series or self._table.size > MOST_SERIES_BYTES:
                self._table = SeriesTable()
                self._sessions.clear()
            return self._table

    def of(self, request: SampleRequest) -> Series | None:
        """Return the series of a frame's session with the frame's own; None if it was told less, or more."""
        table = self.table()
        with self._lock:
            known = self._sessions.get(request.session)
        if known is None or known.table is not table:
            known = Series(table, 0, np.empty(0, np.int32))
        # A frame that comes late counts on numbers that may mean other series by now.
        new = request.told + len(request.series) - known.told
        if request.told > known.told or new < 0:
            return None
        if new:
            known = _extended(known, request, new)
        with self._lock:
            self._sessions[request.session] = known
            self._sessions.move_to_end(request.session)
            while len(self._sessions) > MOST_SESSIONS:
                self._sessions.popitem(last=False)
        return known


def _extended(known: Series, request: SampleRequest, new: int) -> Series:
    """Return `known` with the last `new` series of a frame; those before them it has already."""
    numbers = np.array(request.numbers[-new:], np.int64)
    slots = np.array([known.table.register(key) for key in request.series[-new:]], np.int32)
    size = max(len(known.slots), int(numbers.max()) + 1)
    extended = np.full(size, UNKNOWN, np.int32)
    extended[: len(known.slots)] = known.slots
    extended[numbers] = slots
    return Series(known.table, known.told + new, extended)
