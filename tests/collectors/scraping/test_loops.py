"""One target over some scrapes: what is shipped, what is marked as stale, which limits fail a scrape, and its times."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from kobs.collectors.scraping.configuration import GlobalConfig, ScrapeConfig
from kobs.collectors.scraping.loops import TargetLoop
from kobs.collectors.scraping.series import HeldSeries
from kobs.collectors.scraping.sources import HttpSource
from kobs.collectors.scraping.target_series import TargetSeries
from kobs.collectors.scraping.targets import Target, make_target
from kobs.telemetry import REGISTRY
from tests.collectors.scraping.places import (
    OPENMETRICS_TYPE,
    Recorder,
    Request,
    answering,
    free_address,
    is_stale,
    serving,
)

NOW_MS = time.time_ns() // 1_000_000
STEP_MS = 15_000


class Scraped:
    """A target that shows one text after another, and what was shipped of it."""

    def __init__(
        self, *texts: bytes | Callable[[Request], None], most_samples: int = 1000, is_strict: bool = False, **job: Any
    ) -> None:
        self.recorder = Recorder()
        self.series = HeldSeries(self.recorder)
        shown = list(texts)

        def answer(request: Request) -> None:
            text = shown.pop(0)
            (text if callable(text) else answering(text))(request)

        with serving({"/metrics": answer}) as place:
            self.job = ScrapeConfig(job_name="j", **job).complete(GlobalConfig())
            target = make_target(self.job, self.job.relabelling(), address=place.address, group={"instance": "i"})
            assert isinstance(target, Target)
            source = HttpSource(self.job, body_limit=10**8)
            target_series = TargetSeries(
                target,
                self.job,
                series=self.series,
                shipping=self.recorder,
                extra_labels={"dc": "x"},
                most_samples=most_samples,
            )
            self.loop = TargetLoop(target, self.job, target_series, source, seed=0, is_strict=is_strict)
            self.errors: list[str] = []
            asyncio.run(self._run(len(texts), source))

    async def _run(self, count: int, source: HttpSource) -> None:
        for number in range(count):
            await self.loop.scrape(NOW_MS + number * STEP_MS)
            self.errors.append(self.loop.outcome.error)
        await source.close()

    def of(self, name: str, **labels: str) -> list[tuple[int, float | str]]:
        """Return number of the scrape and value, with `stale` for a marker."""
        return [
            ((time_ms - NOW_MS) // STEP_MS, "stale" if is_stale(value) else value)
            for time_ms, value in self.recorder.of(name, **labels)
        ]

    def values(self, name: str) -> list[float | str]:
        return [value for _, value in self.of(name)]


def discarded(reason: str) -> float:
    return REGISTRY.get_sample_value("kobs_discarded_total", {"signal": "metrics", "reason": reason}) or 0.0


# -- samples and staleness ---------------------------------------------------------------------------------------------


def test_a_series_that_is_gone_gets_one_stale_marker_and_may_come_back() -> None:
    scraped = Scraped(b"a 1\nb 1\n", b"a 2\n", b"a 3\n", b"b 4\n")
    assert scraped.of("a") == [(0, 1.0), (1, 2.0), (2, 3.0), (3, "stale")]
    assert scraped.of("b") == [(0, 1.0), (1, "stale"), (3, 4.0)]
    assert scraped.values("up") == [1.0] * 4
    assert scraped.values("scrape_samples_scraped") == [2.0, 1.0, 1.0, 1.0]
    assert scraped.values("scrape_series_added") == [2.0, 0.0, 0.0, 1.0]


def test_all_labels_are_there() -> None:
    scraped = Scraped(b'a{b="c"} 1\n')
    (labels,) = [labels for labels, _, _ in scraped.recorder.samples if labels["__name__"] == "a"]
    assert labels == {"__name__": "a", "b": "c", "instance": "i", "job": "j", "dc": "x"}


def test_an_external_label_does_not_replace_one_that_is_there() -> None:
    assert len(Scraped(b'a{dc="own"} 1\n').of("a", dc="own")) == 1


@pytest.mark.parametrize(
    "failure", [answering(b"", status=500), b"a 1\nb{ 2\n", answering(b"a 1\n", content_type="text/html")]
)
def test_a_scrape_that_fails_ends_all_series_and_stores_nothing(failure: Any) -> None:
    scraped = Scraped(b"a 1\nb 1\n", failure, failure, b"a 4\n")
    assert scraped.of("a") == [(0, 1.0), (1, "stale"), (3, 4.0)]
    assert scraped.of("b") == [(0, 1.0), (1, "stale")]
    assert scraped.values("up") == [1.0, 0.0, 0.0, 1.0]
    assert [bool(error) for error in scraped.errors] == [False, True, True, False]


def test_an_empty_answer_ends_all_series_and_is_no_error() -> None:
    scraped = Scraped(b"a 1\n", b"", b"a 3\n")
    assert scraped.of("a") == [(0, 1.0), (1, "stale"), (2, 3.0)]
    assert scraped.values("up") == [1.0, 1.0, 1.0]


def test_the_first_of_two_samples_counts() -> None:
    before = discarded("duplicate_sample")
    scraped = Scraped(b"a 1\na 2\n", b"a 3\na 4\n")
    assert scraped.of("a") == [(0, 1.0), (1, 3.0)]
    assert discarded("duplicate_sample") == before + 2
    assert scraped.values("scrape_samples_post_metric_relabeling") == [2.0, 2.0]


def test_rules_of_the_job_apply_to_samples() -> None:
    rules = [
        {"source_labels": ["__name__"], "regex": "go_.*", "action": "drop"},
        {"source_labels": ["code"], "regex": "(.)..", "target_label": "class", "replacement": "${1}xx"},
    ]
    scraped = Scraped(b'go_x 1\nhttp{code="404"} 2\n', b'go_x 1\nhttp{code="404"} 2\n', metric_relabel_configs=rules)
    assert len(scraped.of("http", **{"class": "4xx"})) == 2
    assert scraped.of("go_x") == []
    assert scraped.values("scrape_samples_scraped") == [2.0, 2.0]
    assert scraped.values("scrape_samples_post_metric_relabeling") == [1.0, 1.0]


def test_families_are_told_once_with_their_job() -> None:
    text = b"# TYPE a_seconds gauge\n# UNIT a_seconds seconds\n# HELP a_seconds Help.\na_seconds 1\n# EOF\n"
    scraped = Scraped(answering(text, content_type=OPENMETRICS_TYPE))
    family = scraped.recorder.families["j", "a_seconds"]
    assert (family.type.value, family.unit, family.help) == ("gauge", "seconds", "Help.")
    assert ("j", "up") in scraped.recorder.families


def test_what_is_not_shown_any_more_is_not_held_any_more() -> None:
    scraped = Scraped(b"a 1\nb 1\n", b"b 1\n")
    held = {scraped.recorder.labels[number]["__name__"] for number, count in scraped.recorder.held.items() if count}
    assert "a" not in held
    assert {"b", "up"} <= held


# -- times -------------------------------------------------------------------------------------------------------------


def timed(*lines: tuple[float, int]) -> bytes:
    return b"".join(b"t %g %d\n" % (value, NOW_MS + offset_ms) for value, offset_ms in lines)


def test_times_of_the_target_are_kept_and_not_marked_as_stale() -> None:
    scraped = Scraped(timed((1, -2000)), timed((2, 3000)), b"x 1\n")
    assert scraped.recorder.of("t") == [(NOW_MS - 2000, 1.0), (NOW_MS + 3000, 2.0)]


def test_times_of_the_target_are_tracked_where_the_job_says_so() -> None:
    scraped = Scraped(timed((1, -2000)), b"x 1\n", track_timestamps_staleness=True)
    assert scraped.recorder.of("t")[0] == (NOW_MS - 2000, 1.0)
    assert scraped.of("t")[1] == (1, "stale")


def test_times_of_the_target_are_left_where_the_job_says_so() -> None:
    assert Scraped(timed((1, -2000)), honor_timestamps=False).of("t") == [(0, 1.0)]


def test_what_a_store_in_order_would_not_take_is_left_out_and_counted() -> None:
    reasons = ("time_out_of_range", "out_of_order", "duplicate_sample")
    before = [discarded(reason) for reason in reasons]
    day_ms = 86_400_000
    far = b"f 1 0\nf 2 %d\n" % (NOW_MS + day_ms)
    scraped = Scraped(timed((1, 0)) + far, timed((1, 0), (2, 0), (3, -1000), (4, 1000)))
    assert scraped.recorder.of("t") == [(NOW_MS, 1.0), (NOW_MS + 1000, 4.0)]
    assert scraped.recorder.of("f") == []
    assert scraped.errors == ["", ""]
    assert [discarded(reason) - count for reason, count in zip(reasons, before, strict=True)] == [2, 1, 1]


# -- limits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("job", "text", "reason"),
    [
        ({"sample_limit": 2}, b"a 1\nb 1\nc 1\n", "sample limit exceeded (number of samples: 3, limit: 2)"),
        ({"label_limit": 3}, b'a{x="1"} 1\n', "label_limit exceeded (metric: a, number of labels: 4, limit: 3)"),
        (
            {"label_name_length_limit": 9},
            b'a{a_long_name="1"} 1\n',
            "label_name_length_limit exceeded (metric: a, label name: a_long_name, length: 11, limit: 9)",
        ),
        (
            {"label_value_length_limit": 5},
            b'a{x="123456"} 1\n',
            "label_value_length_limit exceeded (metric: a, label name: x, value: '123456', length: 6, limit: 5)",
        ),
        ({"body_size_limit": "4B"}, b"a 1\n", "body size limit exceeded"),
        ({"metric_name_validation_scheme": "legacy"}, b'{"a.b"} 1\n', "invalid metric name or label names: 'a.b'"),
        (
            {"metric_relabel_configs": [{"regex": "__name__", "action": "labeldrop"}]},
            b"a 1\n",
            "missing metric name (__name__ label)",
        ),
    ],
)
def test_a_limit_fails_the_scrape_and_is_told_with_its_numbers(job: dict[str, Any], text: bytes, reason: str) -> None:
    scraped = Scraped(b"", text, **job)
    assert scraped.errors == ["", reason]
    assert scraped.values("up") == [1.0, 0.0]
    assert scraped.values("a") == []


def test_a_million_series_are_stopped_where_the_job_sets_no_limit() -> None:
    """The rest of the agent goes on: no more series are registered than may be, and none is kept."""
    body = b"".join(b"m%d 1\n" % number for number in range(20_000))
    scraped = Scraped(body, body, b"a 1\n", most_samples=5000)
    assert [bool(error) for error in scraped.errors] == [True, True, False]
    assert "the target shows" in scraped.errors[0]
    assert "5000 are the limit (agent.scrape_samples)" in scraped.errors[0]
    assert scraped.values("a") == [1.0]
    assert len(scraped.recorder.labels) < 15_000
    assert sum(scraped.recorder.held.values()) < 10


def test_a_limit_of_the_job_goes_before_that_of_the_agent() -> None:
    body = b"".join(b"m%d 1\n" % number for number in range(2000))
    assert Scraped(body, most_samples=1000, sample_limit=2000).errors == [""]


def test_a_value_of_a_megabyte_is_taken_where_no_limit_forbids_it() -> None:
    scraped = Scraped(b'a{x="' + b"y" * 2**20 + b'"} 1\n')
    assert scraped.errors == [""]
    assert len(scraped.of("a", x="y" * 2**20)) == 1


def test_a_slow_trickle_ends_with_the_scrapes_time() -> None:
    def trickle(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "text/plain")
        request.end_headers()
        for number in range(1000):
            request.wfile.write(b"m%d 1\n" % number)
            time.sleep(0.02)

    scraped = Scraped(trickle, b"a 1\n", scrape_timeout="300ms")
    assert scraped.errors == ["no whole answer within 0.3 s (scrape_timeout)", ""]
    assert scraped.values("up") == [0.0, 1.0]


def test_strictness_is_a_choice() -> None:
    text = answering(b"# TYPE a counter\na 1\n# EOF\n", content_type=OPENMETRICS_TYPE)
    assert Scraped(text).errors == [""]
    (error,) = Scraped(text, is_strict=True).errors
    assert error == "line 2: samples of a, which is of type counter, are named a_total, a_created"


# -- the loop itself ---------------------------------------------------------------------------------------------------


SOURCES: list[HttpSource] = []
"""To be closed at a test's end."""


