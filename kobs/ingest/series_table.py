"""The series that this server has seen of late, each once, whoever sends it.

A series has a *slot*: a place in columns that say its id, its metric and for which days it is written to the store. So
samples become rows by taking from columns, and no sample costs a step of its own. A series that is not allowed has no
slot but a negative number that says why. A table that has too many series is replaced by an empty one: what was
remembered is registered and written again, which changes nothing in the store.

All of it may be called from any thread.
"""

import threading
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kobs.ingest.limits import Reason
from kobs.model.labels import METRIC_NAME, series_id

MOST_LABELS = 128
LONGEST_NAME_BYTES = 1024
LONGEST_VALUE_BYTES = 16 * 1024

DAY_MS = 86_400_000

Slots = npt.NDArray[np.int32]
SlotDay = tuple[int, int]
"""A slot, and a day since 1970 (UTC) on which its series has samples."""

_FAULTS = (
    Reason.UNKNOWN_SERIES,
    Reason.LABELS_TOO_MANY,
    Reason.LABEL_NAME_INVALID,
    Reason.LABEL_TOO_LONG,
    Reason.LABELS_MALFORMED,
    Reason.LABELS_NOT_UTF8,
    Reason.ID_COLLISION,
)
UNKNOWN = -1
"""In place of a slot: nobody has said which series this is."""
MALFORMED = -1 - _FAULTS.index(Reason.LABELS_MALFORMED)
TOO_MANY = -1 - _FAULTS.index(Reason.LABELS_TOO_MANY)
NOT_UTF8 = -1 - _FAULTS.index(Reason.LABELS_NOT_UTF8)

_MOST_OTHER_DAYS = 1_000_000


def fault_of(slot: int) -> Reason:
    """Return why a series has no slot."""
    return _FAULTS[-1 - slot]


class SeriesTable:
    """The columns, by slot."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: dict[int, int] = {}
        self._series: list[bytes] = []
        self._codes: dict[str, int] = {}
        self._metrics: list[str] = []
        self._fps = np.zeros(1024, np.uint64)
        self._metric_codes = np.zeros(1024, np.int32)
        # The two days that a series was written for last; those of older samples are in a set.
        self._newest_day = np.full(1024, -1, np.int32)
        self._other_day = np.full(1024, -1, np.int32)
        self._older: set[SlotDay] = set()
        self.size = 0
        """Bytes of the label sets."""

    def __len__(self) -> int:
        return len(self._series)

    def register(self, key: bytes) -> int:
        """Return the slot of a label set in canonical bytes, or a negative number for one that is not allowed."""
        fp = series_id(key)
        slot = self._slots.get(fp)
        if slot is not None and self._series[slot] == key:
            return slot
        metric = metric_of(key)
        if isinstance(metric, Reason):
            return -1 - _FAULTS.index(metric)
        with self._lock:
            slot = self._slots.get(fp)
            if slot is not None:
                return slot if self._series[slot] == key else -1 - _FAULTS.index(Reason.ID_COLLISION)
            slot = len(self._series)
            if slot == len(self._fps):
                self._grow()
            code = self._codes.get(metric)
            if code is None:
                code = self._codes[metric] = len(self._metrics)
                self._metrics.append(metric)
            self._fps[slot] = fp
            self._metric_codes[slot] = code
            self._series.append(key)
            self.size += len(key)
            self._slots[fp] = slot
            return slot

    def fps(self, slots: Slots) -> npt.NDArray[np.uint64]:
        """Return the ids of slots."""
        return self._fps[slots]

    def metrics(self, slots: Slots) -> pa.DictionaryArray:
        """Return the metric names of slots, with a dictionary of these names only."""
        codes = self._metric_codes[slots]
        used = np.zeros(len(self._metrics), np.bool_)
        used[codes] = True
        renumbered = np.cumsum(used, dtype=np.int32) - np.int32(1)
        names = [self._metrics[code] for code in np.flatnonzero(used).tolist()]
        return pa.DictionaryArray.from_arrays(pa.array(renumbered[codes]), pa.array(names, pa.string()))

    def series(self, slot: int) -> bytes:
        """Return the canonical label set of a slot."""
        return self._series[slot]

    def unwritten(self, slots: Slots, times_ms: npt.NDArray[np.int64]) -> list[SlotDay]:
        """Return the series that are not written yet for the days of their samples, each day once."""
        if len(slots) == 0:
            return []
        first, last = int(times_ms.min()) // DAY_MS, int(times_ms.max()) // DAY_MS
        if first == last:
            return self._unwritten_on(slots, first)
        days = times_ms // DAY_MS
        found: list[SlotDay] = []
        for day in np.unique(days).tolist():
            found += self._unwritten_on(slots[days == day], day)
        return found

    def written(self, series: Iterable[SlotDay]) -> None:
        """Note that series are in the store for days."""
        with self._lock:
            for slot, day in series:
                newest = self._newest_day[slot]
                if day > newest:
                    self._other_day[slot] = newest
                    self._newest_day[slot] = day
                elif day > self._other_day[slot] and day != newest:
                    self._other_day[slot] = day
                else:
                    if len(self._older) >= _MOST_OTHER_DAYS:
                        self._older.clear()
                    self._older.add((slot, day))

    def _unwritten_on(self, slots: Slots, day: int) -> list[SlotDay]:
        missing = slots[(self._newest_day[slots] != day) & (self._other_day[slots] != day)]
        if len(missing) == 0:
            return []
        return [(slot, day) for slot in np.unique(missing).tolist() if (slot, day) not in self._older]

    def _grow(self) -> None:
        size = len(self._fps)
        self._fps = np.concatenate([self._fps, np.zeros(size, np.uint64)])
        self._metric_codes = np.concatenate([self._metric_codes, np.zeros(size, np.int32)])
        self._newest_day = np.concatenate([self._newest_day, np.full(size, -1, np.int32)])
        self._other_day = np.concatenate([self._other_day, np.full(size, -1, np.int32)])


def metric_of(key: bytes) -> str | Reason:
    """Return the metric name of a label set in canonical bytes, or why the set is not allowed.

    Source: Prometheus 3 allows every name in UTF-8 but the empty one.
    """
    parts = key.split(b"\xff")
    names, values = parts[:-1:2], parts[1::2]
    if parts[-1] or len(names) != len(values):
        return Reason.LABEL_NAME_INVALID
    if len(names) > MOST_LABELS:
        return Reason.LABELS_TOO_MANY
    if b"" in names:
        return Reason.LABEL_NAME_INVALID
    metric = values[names.index(_NAME)] if _NAME in names else b""
    if not metric:
        return Reason.LABEL_NAME_INVALID
    if (
        len(metric) > LONGEST_NAME_BYTES
        or max(map(len, names)) > LONGEST_NAME_BYTES
        or max(map(len, values)) > LONGEST_VALUE_BYTES
    ):
        return Reason.LABEL_TOO_LONG
    if names != sorted(set(names)) or b"" in values:
        return Reason.LABELS_MALFORMED
    try:
        # A zero byte ends every character, as the end of a text does.
        key.replace(b"\xff", b"\0").decode()
        return metric.decode()
    except UnicodeDecodeError:
        return Reason.LABELS_NOT_UTF8


_NAME = METRIC_NAME.encode()
