"""Samples the machine in time with the wall clock and ships what it shows.

A sample's time is the round moment at which it was due, where it was taken within a hundredth of the interval after it;
so times lie on a grid, which the store keeps in next to nothing. A moment that is missed is left out. A series that was
there the time before and is not any more gets a stale marker.
"""

import asyncio
import struct
import time
from collections.abc import Iterable
from pathlib import Path

from kobs.collectors.host.points import Point
from kobs.collectors.host.reading import HostReader
from kobs.collectors.host.roots import Roots
from kobs.collectors.sample_shipping import SampleShipping
from kobs.config import AgentSettings, Settings
from kobs.model.labels import METRIC_NAME
from kobs.model.samples import STALE_NAN_BITS, Sample

JOB = "node"
STALE_NAN: float = struct.unpack("<d", struct.pack("<Q", STALE_NAN_BITS))[0]

_LONGEST_SLEEP_SECONDS = 1.0
"""Between two looks at the clock, which may be set meanwhile."""

SeriesKey = tuple[str, tuple[tuple[str, str], ...]]


async def run(settings: Settings, shipping: SampleShipping) -> None:
    """Sample this machine and ship, until cancelled."""
    agent = settings.agent
    reader = HostReader(roots_of(agent), textfiles=agent.textfiles, systemd=agent.systemd)
    target = Target(node=settings.node, cluster=settings.cluster)
    interval_ms = max(round(agent.host_metrics_seconds * 1000), 1)
    while True:
        time_ms = await _next_time(interval_ms)
        points = await asyncio.to_thread(reader.read)
        shipping.describe(JOB, reader.families(target.new_names(points)))
        shipping.put(target.samples(points, time_ms))


def roots_of(settings: AgentSettings) -> Roots:
    """Return where the machine's files are; from a container the host's / is seen through its first process."""
    own = Path("/proc")
    root = settings.rootfs or (Path("/") if settings.proc == own else settings.proc / "1" / "root")
    return Roots(settings.proc, settings.sys, "" if root == Path("/") else str(root), settings.udev)


class Target:
    """The machine as a target: its labels, and the series that it showed last."""

    def __init__(self, *, node: str, cluster: str) -> None:
        self._labels = {"job": JOB, "instance": node} | ({"cluster": cluster} if cluster else {})
        self._shown: set[SeriesKey] = set()
        self._names: set[str] = set()

    def new_names(self, points: Iterable[Point]) -> list[str]:
        """Return the metric names that were not there before."""
        names = {point.name for point in points} | {"up"}
        new = names - self._names
        self._names |= new
        return sorted(new)

    def samples(self, points: list[Point], time_ms: int) -> list[Sample]:
        """Return the points as samples of a time, with `up`, and a stale marker for each series that is gone."""
        points = [*points, Point("up", 1.0)]
        shown = {(point.name, point.labels) for point in points}
        gone = self._shown - shown
        self._shown = shown
        samples = [self._sample(point.name, point.labels, point.value, time_ms) for point in points]
        return samples + [self._sample(name, labels, STALE_NAN, time_ms) for name, labels in sorted(gone)]

    def _sample(self, name: str, labels: tuple[tuple[str, str], ...], value: float, time_ms: int) -> Sample:
        shown = {METRIC_NAME: name}
        for label, text in labels:
            if text:
                shown[f"exported_{label}" if label in self._labels else label] = text
        return Sample(shown | self._labels, time_ms, value)


def next_due_ms(now_ms: int, interval_ms: int) -> int:
    """Return the next moment of the grid, counted from 1970, after now."""
    return (now_ms // interval_ms + 1) * interval_ms


def sample_time_ms(due_ms: int, now_ms: int, interval_ms: int) -> int:
    """Return the time of a sample that was due and is taken now: the due one unless it is late."""
    return due_ms if 0 <= now_ms - due_ms <= max(interval_ms // 100, 2) else now_ms


async def _next_time(interval_ms: int) -> int:
    """Wait for the next moment of the grid; return the time for the sample that is taken then."""
    due_ms = next_due_ms(_now_ms(), interval_ms)
    while (left_ms := due_ms - _now_ms()) > 0:
        if left_ms > interval_ms:
            # The clock was set back.
            due_ms = next_due_ms(_now_ms(), interval_ms)
            continue
        await asyncio.sleep(min(left_ms / 1000, _LONGEST_SLEEP_SECONDS))
    return sample_time_ms(due_ms, _now_ms(), interval_ms)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
