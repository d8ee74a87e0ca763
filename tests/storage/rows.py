"""Rows for the tables logs and metric_samples."""

import time

import pyarrow as pa

DAY_MS = 86_400_000
TIME_MS = int(time.time() * 1000) // DAY_MS * DAY_MS - DAY_MS
"""The beginning of yesterday: samples that are much older expire at the next merge."""


def sample_rows(count: int, *, first_ms: int = TIME_MS, step_ms: int = 15_000, metric: str = "up") -> pa.Table:
    """Return samples of one series; the value is the sample's number."""
    return pa.table(
        {
            "metric": pa.array([metric] * count).dictionary_encode(),
            "fp": pa.array([7] * count, pa.uint64()),
            "ts": pa.array([first_ms + i * step_ms for i in range(count)], pa.timestamp("ms", "UTC")),
            "value": pa.array([float(i) for i in range(count)]),
        }
    )


def line_rows(count: int, *, first_ms: int = TIME_MS, step_ms: int = 1, first_offset: int = 0) -> pa.Table:
    """Return log rows; the body and the offset are the line's number."""
    numbers = range(first_offset, first_offset + count)
    return pa.table(
        {
            "ts": pa.array([first_ms + i * step_ms for i in range(count)], pa.timestamp("ms", "UTC")),
            "body": pa.array([f"line {number}" for number in numbers]),
            "offset": pa.array(numbers, pa.uint64()),
            "keep_days": pa.array([7] * count, pa.uint16()),
        }
    )
