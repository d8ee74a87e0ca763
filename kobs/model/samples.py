"""Metric samples as the collectors make them and the store keeps them."""

import enum
from dataclasses import dataclass
from typing import NamedTuple

STALE_NAN_BITS = 0x7FF0000000000002
"""The one NaN that says "this series has ended" (Prometheus' stale marker); told from other NaNs by its bits."""


class MetricType(enum.StrEnum):
    """Types of the exposition formats."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    GAUGE_HISTOGRAM = "gaugehistogram"
    SUMMARY = "summary"
    UNKNOWN = "unknown"
    INFO = "info"
    STATESET = "stateset"


class Sample(NamedTuple):
    """One value of one series. `time_ms` is int milliseconds UTC; `labels` include `__name__`."""

    labels: dict[str, str]
    time_ms: int
    value: float


@dataclass(frozen=True, slots=True)
class Family:
    """What is said once of all series of a metric name."""

    name: str
    type: MetricType
    unit: str
    help: str