async def closed(running: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await running
    finally:
        while SOURCES:
            await SOURCES.pop().close()


def loop_for(recorder: Recorder, series: HeldSeries, address: str, former: TargetLoop | None = None) -> TargetLoop:
    job = ScrapeConfig(job_name="j", scrape_interval="200ms").complete(GlobalConfig())
    target = make_target(job, job.relabelling(), address=address, group={})
    assert isinstance(target, Target)
    target_series = TargetSeries(target, job, series=series, shipping=recorder, extra_labels={}, most_samples=1000)
    source = HttpSource(job, body_limit=10**8)
    SOURCES.append(source)
    return TargetLoop(target, job, target_series, source, former=former, seed=7, is_strict=False)


async def until(is_true: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not is_true():  # noqa: ASYNC110 - a loop tells by no event
            await asyncio.sleep(0.005)


def test_scrapes_come_in_the_interval_at_the_targets_own_place() -> None:
    recorder = Recorder()

    async def run(address: str) -> TargetLoop:
        loop = loop_for(recorder, HeldSeries(recorder), address)
        task = asyncio.ensure_future(loop.run())
        await until(lambda: len(recorder.of("a")) >= 6)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return loop

    with serving({"/metrics": b"a 1\n"}) as place:
        loop = asyncio.run(closed(run(place.address)))
    times = [time_ms for time_ms, _ in recorder.of("a")]
    place_ns = (loop.target.identity ^ 7) % 200_000_000
    # The first scrape is at its place within the interval, or later; most others are on the grid that it began.
    assert all(later > earlier for earlier, later in itertools.pairwise(times))
    assert (times[0] * 1_000_000 - place_ns) % 200_000_000 < 190_000_000
    assert not any(is_stale(value) for _, _, value in recorder.samples)


def test_a_target_that_goes_is_marked_as_stale_after_two_intervals() -> None:
    recorder = Recorder()
    series = HeldSeries(recorder)

    async def run(address: str) -> tuple[float, float]:
        loop = loop_for(recorder, series, address)
        task = asyncio.ensure_future(loop.run())
        await until(lambda: recorder.of("a"))
        loop.stop()
        stopped = time.monotonic()
        await task
        return time.monotonic() - stopped, stopped

    with serving({"/metrics": b"a 1\n"}) as place:
        took, _ = asyncio.run(closed(run(place.address)))
    assert took > 0.2
    *_, (last_ms, last) = recorder.of("a")
    assert is_stale(last)
    assert last_ms > recorder.of("a")[0][0]
    for name in ("up", "scrape_duration_seconds", "scrape_samples_scraped", "scrape_series_added"):
        assert is_stale(recorder.of(name)[-1][1])
    assert sum(recorder.held.values()) == 0


def test_a_target_that_comes_back_goes_on_with_its_series() -> None:
    recorder = Recorder()
    series = HeldSeries(recorder)

    async def run(address: str) -> None:
        first = loop_for(recorder, series, address)
        first_task = asyncio.ensure_future(first.run())
        await until(lambda: recorder.of("a"))
        first.stop()
        second = loop_for(recorder, series, address, former=first)
        second_task = asyncio.ensure_future(second.run())
        count = len(recorder.of("a"))
        await until(lambda: len(recorder.of("a")) >= count + 4)
        assert first.has_ended
        await first_task
        second.stop()
        await second_task

    with serving({"/metrics": b"a 1\n"}) as place:
        asyncio.run(closed(run(place.address)))
    stale = [is_stale(value) for _, value in recorder.of("a")]
    assert stale.count(True) == 1
    assert stale[-1]
    assert sum(recorder.held.values()) == 0


def test_a_series_that_another_target_shows_does_not_end_with_one() -> None:
    recorder = Recorder()
    series = HeldSeries(recorder)

    async def run(address: str) -> None:
        first = loop_for(recorder, series, address)
        await first.scrape(NOW_MS)
        again = loop_for(recorder, series, address)
        await again.scrape(NOW_MS + 1)
        first.series.end(NOW_MS + 2)

    with serving({"/metrics": b"a 1\n"}) as place:
        asyncio.run(closed(run(place.address)))
    assert recorder.of("a") == [(NOW_MS, 1.0), (NOW_MS + 1, 1.0)]


def test_nobody_there_is_down_and_told_once() -> None:
    recorder = Recorder()

    async def run() -> TargetLoop:
        loop = loop_for(recorder, HeldSeries(recorder), free_address())
        assert loop.outcome.health == "unknown"
        await loop.scrape(NOW_MS)
        return loop

    loop = asyncio.run(closed(run()))
    assert (loop.outcome.health, loop.outcome.error) == ("down", "Connection refused")
    assert recorder.of("up") == [(NOW_MS, 0.0)]


@pytest.mark.parametrize(
    "address",
    ["[::1:80", "a b:80", "127.0.0.1:99999", "host:port", "\x00:1", "ü.invalid:80", f"{'x' * 300}:80", "a:b@c:80",
     "a?b:80", "#:1", "%:1", "*:80", "..:80", "[fe80::1%eth0]:80", "\n:80"],
    ids=repr,
)  # fmt: skip
def test_an_address_that_is_none_is_an_error_of_its_scrape_alone(address: str) -> None:
    recorder = Recorder()

    async def run() -> TargetLoop:
        loop = loop_for(recorder, HeldSeries(recorder), address)
        await loop.scrape(NOW_MS)
        return loop

    loop = asyncio.run(closed(run()))
    assert (loop.outcome.health, bool(loop.outcome.error)) == ("down", True)
    assert recorder.of("up") == [(NOW_MS, 0.0)]
