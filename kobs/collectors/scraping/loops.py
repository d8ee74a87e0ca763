"""One target's loop: when it is due it is asked, and what came of it is shipped and told.

The first scrape waits for the target's place within the interval, which its identity gives, so that targets spread over
time and keep their place over restarts. A sample's time is the moment at which the scrape was due where that is within
the tolerance, so that times lie on a grid. A loop that is stopped marks its series as stale only when the target has
had time to come back; a process that ends marks nothing, as the next one goes on.

Source: Prometheus 3, `scrape/scrape.go`.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from kobs import telemetry
from kobs.collectors.scraping.configuration import ScrapeConfig
from kobs.collectors.scraping.sources import Source, format_of
from kobs.collectors.scraping.target_series import ScrapeCounts, ScrapeError, TargetSeries
from kobs.collectors.scraping.targets import Target
from kobs.errors import KobsError
from kobs.wire.exposition.parsing import Parser
from kobs.wire.exposition.strict import StrictCheck

MOST_TOLERANCE_MS = 2.0
_EARLY_SECONDS = 0.003
"""Timers wake late, hardly ever early: aimed at a little before, a scrape is within the tolerance more often."""
_REST_OF_INTERVAL = 0.1

T = TypeVar("T")

log = telemetry.get_logger(__name__)
_scrapes = telemetry.counter("kobs_agent_scrapes_total", "Scrapes, by outcome.", ("outcome",))
_samples = telemetry.counter("kobs_agent_scraped_samples_total", "Samples that targets showed.")
_seconds = telemetry.histogram("kobs_agent_scrape_seconds", "Time of a scrape, from its request to its last sample.")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the last scrape went. `error` is empty where it went well; before the first one `started_ns` is 0."""

    started_ns: int = 0
    seconds: float = 0.0
    error: str = ""

    @property
    def health(self) -> str:
        """`up`, `down` or `unknown`."""
        return "unknown" if not self.started_ns else "down" if self.error else "up"


