"""Reading samples by the ids of their series, in the order of series and time, as arrays.

Copies of a sample count once; of different values at one time the greatest counts, where a NaN is less than every
number and a stale marker less than every NaN. The engine answers rows as its parts have them, sorted in pieces, and the
pieces are put in order here: that is quicker than its own sort, and a part's order is only disturbed where parts have
not been merged yet.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kobs.model.samples import STALE_NAN_BITS
from kobs.model.scope import Scope, Signal
from kobs.storage.clickhouse import Store
from kobs.storage.metric_reads import moment

Integers = NDArray[np.int64]
Number = TypeVar("Number", np.uint64, np.int64, np.float64)


@dataclass(frozen=True, slots=True)
class SampleRange:
    """Which samples of some series of some metrics: those with `after_ms` < time <= `until_ms`."""

    metrics: tuple[str, ...]
    after_ms: int
    until_ms: int
    every_ms: int = 0
    """Where not 0: only samples in the last `window_ms` before `until_ms`, before `every_ms` earlier, and so on."""
    window_ms: int = 0


@dataclass(frozen=True, slots=True)
class ArrangedSamples:
    """Samples of some series in the order of the series and of time: series s has bounds[s] to bounds[s + 1]."""

    bounds: Integers
    times_ms: Integers
    values: NDArray[np.float64]


def read_samples_of(
    store: Store,
    scope: Scope,
    ids: NDArray[np.uint64],
    wanted: SampleRange,
    *,
    is_whole_metric: bool = False,
    with_stale: bool = False,
    limit: int,
    timeout_seconds: float | None = None,
    max_memory_bytes: int | None = None,
    comment: str = "",
) -> ArrangedSamples | None:
    """Return the samples of the series `ids` (ascending, all of them within `scope`), None where more than `limit` are.

    With `is_whole_metric` the ids are all of the metric's between the first and the last; those are not looked up one
    by one. Stale markers are left out unless asked for.
    """
    if Signal.METRICS not in scope.signals or not len(ids):
        return ArrangedSamples(np.zeros(len(ids) + 1, np.int64), np.zeros(0, np.int64), np.zeros(0))
    conditions = ["ts > {after:DateTime64(3, 'UTC')}", "ts <= {until:DateTime64(3, 'UTC')}"]
    parameters: dict[str, object] = {"after": moment(wanted.after_ms), "until": moment(wanted.until_ms)}
    if len(wanted.metrics) == 1:
        conditions.append("metric = {metric:String}")
        parameters["metric"] = wanted.metrics[0]
    else:
        conditions.append("metric IN {metrics:Array(String)}")
        parameters["metrics"] = wanted.metrics
    if not is_whole_metric:
        conditions.append("fp IN {ids:Array(UInt64)}")
        parameters["ids"] = ids.tolist()
    if is_whole_metric or len(ids) > 1:
        conditions.append("fp >= {first_id:UInt64} AND fp <= {last_id:UInt64}")
        parameters |= {"first_id": int(ids[0]), "last_id": int(ids[-1])}
    if not with_stale:
        conditions.append(f"reinterpretAsUInt64(value) != {STALE_NAN_BITS}")
    if wanted.every_ms:
        conditions.append(
            "positiveModulo(toUnixTimestamp64Milli(ts) - {first_ms:Int64}, {every_ms:Int64}) < {window_ms:Int64}"
        )
        parameters |= {
            "first_ms": wanted.until_ms - wanted.window_ms + 1,
            "every_ms": wanted.every_ms,
            "window_ms": wanted.window_ms,
        }
    settings: dict[str, object] = {}
    if timeout_seconds is not None:
        settings["max_execution_time"] = timeout_seconds
    if max_memory_bytes is not None:
        settings["max_memory_usage"] = max_memory_bytes
    rows = store.select(
        f"SELECT fp, toUnixTimestamp64Milli(ts) AS time_ms, value FROM metric_samples WHERE {' AND '.join(conditions)} "
        f"LIMIT {int(limit) + 1}",
        parameters,
        settings=settings,
        comment=comment,
    )
    if rows.num_rows > limit:
        return None
    return arranged(
        ids, _array(rows["fp"], np.uint64), _array(rows["time_ms"], np.int64), _array(rows["value"], np.float64)
    )


def arranged(
    ids: NDArray[np.uint64], fps: NDArray[np.uint64], times_ms: Integers, values: NDArray[np.float64]
) -> ArrangedSamples:
    """Return samples in the order of the ids (ascending) and of time, each time of a series once.

    Samples of other series are left out. They may arrive in any order; the more of them lie beside each other that are
    of one series and in the order of time, the quicker it is.
    """
    series, lengths, starts = _runs(ids, fps)
    order = np.lexsort((times_ms[starts], series))
    order = order[series[order] < len(ids)]
    if len(order) != len(series) or (order[1:] < order[:-1]).any():
        lengths = lengths[order]
        total = int(lengths.sum())
        ends = np.cumsum(lengths)
        at = np.repeat(starts[order] - (ends - lengths), lengths) + np.arange(total, dtype=np.int64)
        times_ms, values = times_ms[at], values[at]
    of_sample = np.repeat(series[order], lengths)
    is_later = (times_ms[1:] > times_ms[:-1]) | (of_sample[1:] != of_sample[:-1])
    if not is_later.all():
        of_sample, times_ms, values = _sorted(of_sample, times_ms, values)
    counts = np.bincount(of_sample, minlength=len(ids))
    return ArrangedSamples(np.concatenate(([0], np.cumsum(counts))).astype(np.int64), times_ms, values)


def _runs(ids: NDArray[np.uint64], fps: NDArray[np.uint64]) -> tuple[Integers, Integers, Integers]:
    """Return the runs of equal fps: the place of the fp in `ids` (len(ids) where it is none), length and start."""
    starts = np.concatenate(([0], np.flatnonzero(fps[1:] != fps[:-1]) + 1)) if len(fps) else np.zeros(0, np.int64)
    of_runs = fps[starts]
    series = np.searchsorted(ids, of_runs)
    unknown = ids[np.minimum(series, len(ids) - 1)] != of_runs
    series[unknown] = len(ids)
    return series, np.diff(np.append(starts, len(fps))), starts


def _sorted(
    series: Integers, times_ms: Integers, values: NDArray[np.float64]
) -> tuple[Integers, Integers, NDArray[np.float64]]:
    """Return samples by series and time, of those at one time the greatest."""
    is_number = ~np.isnan(values)
    rank = np.where(is_number, 2, np.where(values.view(np.uint64) == STALE_NAN_BITS, 0, 1))
    order = np.lexsort((np.where(is_number, values, 0.0), rank, times_ms, series))
    series, times_ms, values = series[order], times_ms[order], values[order]
    is_last = np.append((times_ms[1:] != times_ms[:-1]) | (series[1:] != series[:-1]), [True])
    return series[is_last], times_ms[is_last], values[is_last]


def _array(column: pa.ChunkedArray, kind: type[Number]) -> NDArray[Number]:
    """Return a column without nulls; the engine answers it in many pieces."""
    if not column.num_chunks:
        return np.zeros(0, kind)
    return np.concatenate([chunk.to_numpy() for chunk in column.chunks]).astype(kind, copy=False)
