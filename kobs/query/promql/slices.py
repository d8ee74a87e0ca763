"""The samples of a selector's series, slice by slice: as many series at once as fit into the memory of a query.

How many samples a series has is not known before; the first slice assumes something, later ones go by those before. A
slice that turns out too large, or for which the engine's memory does not suffice, is read again as smaller ones. While
a slice is worked on, the next one is read by a thread of its own.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from kobs.errors import LimitError
from kobs.query.interruption import Interruption
from kobs.query.promql.limits import Deadline, QueryLimits, Statistics
from kobs.query.promql.ranges.windows import Series
from kobs.query.promql.sample_memory import SampleMemory
from kobs.query.promql.series import Found
from kobs.query.promql.tree import VectorSelector
from kobs.storage.clickhouse import Store
from kobs.storage.metric_sample_reads import ArrangedSamples, SampleRange, read_samples_of

FIRST_MS = 0
LAST_MS = 4_102_444_800_000
"""No sample lies outside of 1970 to 2100; the engine's times do not reach much further."""

STATEMENT_BYTES = 64 * 2**20
"""Memory that a statement may take at least, however small the limit: the engine reads in blocks."""
_BYTES_A_SAMPLE = 128
"""Of memory, while a sample is read and worked on."""
_KEPT_BYTES_A_SAMPLE = 16
_EXPECTED_DISTANCE_MS = 15_000
_POINTS_AT_ONCE = 2_000_000
_MOST_IDS = 20_000
"""Ids that one statement names."""
_TIMEOUT_EXCEEDED = 159
_MEMORY_LIMIT_EXCEEDED = 241


@dataclass(frozen=True, slots=True)
class Reading:
    """What a selector asks of the store: windows of `window_ms` before ends that are `step_ms` apart."""

    selector: VectorSelector
    first_end_ms: int
    last_end_ms: int
    step_ms: int
    window_ms: int
    at_ms: int | None
    """The time of its modifier `@`: then all windows are one."""
    with_stale: bool

    def after_ms(self) -> int:
        """Return the time after which its samples begin."""
        return max(self.first_end_ms - self.window_ms, FIRST_MS - 1)

    def until_ms(self) -> int:
        """Return the time of its last possible sample."""
        return min(self.last_end_ms, LAST_MS)

    def is_empty(self) -> bool:
        """Tell whether it lies where no samples can be."""
        return self.after_ms() >= self.until_ms()

    def has_gaps(self) -> bool:
        """Tell whether most time lies between its windows."""
        return self.at_ms is None and self.step_ms >= 2 * self.window_ms and self.last_end_ms <= LAST_MS

    def samples(self, found: Found) -> SampleRange:
        """Return the samples that it needs of the series found for it."""
        has_gaps = self.has_gaps()
        return SampleRange(
            found.metrics,
            self.after_ms(),
            self.until_ms(),
            every_ms=self.step_ms if has_gaps else 0,
            window_ms=self.window_ms if has_gaps else 0,
        )