class TargetLoop:
    """The scraping of one target."""

    def __init__(
        self,
        target: Target,
        job: ScrapeConfig,
        series: TargetSeries,
        source: Source,
        *,
        former: "TargetLoop | None" = None,
        seed: int,
        is_strict: bool,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.target = target
        self.series = series
        self.outcome = Outcome()
        self.forced_error = ""
        """Why every scrape fails unasked; empty where none does."""
        self._job = job
        self._source = source
        self._seed = seed
        self._is_strict = is_strict
        self._now_ns = now_ns
        self._former = former
        self._stopping = asyncio.Event()
        self._stopped = asyncio.Event()
        self._is_succeeded = False
        self.has_ended = False
        """Whether it has nothing any more that another loop could take over."""

    def stop(self) -> None:
        """End after the scrape that is under way."""
        self._stopping.set()

    async def until_stopped(self) -> None:
        """Return when no more scrape will come."""
        await self._stopped.wait()

    async def run(self) -> None:
        """Scrape until stopped or cancelled; then wait for the target to come back, and mark its series as stale.

        A loop that follows another one of the same target begins when that one has stopped, and takes its series over.
        """
        interval = self.target.interval_ms / 1000
        is_stopped = await self._stopped_within(self._offset_seconds())
        if self._former is not None:
            await self._take_over(self._former)
            self._former = None
        aligned_ms = self._now_ns() / 1e6 + _EARLY_SECONDS * 1000
        due = time.monotonic() + _EARLY_SECONDS
        while not is_stopped:
            aligned_ms = await self._scrape_in_time(aligned_ms)
            due += interval
            late = time.monotonic() - due
            if late > interval:
                due += late // interval * interval
            is_stopped = await self._stopped_within(due - time.monotonic() - _EARLY_SECONDS)
        self._stopped.set()
        if self.series.is_shown:
            await self._end(due)
        self.has_ended = True

    async def _take_over(self, former: "TargetLoop") -> None:
        await former.until_stopped()
        if not former.has_ended:
            former._is_succeeded = former.has_ended = True  # noqa: SLF001 - another object of this class
            self.series.succeed(former.series)

    async def _end(self, due: float) -> None:
        interval = self.target.interval_ms / 1000
        await asyncio.sleep(max(due - time.monotonic(), 0))
        stale_ms = self._now_ns() // 1_000_000
        await asyncio.sleep(interval * (1 + _REST_OF_INTERVAL))
        if not self._is_succeeded:
            self.series.end(stale_ms)

    async def _scrape_in_time(self, aligned_ms: float) -> float:
        """Scrape, as of the moment that is due if it is that moment; return the one that was due."""
        now_ms = self._now_ns() / 1e6
        interval_ms = self.target.interval_ms
        aligned_ms += round((now_ms - aligned_ms) / interval_ms) * interval_ms
        tolerance_ms = min(interval_ms / 100, MOST_TOLERANCE_MS)
        is_in_time = -2 * _EARLY_SECONDS * 1000 <= now_ms - aligned_ms <= tolerance_ms
        await self.scrape(round(aligned_ms if is_in_time else now_ms))
        return aligned_ms

    async def scrape(self, time_ms: int) -> None:
        """Ask the target and ship what it shows, as of a time."""
        started_ns = self._now_ns()
        began = time.monotonic()
        counts, error = ScrapeCounts(), self.forced_error
        if error:
            self.series.fail(time_ms)
        else:
            counts, error = await self._scrape(time_ms)
        seconds = time.monotonic() - began
        self.series.report(time_ms, counts, is_up=not error, seconds=seconds)
        _scrapes.labels("failed" if error else "done").inc()
        _samples.inc(counts.scraped)
        _seconds.observe(seconds)
        if error and error != self.outcome.error:
            log.warning("A target cannot be scraped.", pool=self.target.pool, url=self.target.url, error=error)
        elif self.outcome.error and not error:
            log.info("A target is scraped again.", pool=self.target.pool, url=self.target.url)
        self.outcome = Outcome(started_ns, seconds, error)

    async def _scrape(self, time_ms: int) -> tuple[ScrapeCounts, str]:
        """Return what was found, and why the scrape failed, if it did; its series are stale then."""
        parser: Parser | None = None
        patience = _Patience(self.target.timeout_ms / 1000)
        try:
            async with contextlib.AsyncExitStack() as stack:
                answer = await patience.wait(stack.enter_async_context(self._source.open(self.target)))
                check: StrictCheck | None = None
                while piece := await patience.wait(anext(answer.pieces, b"")):
                    if parser is None:
                        form = format_of(answer.content_type, self._job.fallback_scrape_protocol)
                        parser = self.series.parser(form)
                        check = StrictCheck() if self._is_strict and form.is_openmetrics else None
                    if check is not None:
                        check.feed(piece)
                    parser.feed(piece)
                    self.series.check_size(parser)
                if parser is not None:
                    parser.finish()
                if check is not None:
                    check.finish()
            if parser is None:
                self.series.fail(time_ms)  # an empty answer shows nothing, which is no error
                return ScrapeCounts(), ""
            return self.series.commit(parser, time_ms), ""
        except KobsError as error:
            self.series.fail(time_ms)
            counts = ScrapeCounts() if parser is None else self.series.count(parser)
            return counts, str(error) or type(error).__name__
        finally:
            if parser is not None:
                self.series.tell_families(parser.told)

    def _offset_seconds(self) -> float:
        """Return how long it is to the target's own place within the interval, which is the same after a restart."""
        interval_ns = self.target.interval_ms * 1_000_000
        offset = (self.target.identity ^ self._seed) % interval_ns
        return ((offset - self._now_ns()) % interval_ns) / 1e9

    async def _stopped_within(self, seconds: float) -> bool:
        """Wait for a time, or shorter if the loop is to end; tell whether it is."""
        if self._stopping.is_set():
            return True
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stopping.wait()
        return self._stopping.is_set()


class _Patience:
    """A time limit on waiting for a target, all its answer together; time spent on reading it does not count."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._left = seconds

    async def wait(self, answer: Awaitable[T]) -> T:
        """Return what a target answers.

        Raises: ScrapeError where it takes too long.
        """
        began = time.monotonic()
        try:
            async with asyncio.timeout(max(self._left, 0)):
                return await answer
        except TimeoutError as error:
            # what was waited for notes it on the cancelling that passes through it
            waiting = "".join(f", {note}" for note in getattr(error.__cause__, "__notes__", ()))
            raise ScrapeError(f"no whole answer within {self._seconds:g} s (scrape_timeout){waiting}") from None
        finally:
            self._left -= time.monotonic() - began
