"""The newest sample in the look-back before each moment: what a selector is worth, as Prometheus says it.

The look-back is left-open. A series whose newest sample is a stale marker, told by its bits, has ended: it is absent.
"""

import numpy as np

from kobs.model.samples import STALE_NAN_BITS
from kobs.query.promql.ranges import windows
from kobs.query.promql.ranges.windows import Integers, Series
from kobs.query.promql.values import Block, Labels, Moments


def newest(
    labels: tuple[Labels, ...],
    series: Series,
    moments: Moments,
    *,
    lookback_ms: int,
    offset_ms: int = 0,
    at_ms: int | None = None,
    is_time: bool = False,
) -> Block:
    """Return the newest values, or with `is_time` their times in seconds.

    The look-back ends `offset_ms` before the moment, or before `at_ms` at every moment. `series` has stale markers.
    """
    times_ms = moments.times_ms()
    ends_ms: Integers = times_ms - offset_ms if at_ms is None else np.full(1, at_ms - offset_ms, dtype=np.int64)
    count, width = len(series.bounds) - 1, len(ends_ms)
    values = np.zeros((count, width))
    present = np.zeros((count, width), dtype=np.bool_)
    for start, end in windows.blocks(series.bounds, width):
        part = windows.part_of(series, start, end)
        if not len(part.values):
            continue
        found = windows.find(part, ends_ms, ends_ms, step_ms=moments.step_ms, range_ms=lookback_ms)
        last = np.maximum(found.end - 1, 0)
        taken = part.values[last]
        is_there = (found.end > found.first) & (taken.view(np.uint64) != STALE_NAN_BITS)
        values[start:end] = (part.times_ms[last] / 1000 if is_time else taken).reshape(end - start, width)
        present[start:end] = is_there.reshape(end - start, width)
    shape = (count, len(times_ms))
    return Block(labels, np.broadcast_to(values, shape), np.broadcast_to(present, shape))
