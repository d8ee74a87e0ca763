"""Samples that were read, remembered: who asks for the same series again reads only what is new.

What arrives are the samples wanted of some series and a function that reads them; what leaves are those samples, from
memory as far as it goes. A panel that is refreshed asks for nearly the same window again, and other panels for the same
series: both then cost no statement, or one for the newest samples.

Nothing stale leaves: the store tells before which time no sample has changed since a slice was read, so that late,
repeated and corrected samples are read anew. Where others write to the store too, nothing is remembered. The least used
slices are forgotten first.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kobs.model.samples import STALE_NAN_BITS
from kobs.storage.clickhouse import Store
from kobs.storage.metric_sample_reads import ArrangedSamples, SampleRange

Read = Callable[[SampleRange], ArrangedSamples | None]
"""Reads samples with stale markers; None where they are too many for the query's memory."""

_TABLE = "metric_samples"


@dataclass(frozen=True, slots=True)
class _Kept:
    """The samples with `after_ms` < time <= `until_ms`, as they were when the store's changes had a number."""

    changes: int
    after_ms: int
    until_ms: int
    samples: ArrangedSamples

    def bytes(self) -> int:
        """Return the memory that it takes."""
        # The key has as many bytes as the bounds.
        return 2 * self.samples.bounds.nbytes + self.samples.times_ms.nbytes + self.samples.values.nbytes


class SampleMemory:
    """Remembers at most `most_bytes` of samples; one for all queries of a process, from any thread."""

    def __init__(self, store: Store, *, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._store = store
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._bytes = 0

    def samples(
        self, ids: NDArray[np.uint64], wanted: SampleRange, read: Read, *, with_stale: bool
    ) -> ArrangedSamples | None:
        """Return the samples wanted of the series `ids`; None where `read` does."""
        changes = self._store.changes(_TABLE)
        if changes is None or wanted.every_ms:
            samples = read(wanted)
        else:
            samples = self._remembered(ids.tobytes(), changes, wanted, read)
        if samples is None or with_stale:
            return samples
        return _taken(samples, samples.values.view(np.uint64) != STALE_NAN_BITS)

    def _remembered(self, key: bytes, changes: int, wanted: SampleRange, read: Read) -> ArrangedSamples | None:
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
        valid_until_ms = wanted.after_ms
        if kept is not None and kept.after_ms <= wanted.after_ms:
            unchanged_ms = self._store.unchanged_before_ms(_TABLE, kept.changes) - 1
            valid_until_ms = max(min(kept.until_ms, unchanged_ms, wanted.until_ms), wanted.after_ms)
        if kept is None or valid_until_ms == wanted.after_ms:
            samples = read(wanted)
        else:
            samples = _between(kept.samples, wanted.after_ms, valid_until_ms)
            if valid_until_ms == wanted.until_ms:
                return samples
            newer = read(replace(wanted, after_ms=valid_until_ms))
            samples = None if newer is None else _joined(samples, newer)
        if samples is not None:
            self._keep(key, _Kept(changes, wanted.after_ms, wanted.until_ms, samples))
        return samples

    def _keep(self, key: bytes, kept: _Kept) -> None:
        for column in (kept.samples.bounds, kept.samples.times_ms, kept.samples.values):
            column.flags.writeable = False  # others have them too
        with self._lock:
            before = self._kept.pop(key, None)
            self._bytes += kept.bytes() - (before.bytes() if before is not None else 0)
            self._kept[key] = kept
            while self._bytes > self.most_bytes:
                _, forgotten = self._kept.popitem(last=False)
                self._bytes -= forgotten.bytes()


def _between(samples: ArrangedSamples, after_ms: int, until_ms: int) -> ArrangedSamples:
    return _taken(samples, (samples.times_ms > after_ms) & (samples.times_ms <= until_ms))


def _taken(samples: ArrangedSamples, which: NDArray[np.bool_]) -> ArrangedSamples:
    if which.all():
        return samples
    before = np.concatenate(([0], np.cumsum(which)))
    return ArrangedSamples(before[samples.bounds], samples.times_ms[which], samples.values[which])


def _joined(older: ArrangedSamples, newer: ArrangedSamples) -> ArrangedSamples:
    """Return the samples of both, series by series; all of `newer` are later than those of `older`."""
    if not len(newer.values):
        return older
    bounds = older.bounds + newer.bounds
    times_ms = np.empty(bounds[-1], np.int64)
    values = np.empty(bounds[-1])
    # A series' older samples come after the newer ones of all series before it, its newer ones after its older ones.
    for part, shifts in ((older, newer.bounds[:-1]), (newer, older.bounds[1:])):
        at = np.arange(len(part.values)) + np.repeat(shifts, np.diff(part.bounds))
        times_ms[at], values[at] = part.times_ms, part.values
    return ArrangedSamples(bounds, times_ms, values)
