"""A pool is one job with its targets: groups of addresses arrive, loops are started and stopped so that they fit.

A target that goes keeps its series for two intervals more, so that one that flaps comes back to them.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from kobs import telemetry
from kobs.collectors.scraping.configuration import ScrapeConfig
from kobs.collectors.scraping.discovery import Group, JobDiscovery
from kobs.collectors.scraping.loops import TargetLoop
from kobs.collectors.scraping.series import HeldSeries, Shipping
from kobs.collectors.scraping.sources import HttpSource, OwnMetrics
from kobs.collectors.scraping.target_series import TargetSeries
from kobs.collectors.scraping.targets import Target, make_target
from kobs.errors import ConfigError

MOST_KEPT_DROPPED = 1000
"""Dropped targets of a pool that are kept for the view, at most; `keep_dropped_targets` may say less."""

log = telemetry.get_logger(__name__)
_targets = telemetry.gauge("kobs_agent_targets", "Targets that are scraped.")


@dataclass(frozen=True, slots=True)
class PoolContext:
    """What all pools of an agent share."""

    series: HeldSeries
    shipping: Shipping
    extra_labels: Mapping[str, str]
    seed: int
    is_strict: bool
    body_limit: int
    most_samples: int


@dataclass(slots=True)
class DroppedTargets:
    """What a pool's rules dropped: labels before relabelling, of the first ones, and how many there are."""

    count: int = 0
    labels: list[Mapping[str, str]] = field(default_factory=list)


class Pool:
    """The targets of one job."""

    def __init__(
        self,
        job: ScrapeConfig,
        context: PoolContext,
        *,
        source: HttpSource | OwnMetrics | None = None,
        start: Callable[[TargetLoop], None],
    ) -> None:
        """`start` runs a loop until it has ended, which may be long after the pool has.

        Raises: ConfigError.
        """
        self.job = job
        self.loops: dict[int, TargetLoop] = {}
        self.dropped = DroppedTargets()
        self.failures: tuple[str, ...] = ()
        """Why addresses are no targets."""
        self._context = context
        self._relabelling = job.relabelling()
        self._source = source or HttpSource(job, body_limit=context.body_limit)
        self._start = start
        self._former: dict[int, TargetLoop] = {}
        self._stopped: list[TargetLoop] = []
        self._stopping = asyncio.Event()
        self.discovery = JobDiscovery(job, self.sync)

    async def run(self) -> None:
        """Discover until stopped or cancelled; then close the connections, when no scrape needs them any more."""
        try:
            async with asyncio.TaskGroup() as tasks:
                discovering = tasks.create_task(self.discovery.run())
                await self._stopping.wait()
                discovering.cancel()
            for loop in self._stopped:
                await loop.until_stopped()
        finally:
            await self._source.close()

    def succeed(self, former: "Pool") -> None:
        """Take over the targets of the pool that had this name: their series go on, under this job's rules."""
        self._former = former.stop()

    def stop(self) -> dict[int, TargetLoop]:
        """Stop all loops; return them, so that another pool can take their series over."""
        loops = {**self._former, **self.loops}
        for loop in self.loops.values():
            loop.stop()
        self._stopped = list(loops.values())
        self.loops, self._former = {}, {}
        self._stopping.set()
        return loops

    def sync(self, groups: Iterable[Group]) -> None:
        """Start and stop loops so that every target of the groups has one."""
        targets, self.dropped, failures = self._targets_of(groups)
        for failure in failures:
            if failure not in self.failures:
                log.error("An address is no target.", pool=self.job.job_name, error=failure)
        self.failures = tuple(failures)
        for identity in self.loops.keys() - targets.keys():
            loop = self.loops.pop(identity)
            loop.stop()
            self._former[identity] = loop
        for identity in targets.keys() - self.loops.keys():
            self.loops[identity] = self._loop(targets[identity])
        self._former = {identity: loop for identity, loop in self._former.items() if not loop.has_ended}
        limit = self.job.target_limit
        exceeded = limit and len(self.loops) > limit
        for loop in self.loops.values():
            loop.forced_error = (
                f"target_limit exceeded (number of targets: {len(self.loops)}, limit: {limit})" if exceeded else ""
            )

    def _loop(self, target: Target) -> TargetLoop:
        context = self._context
        former = self._former.pop(target.identity, None)
        series = TargetSeries(
            target,
            self.job,
            series=context.series,
            shipping=context.shipping,
            extra_labels=context.extra_labels,
            most_samples=context.most_samples,
        )
        loop = TargetLoop(
            target,
            self.job,
            series,
            self._source,
            former=former,
            seed=context.seed,
            is_strict=context.is_strict,
        )
        self._start(loop)
        return loop

    def _targets_of(self, groups: Iterable[Group]) -> tuple[dict[int, Target], DroppedTargets, list[str]]:
        targets: dict[int, Target] = {}
        dropped = DroppedTargets()
        failures: list[str] = []
        most = min(self.job.keep_dropped_targets or MOST_KEPT_DROPPED, MOST_KEPT_DROPPED)
        for group in groups:
            for address in group.addresses:
                try:
                    made = make_target(self.job, self._relabelling, address=address, group=group.labels)
                except ConfigError as error:
                    failures.append(f"{address}: {error}")
                    continue
                if isinstance(made, Target):
                    targets.setdefault(made.identity, made)
                    continue
                dropped.count += 1
                if len(dropped.labels) < most:
                    dropped.labels.append(made)
        return targets, dropped, failures
