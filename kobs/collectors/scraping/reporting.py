"""Tells a server what is scraped: all targets each time, at once when their state has changed, else now and then.

A report that does not arrive is not kept: the next one says all again.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from kobs import telemetry
from kobs.collectors.scraping.agent import Scraping
from kobs.collectors.scraping.loops import TargetLoop
from kobs.collectors.scraping.pools import Pool
from kobs.collectors.scraping.targets import INTERVAL, TIMEOUT
from kobs.collectors.servers import ServerError, Servers
from kobs.config import Settings
from kobs.wire.targets import ActiveTarget, DroppedTarget, TargetAnswer, TargetReport, encode

LOOK_SECONDS = 1.0
REPORT_SECONDS = 30.0

_FIRST_SECONDS = 2.0
_FAILED_SECONDS = 5.0
_ANSWER_SECONDS = 30.0
_PATH = "/kobs/v1/ship/targets"
_LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})

log = telemetry.get_logger(__name__)
_reports = telemetry.counter("kobs_agent_target_reports_total", "Reports of targets, by outcome.", ("outcome",))


class TargetReporting:
    """The reports of one agent."""

    def __init__(
        self, settings: Settings, scraping: Scraping, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._scraping = scraping
        self._monotonic = monotonic

    async def run(self) -> None:
        """Report until cancelled."""
        servers = Servers(self._settings.agent, answer_seconds=_ANSWER_SECONDS)
        try:
            told: object = None
            next_report = 0.0
            await asyncio.sleep(_FIRST_SECONDS)
            while True:
                state = self._state()
                if state != told or self._monotonic() >= next_report:
                    report = report_of(self._settings, self._scraping.pools.values())
                    told = state if await _send(servers, encode(report)) else None
                    next_report = self._monotonic() + REPORT_SECONDS
                await asyncio.sleep(LOOK_SECONDS if told is not None else _FAILED_SECONDS)
        finally:
            await servers.close()

    def _state(self) -> object:
        """Return what is told at once when it changes: which targets there are, and how they are."""
        return [
            (
                name,
                pool.dropped.count,
                [(key, loop.outcome.health, loop.outcome.error) for key, loop in pool.loops.items()],
            )
            for name, pool in self._scraping.pools.items()
        ]


async def _send(servers: Servers, frame: bytes) -> bool:
    """Send a report and tell whether it was taken."""
    try:
        await servers.ask(_PATH, frame, TargetAnswer)
    except ServerError as error:
        _reports.labels("failed").inc()
        log.debug("A report of targets was not taken.", server=error.server, error=error)
        return False
    _reports.labels("taken").inc()
    return True


def report_of(settings: Settings, pools: Iterable[Pool]) -> TargetReport:
    """Return the report of all targets as they are now."""
    pools = list(pools)
    return TargetReport(
        cluster=settings.cluster,
        node=settings.node,
        active=[_active(loop, node=settings.node) for pool in pools for loop in pool.loops.values()],
        dropped=[
            DroppedTarget(pool=pool.job.job_name, discovered=dict(labels))
            for pool in pools
            for labels in pool.dropped.labels
        ],
        dropped_counts={pool.job.job_name: pool.dropped.count for pool in pools},
    )


def _active(loop: TargetLoop, *, node: str) -> ActiveTarget:
    target, outcome = loop.target, loop.outcome
    return ActiveTarget(
        pool=target.pool,
        url=target.url,
        global_url=global_url(target.url, node=node),
        discovered=dict(target.discovered),
        labels=target.public_labels,
        health=outcome.health,
        error=outcome.error,
        started_ns=outcome.started_ns,
        seconds=outcome.seconds,
        interval=target.labels[INTERVAL],
        timeout=target.labels[TIMEOUT],
    )


def global_url(url: str, *, node: str) -> str:
    """Return a URL with the node's name in place of a name that means this machine."""
    try:
        parts = urlsplit(url)
        if parts.hostname not in _LOCAL_HOSTS:
            return url
        return parts._replace(netloc=node if parts.port is None else f"{node}:{parts.port}").geturl()
    except ValueError:
        return url