@dataclass(frozen=True, slots=True)
class Slice:
    """The samples of the series found from number `start` on, as many as there are `ids`."""

    ids: NDArray[np.uint64]
    start: int
    samples: ArrangedSamples

    def series(self) -> Series:
        """Return the samples as functions take them."""
        return Series(self.samples.bounds, self.samples.times_ms, self.samples.values)

    def pieces(self, moments: int) -> Iterator["Slice"]:
        """Yield parts of it whose points over all moments are few enough to be worked out together."""
        size = max(1, _POINTS_AT_ONCE // moments)
        for start in range(0, len(self.ids), size):
            end = min(len(self.ids), start + size)
            bounds = self.samples.bounds[start : end + 1]
            of_piece = slice(int(bounds[0]), int(bounds[-1]))
            samples = ArrangedSamples(
                bounds - bounds[0], self.samples.times_ms[of_piece], self.samples.values[of_piece]
            )
            yield Slice(self.ids[start:end], self.start + start, samples)


class Slicing:
    """Reads slices within the limits of one query; `memory` has what earlier queries have read."""

    def __init__(
        self,
        store: Store,
        limits: QueryLimits,
        interruption: Interruption,
        *,
        deadline: Deadline,
        statistics: Statistics,
        memory: SampleMemory | None = None,
    ) -> None:
        self._store = store
        self._memory = memory
        self._limits = limits
        self._interruption = interruption
        self._deadline = deadline
        self._statistics = statistics

    def slices(self, found: Found, reading: Reading) -> Iterator[Slice]:
        """Yield the samples of all series found, in the order of their ids.

        Raises: LimitError, QueryTimeoutError; what the store raises.
        """
        if not len(found.ids) or reading.is_empty():
            return
        wanted = reading.samples(found)
        most = max(1, self._limits.memory_bytes // _BYTES_A_SAMPLE)
        expected = max(1.0, expected_samples(reading))
        start = 0
        with ThreadPoolExecutor(1, thread_name_prefix="slices") as reader:
            ids = found.ids[: _size(most, expected)]
            # the first slice is read here: where it is the only one, as of most panels, no thread is started
            read = self._reader(found, wanted, most, reading)
            coming: Callable[[], ArrangedSamples | None] = partial(read, ids)
            while len(ids):
                samples = coming()
                if samples is None:
                    expected = max(expected, most / len(ids)) * 4
                    if len(ids) == 1:
                        raise LimitError(
                            f"one series has more than {most} samples: more than fit into {self._limits.memory_bytes} "
                            "bytes, the limit (query.max_memory_bytes); select a shorter time"
                        )
                    following = found.ids[start : start + max(1, min(len(ids) // 2, _size(most, expected)))]
                    coming = reader.submit(read, following).result
                    ids = following
                    continue
                self._statistics.samples_read += len(samples.values)
                self._statistics.note_peak(len(samples.values))
                self._limits.check_samples(self._statistics.samples_read)
                expected = max(1.0, 1.1 * len(samples.values) / len(ids))
                end = start + len(ids)
                following = found.ids[end : end + _size(most, expected)]
                if len(following):
                    coming = reader.submit(read, following).result
                yield Slice(ids, start, samples)
                self.check()
                start, ids = end, following

    def check(self) -> float | None:
        """End the query here if its asker has gone or its time is over; return how many seconds are left."""
        self._interruption.check()
        return self._deadline.left_seconds()

    def _reader(
        self, found: Found, wanted: SampleRange, most: int, reading: Reading
    ) -> "Callable[[NDArray[np.uint64]], ArrangedSamples | None]":
        """Return what reads some of the series found, and answers None where their samples do not fit."""
        memory = self._memory
        # What is too much to be remembered would only drive out what is not.
        if memory is None or len(found.ids) * expected_samples(reading) * _KEPT_BYTES_A_SAMPLE > memory.most_bytes:
            return lambda ids: self._read(found, ids, wanted, most, with_stale=reading.with_stale)

        def remembered(ids: NDArray[np.uint64]) -> ArrangedSamples | None:
            def read(some: SampleRange) -> ArrangedSamples | None:
                return self._read(found, ids, some, most, with_stale=True)

            return memory.samples(ids, wanted, read, with_stale=reading.with_stale)

        return remembered

    def _read(
        self, found: Found, ids: NDArray[np.uint64], wanted: SampleRange, most: int, *, with_stale: bool
    ) -> ArrangedSamples | None:
        """Return samples, or None where there are too many for memory."""
        try:
            return read_samples_of(
                self._store,
                found.scope,
                ids,
                wanted,
                is_whole_metric=found.is_whole_metric,
                with_stale=with_stale,
                limit=most,
                timeout_seconds=self.check(),
                max_memory_bytes=max(self._limits.memory_bytes, STATEMENT_BYTES),
                comment=self._interruption.comment,
            )
        except LimitError as error:
            code = getattr(error.__cause__, "code", None)
            if code == _MEMORY_LIMIT_EXCEEDED and len(ids) > 1:
                return None
            if code == _TIMEOUT_EXCEEDED and self._deadline.timeout_seconds is not None:
                raise self._deadline.passed() from error
            raise


def _size(most_samples: int, expected: float) -> int:
    """Return how many series a slice has: a power of two, so that the next query finds it again."""
    return 1 << (max(1, min(_MOST_IDS, int(most_samples / expected))).bit_length() - 1)


def expected_samples(reading: Reading) -> float:
    """Return how many samples a series is thought to have."""
    span_ms = reading.until_ms() - reading.after_ms()
    if reading.has_gaps():
        span_ms = min(span_ms, (span_ms // reading.step_ms + 1) * reading.window_ms)
    return span_ms / _EXPECTED_DISTANCE_MS
