"""Series of many kinds and their values over time, seeded: counters, CPU seconds, memory, flags and what never moves.

Half are counters of requests, a fifth each CPU and memory, the rest flags; labels are those of containers. Values move
as they do in a cluster, so that compression is not flattered.
"""

import numpy as np
import numpy.typing as npt

STEP_MS = 15_000

_NODES = 250


class MovingSeries:
    """Series and their values at one time after another."""

    def __init__(self, count: int, *, seed: int, start_ms: int, first: int = 0) -> None:
        self._random = np.random.default_rng(seed)
        self.count = count
        self.time_ms = start_ms
        kinds = np.arange(count) % 10
        self._requests = np.flatnonzero(kinds < 5)
        self._cpu = np.flatnonzero((kinds == 5) | (kinds == 6))
        self._memory = np.flatnonzero((kinds == 7) | (kinds == 8))
        self._rates = self._random.gamma(0.6, 40.0, len(self._requests))
        self._load = self._random.gamma(0.8, 0.4, len(self._cpu))
        self._values = np.zeros(count)
        self._values[self._requests] = self._random.integers(0, 10_000_000, len(self._requests))
        self._values[self._cpu] = self._random.random(len(self._cpu)) * 100_000
        self._values[self._memory] = self._random.integers(1000, 300_000, len(self._memory)) * 4096
        self._values[kinds == 9] = 1
        self.labels = [_labels(number, int(kind)) for number, kind in enumerate(kinds, first)]

    def step(self) -> tuple[int, npt.NDArray[np.float64]]:
        """Return the time and the value of each series then, and go on by 15 s."""
        time_ms, values = self.time_ms, self._values.copy()
        self.time_ms += STEP_MS
        self._values[self._requests] += self._random.poisson(self._rates)
        self._values[self._cpu] += self._load * 15 * self._random.uniform(0.7, 1.3, len(self._cpu))
        moves = self._random.random(len(self._memory)) < 0.3
        self._values[self._memory] += moves * self._random.integers(-50, 60, len(self._memory)) * 4096
        return time_ms, values


def _labels(number: int, kind: int) -> dict[str, str]:
    names = {5: "container_cpu_usage_seconds_total", 6: "process_cpu_seconds_total", 7: "container_memory_rss"}
    names |= {8: "go_memstats_heap_inuse_bytes", 9: "kube_pod_status_ready"}
    pod = number // 50
    return {
        "__name__": names.get(
            kind, f"http_server_{('requests', 'errors', 'bytes', 'hits', 'retries')[kind % 5]}_total"
        ),
        "container": f"app-{pod % 30}",
        "handler": f"/api/v1/resource/{number % 50}",
        "instance": f"10.{pod % _NODES}.3.{pod % 200}:8080",
        "job": f"team-{pod % 30}",
        "namespace": f"team-{pod % 30}",
        "node": f"worker-{pod % _NODES}",
        "pod": f"app-{pod % 30}-7d9f8b6c5d-{pod:05x}",
    }
