"""All scraping of one agent: the configuration's file is watched, its jobs run as pools, and the view of their targets
is told. A file that is wrong at the start is an error; one that becomes wrong leaves the jobs as they are.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import xxhash

from kobs import telemetry
from kobs.collectors.scraping.configuration import ScrapeConfig, TargetGroup
from kobs.collectors.scraping.configuration_file import Configuration, load
from kobs.collectors.scraping.loops import TargetLoop
from kobs.collectors.scraping.pools import Pool, PoolContext
from kobs.collectors.scraping.series import HeldSeries, Shipping
from kobs.collectors.scraping.sources import OwnMetrics
from kobs.config import Settings
from kobs.errors import ConfigError

WATCH_SECONDS = 2.0
OWN_JOB = "kobs"
OWN_POOL = "kobs-agent"

log = telemetry.get_logger(__name__)
_reloads = telemetry.counter(
    "kobs_agent_scrape_config_reloads_total", "Readings of a changed file, by outcome.", ("outcome",)
)


class Scraping:
    """The scraping of one agent."""

    def __init__(self, settings: Settings, shipping: Shipping, *, own_address: str = "") -> None:
        """Read the configuration; `own_address` is where this process answers for its metrics, if anywhere.

        Raises: ConfigError.
        """
        self._settings = settings
        self._shipping = shipping
        self._series = HeldSeries(shipping)
        self._own_address = own_address or settings.node
        self._path = settings.agent.scrape_config
        self._configuration = Configuration({}, (), (), ())
        self._states: dict[Path, object] = {}
        if self._path is not None:
            self._configuration = self._load(self._path)
        self._pools: dict[str, Pool] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._problem = ""

    @property
    def pools(self) -> Mapping[str, Pool]:
        """The pools that run, by name."""
        return self._pools

    def problems(self) -> Iterator[str]:
        """Yield what is wrong, but not with a single target."""
        if self._problem:
            yield self._problem
        for name, pool in self._pools.items():
            for problem in pool.discovery.problems.values():
                yield f"scrape job {name}: {problem}"

    async def run(self) -> None:
        """Scrape until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            if self._settings.agent.own_metrics_seconds:
                self._start_pool(OWN_POOL, self._own_pool())
            self._apply(self._configuration)
            while True:
                await asyncio.sleep(WATCH_SECONDS)
                if self._path is not None and await asyncio.to_thread(self._is_changed):
                    self._reload(self._path)

    def _reload(self, path: Path) -> None:
        try:
            configuration = self._load(path)
        except ConfigError as error:
            _reloads.labels("refused").inc()
            log.error("The scrape configuration is wrong; the one before it stays.", error=error)
            self._problem = f"agent.scrape_config: {error}; the configuration before it stays"
            return
        self._problem = ""
        _reloads.labels("taken").inc()
        log.info("The scrape configuration is read again.", file=path)
        self._apply(configuration)

    def _load(self, path: Path) -> Configuration:
        # What a file is like is noted first: a change while it is read is seen the next time.
        self._states = {each: _state_of(each) for each in (path, *self._states)}
        configuration = load(path)
        self._states = {each: self._states.get(each, _state_of(each)) for each in configuration.files}
        for note in configuration.notes:
            log.warning("A part of the scrape configuration has no effect.", file=path, note=note)
        return configuration

    def _is_changed(self) -> bool:
        return any(_state_of(path) != state for path, state in self._states.items())

    def _apply(self, configuration: Configuration) -> None:
        """Make the pools what a configuration says; those of jobs that are as before go on untouched."""
        extra_labels = self._extra_labels(configuration)
        is_as_before = extra_labels == self._extra_labels(self._configuration)
        self._configuration = configuration
        jobs = {job.job_name: job for job in configuration.jobs}
        if OWN_POOL in jobs:
            log.warning("A job has the name under which the agent shows its own metrics.", job=OWN_POOL)
        for name in self._pools.keys() - jobs.keys() - {OWN_POOL}:
            self._pools.pop(name).stop()
        for name, job in jobs.items():
            former = self._pools.get(name)
            if former is not None and former.job == job and is_as_before:
                continue
            pool = Pool(job, self._context(extra_labels), start=self._start)
            if former is not None:
                pool.succeed(former)
            self._start_pool(name, pool)

    def _start_pool(self, name: str, pool: Pool) -> None:
        assert self._tasks is not None  # noqa: S101 - pools start while `run` runs
        self._pools[name] = pool
        self._tasks.create_task(pool.run())

    def _start(self, loop: TargetLoop) -> None:
        assert self._tasks is not None  # noqa: S101 - likewise
        self._tasks.create_task(loop.run())

    def _extra_labels(self, configuration: Configuration) -> dict[str, str]:
        cluster = self._settings.cluster
        return ({"cluster": cluster} if cluster else {}) | dict(configuration.external_labels)

    def _context(self, extra_labels: Mapping[str, str]) -> PoolContext:
        settings = self._settings.agent
        return PoolContext(
            series=self._series,
            shipping=self._shipping,
            extra_labels=extra_labels,
            seed=xxhash.xxh64_intdigest(self._settings.node.encode()),
            is_strict=settings.strict_openmetrics,
            body_limit=settings.scrape_body_bytes,
            most_samples=settings.scrape_samples,
        )

    def _own_pool(self) -> Pool:
        interval_ms = round(self._settings.agent.own_metrics_seconds * 1000)
        labels = {"job": OWN_JOB, "instance": self._settings.node, "role": "agent"}
        job = ScrapeConfig(
            job_name=OWN_POOL,
            scrape_interval=interval_ms,
            scrape_timeout=interval_ms,
            static_configs=(TargetGroup(targets=(self._own_address,), labels=labels),),
        )
        context = self._context(self._extra_labels(Configuration({}, (), (), ())))
        return Pool(job, context, source=OwnMetrics(), start=self._start)


def _state_of(path: Path) -> tuple[int, int, int] | None:
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino
    return None
