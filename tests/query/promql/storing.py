"""Samples straight into the tables of a store: for tests that need many, or what no sender sends."""

import datetime as dt
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from kobs.model.labels import METRIC_NAME, canonical, series_id
from kobs.storage.clickhouse import Store

_MS = pa.timestamp("ms", "UTC")


def store_series(store: Store, labels: Mapping[str, str], times_ms: Sequence[int], values: Sequence[float]) -> None:
    """Store the samples of one series, in the order given, in one insert: a part of its own."""
    store_all(store, [(labels, times_ms, values)])


def store_all(store: Store, series: Sequence[tuple[Mapping[str, str], Sequence[int], Sequence[float]]]) -> None:
    """Store the samples of some series in one insert."""
    metrics, fps, times, values = [], [], [], []
    rows = []
    for labels, its_times, its_values in series:
        number = series_id(canonical(labels))
        metrics += [labels[METRIC_NAME]] * len(its_times)
        fps += [number] * len(its_times)
        times += list(its_times)
        values += list(its_values)
        others = [(name, value) for name, value in labels.items() if name != METRIC_NAME]
        days = sorted({dt.datetime.fromtimestamp(at / 1000, dt.UTC).date() for at in its_times})
        rows += [(labels[METRIC_NAME], number, others, day) for day in days]
    moments = pa.array([min(times)] * len(rows), _MS)
    store.insert(
        "metric_series",
        pa.table(
            {
                "metric": pa.array([row[0] for row in rows]).dictionary_encode(),
                "fp": pa.array([row[1] for row in rows], pa.uint64()),
                "labels": pa.array([row[2] for row in rows], pa.map_(pa.string(), pa.string())),
                "day": pa.array([row[3] for row in rows], pa.date32()),
                "min_ts": moments,
                "max_ts": moments,
            }
        ),
    )
    store.insert(
        "metric_samples",
        pa.table(
            {
                "metric": pa.array(metrics).dictionary_encode(),
                "fp": pa.array(fps, pa.uint64()),
                "ts": pa.array(np.array(times, dtype=np.int64), _MS),
                "value": pa.array(np.array(values, dtype=np.float64)),
            }
        ),
    )
