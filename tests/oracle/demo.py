"""The demo service of the compliance queries: three instances, whose samples are made up after its README.

Samples lie on whole multiples of five seconds. Everything is seeded.
"""

import struct

import numpy as np
from numpy.typing import NDArray

from kobs.model.samples import STALE_NAN_BITS
from kobs.query.promql.values import Labels
from tests.query.promql.memory import Samples

Floats = NDArray[np.float64]

SCRAPE_MS = 5_000
BEFORE_MS, AFTER_MS = 76 * 60_000, 21 * 60_000
"""How long before and after the begin of the query window (10 minutes) there must be samples."""
_STALE = struct.unpack("<d", struct.pack("<Q", STALE_NAN_BITS))[0]
_BOUNDS = [repr(0.0001 * 1.5**power) for power in range(25)]
_CALLS = [(method, path, status) for method in ("GET", "POST") for path in ("foo", "bar") for status in ("200", "500")]


class Demo:
    """The samples of the service around a time."""

    def __init__(self, start_ms: int) -> None:
        first_ms = (start_ms - BEFORE_MS) // SCRAPE_MS * SCRAPE_MS
        self.times_ms: NDArray[np.int64] = np.arange(first_ms, start_ms + AFTER_MS, SCRAPE_MS, dtype=np.int64)
        self.series: dict[Labels, Samples] = {}
        self._random = np.random.default_rng(7)
        for port in (10000, 10001, 10002):
            self._instance = f"demo.promlabs.com:{port}"
            self._add_memory()
            self._add_processors(port)
            self._add_disk_and_batch()
            for method, path, status in [*_CALLS, ("GET", "nonexistent", "404")]:
                self._add_histogram(method=method, path=f"/api/{path}", status=status)
            self._add_intermittent()

    def _add(self, name: str, values: Floats, *, keep: NDArray[np.bool_] | None = None, **labels: str) -> None:
        known = {"__name__": f"demo_{name}", "instance": self._instance, "job": "demo", **labels}
        chosen = np.ones(len(values), dtype=bool) if keep is None else keep
        self.series[tuple(sorted(known.items()))] = self.times_ms[chosen], values[chosen].astype(np.float64)

    def _add_memory(self) -> None:
        count, mega = len(self.times_ms), 2.0**20
        used = np.zeros(count)
        for kind, size in (("used", 1200), ("cached", 2500), ("buffers", 165)):
            walk = np.round(size * mega + np.cumsum(self._random.normal(0, mega, count)))
            used += walk
            self._add("memory_usage_bytes", walk, type=kind)
        self._add("memory_usage_bytes", 2.0**33 - used, type="free")

    def _add_processors(self, port: int) -> None:
        count = len(self.times_ms)
        user, system = self._random.random(count) * 0.3 + 1, self._random.random(count) * 0.2 + 0.7
        for mode, share in (("user", user), ("system", system), ("idle", 4 - user - system)):
            total = np.cumsum(share * SCRAPE_MS / 1000)
            restart = count * 3 // 4 + port % 10
            total[restart:] -= total[restart]
            self._add("cpu_usage_seconds_total", total, mode=mode)
        self._add("num_cpus", np.full(count, 4.0))

    def _add_disk_and_batch(self) -> None:
        count = len(self.times_ms)
        self._add("disk_usage_bytes", 1.6e10 + np.arange(count) * 2.5e6 + self._random.random(count) * 1000)
        self._add("disk_total_bytes", np.full(count, 1.6e11))
        minute = self.times_ms // 60_000 * 60.0
        failed = np.repeat(self._random.random(count // 12 + 1) < 0.25, 12)[:count]
        self._add("batch_last_run_timestamp_seconds", minute)
        self._add("batch_last_success_timestamp_seconds", np.maximum.accumulate(np.where(failed, 0.0, minute)))
        for name, size in (("duration_seconds", 10.0), ("processed_bytes", 1e5)):
            self._add(f"batch_last_run_{name}", np.repeat(self._random.random(count // 12 + 1) * size, 12)[:count])
        self._add("api_http_requests_in_progress", self._random.integers(0, 5, count).astype(float))
        self._add("items_shipped_total", np.cumsum(self._random.integers(0, 5, count)).astype(float))
        self._add("is_holiday", np.zeros(count))

    def _add_histogram(self, **labels: str) -> None:
        grown = self._random.poisson(np.linspace(0.3, 2, len(_BOUNDS) + 1), (len(self.times_ms), len(_BOUNDS) + 1))
        counts = np.cumsum(np.cumsum(grown, axis=0), axis=1).astype(float)
        for column, bound in enumerate([*_BOUNDS, "+Inf"]):
            self._add("api_request_duration_seconds_bucket", counts[:, column], le=bound, **labels)
        self._add("api_request_duration_seconds_count", counts[:, -1], **labels)
        self._add("api_request_duration_seconds_sum", counts[:, -1] * 0.0123, **labels)

    def _add_intermittent(self) -> None:
        there = self.times_ms // 60_000 % 2 == 0
        vanishes = ~there & np.roll(there, 1)
        self._add("intermittent_metric", np.where(there, 1.0, _STALE), keep=there | vanishes)
