"""What one target showed and shows: a parsed exposition arrives, columns leave to be shipped, with stale markers.

A sample without a time of its own gets that of the scrape. A series that was there in the scrape before and is not any
more gets a stale marker, as do all when a scrape fails or the target goes; series with times of their own only if the
job tracks them. Limits, duplicates and times out of order are treated as Prometheus 3 does: a limit that is exceeded
fails the scrape, a sample that comes twice or too late is left out and counted.

Source: Prometheus 3, `scrape/scrape.go`.
"""

import math
import struct
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kobs import telemetry
from kobs.collectors.scraping.configuration import ScrapeConfig
from kobs.collectors.scraping.relabelling import is_label_name
from kobs.collectors.scraping.series import HeldSeries, Shipping
from kobs.collectors.scraping.targets import Target
from kobs.errors import KobsError
from kobs.model.labels import METRIC_NAME
from kobs.model.samples import STALE_NAN_BITS, Family, MetricType
from kobs.wire.exposition.lines import MetaLine
from kobs.wire.exposition.parsing import Format, Parser

STALE_NAN: float = struct.unpack("<d", struct.pack("<Q", STALE_NAN_BITS))[0]
OLDEST_MS = 3_600_000
"""How far back a time of a target's own may lie: what a Prometheus takes, whose head reaches back an hour."""
NEWEST_MS = 600_000

REPORT_FAMILIES = (
    Family("up", MetricType.GAUGE, "", "Whether the last scrape of the target succeeded: 1, or 0."),
    Family("scrape_duration_seconds", MetricType.GAUGE, "seconds", "How long the scrape took."),
    Family("scrape_samples_scraped", MetricType.GAUGE, "", "Samples that the target showed."),
    Family("scrape_samples_post_metric_relabeling", MetricType.GAUGE, "", "Samples that its rules left."),
    Family("scrape_series_added", MetricType.GAUGE, "", "Series that are new in this scrape, approximately."),
)

_OVER_LIMIT = -1
_FIRST_DROPPED = -2
_LEGACY_METRIC = ":"

log = telemetry.get_logger(__name__)


class ScrapeError(KobsError):
    """A scrape failed; the message is what the target's view tells."""


@dataclass(frozen=True, slots=True)
class ScrapeCounts:
    """What a scrape found: samples shown, samples after the rules, series that are new."""

    scraped: int = 0
    kept: int = 0
    added: int = 0


@dataclass(slots=True)
class Memory:
    """What is remembered of a target from one scrape to the next."""

    known: dict[bytes, int] = field(default_factory=dict)
    """Numbers by the series' texts; negative for those that the job's rules drop."""
    meta: dict[bytes, MetaLine | None] = field(default_factory=dict)
    families: dict[str, Family] = field(default_factory=dict)
    retired: list[int] = field(default_factory=list)
    """Numbers that are held until the next scrape has ended, for its stale markers."""
    dropped: int = 0
    previous: "array[int]" = field(default_factory=lambda: array("i"))
    previous_timed: "array[int]" = field(default_factory=lambda: array("i"))
    """What the scrape before showed, without and (if tracked) with times of its own."""
    last: dict[int, tuple[int, float]] = field(default_factory=dict)
    """The last time and value of series with times of their own."""
    reports: list[int] = field(default_factory=list)
    successful: int = 0
    """How many series were known after the last scrape that succeeded."""

    def all_held(self) -> list[int]:
        """Return the numbers that are held, once for each time."""
        return [*self.retired, *self.reports, *(number for number in self.known.values() if number >= 0)]


class TargetSeries:
    """The series of one target, over all its scrapes."""

    def __init__(
        self,
        target: Target,
        job: ScrapeConfig,
        *,
        series: HeldSeries,
        shipping: Shipping,
        extra_labels: Mapping[str, str],
        most_samples: int,
    ) -> None:
        self._series = series
        self._shipping = shipping
        self.rules = job, extra_labels
        """What gives a sample its labels, beside those of the target."""
        self._job = job
        self._rules = job.metric_relabelling()
        self._labels = target.public_labels
        self._extra_labels = extra_labels
        self._most_samples = most_samples
        self.memory = Memory()
        self._added = 0

    def succeed(self, former: "TargetSeries") -> None:
        """Go on where the series of the same target ended, which are not used any more.

        What was shown stays known for its stale markers; what was read of labels stays true under the same job only.
        """
        if former.rules == self.rules:
            self.memory = former.memory
            return
        self.memory.previous, self.memory.previous_timed = former.memory.previous, former.memory.previous_timed
        self.memory.last = former.memory.last
        self.memory.retired = former.memory.all_held()

    @property
    def is_shown(self) -> bool:
        """Whether there is anything that a stale marker must end."""
        return bool(self.memory.reports or self.memory.previous or self.memory.previous_timed)

    def parser(self, form: Format) -> Parser:
        """Return a parser for the next exposition."""
        self._added = 0
        return Parser(form, self.memory.known, self._resolve, meta=self.memory.meta)

    # -- a scrape's end ------------------------------------------------------------------------------------------------

    def commit(self, parsed: Parser, time_ms: int) -> ScrapeCounts:
        """Ship what a whole exposition holds, as of a time.

        Raises: ScrapeError where a limit is exceeded; nothing is shipped then.
        """
        counts = self.count(parsed)
        self.check_size(parsed)
        limit = self._job.sample_limit
        if limit and counts.kept > limit:
            raise ScrapeError(f"sample limit exceeded (number of samples: {counts.kept}, limit: {limit})")
        numbers, values = parsed.numbers, parsed.values
        timed, timed_values, times_ms = parsed.timed_numbers, parsed.timed_values, parsed.times_ms
        if not self._job.honor_timestamps:
            numbers, values = numbers + timed, values + timed_values
            timed, timed_values, times_ms = array("i"), array("d"), array("q")
        memory = self.memory
        is_as_before = numbers == memory.previous
        if not is_as_before and len(set(numbers)) < len(numbers):
            numbers, values = _without_duplicates(numbers, values)
        self._put(time_ms, values, numbers)
        if timed:
            self._put_timed(timed, timed_values, times_ms, now_ms=time_ms)
        tracked = timed if self._job.track_timestamps_staleness else array("i")
        if not is_as_before or tracked != memory.previous_timed:
            before = {*memory.previous, *memory.previous_timed}
            self._mark_stale(before.difference(numbers, tracked), time_ms)
        memory.previous, memory.previous_timed = numbers, tracked
        if not is_as_before or len(numbers) + len(timed) + len(parsed.left_out) != len(memory.known):
            self._forget_unseen({*numbers, *timed, *parsed.left_out})
        self._let_retired_go()
        memory.successful = len(memory.known)
        return counts

    def fail(self, time_ms: int) -> None:
        """Mark all series of the scrape before as stale: this one has failed."""
        self._mark_stale({*self.memory.previous, *self.memory.previous_timed}, time_ms)
        self.memory.previous, self.memory.previous_timed = array("i"), array("i")
        if len(self.memory.known) > 2 * self.memory.successful + 1000:
            # A target whose failing scrapes show ever new series must not fill the memory.
            self._forget_unseen(set())
        self._let_retired_go()

    def report(self, time_ms: int, counts: ScrapeCounts, *, is_up: bool, seconds: float) -> None:
        """Ship the series about the scrape itself."""
        if not self.memory.reports:
            self.memory.reports = [self._hold({METRIC_NAME: family.name, **self._labels}) for family in REPORT_FAMILIES]
            self._shipping.describe(self._labels.get("job", ""), REPORT_FAMILIES)
        values = (float(is_up), seconds, float(counts.scraped), float(counts.kept), float(counts.added))
        self._put(time_ms, array("d", values), array("i", self.memory.reports))

    def end(self, time_ms: int) -> None:
        """Mark everything as stale that no other target shows, and forget it: the target is gone."""
        memory = self.memory
        held = memory.all_held()
        numbers = {*memory.previous, *memory.previous_timed}.intersection(held).union(memory.reports)
        self._mark_stale((number for number in numbers if self._series.holders(number) == 1), time_ms)
        self.memory = Memory(retired=held)
        self._let_retired_go()

    def count(self, parsed: Parser) -> ScrapeCounts:
        """Return what an exposition has shown so far."""
        over = parsed.left_out.count(_OVER_LIMIT)
        kept = len(parsed.numbers) + len(parsed.timed_numbers) + over
        added, limit = self._added, self._job.sample_limit
        if limit and kept > limit:
            added = min(added, max(limit - (kept - added - over), 0))  # of what is beyond the limit nothing is new
        return ScrapeCounts(kept + len(parsed.left_out) - over + parsed.refused, kept, added)

    def check_size(self, parsed: Parser) -> None:
        """Refuse an exposition that goes on and on, while it is read; a `sample_limit` is left to its end.

        Raises: ScrapeError.
        """
        if not self._job.sample_limit:
            kept = self.count(parsed).kept
            if kept > self._most_samples:
                raise ScrapeError(
                    f"the target shows {kept} samples and goes on: {self._most_samples} are the limit"
                    " (agent.scrape_samples); a sample_limit of the job goes before it"
                )

    # -- labels of a new series ----------------------------------------------------------------------------------------

    def _resolve(self, text: bytes, labels: dict[str, str]) -> int:
        final = self._final_labels(labels)
        if final is None:
            self.memory.dropped += 1
            self.memory.known[text] = _FIRST_DROPPED - self.memory.dropped
            return self.memory.known[text]
        self._check_labels(final)
        if self._added >= (self._job.sample_limit or self._most_samples):
            return _OVER_LIMIT
        self._added += 1
        self.memory.known[text] = self._hold(final)
        return self.memory.known[text]

    def _hold(self, labels: dict[str, str]) -> int:
        return self._series.hold({**self._extra_labels, **labels})

    def _final_labels(self, labels: dict[str, str]) -> dict[str, str] | None:
        """Return a sample's labels with those of the target, after the job's rules; None if these drop it."""
        shown = {name: value for name, value in labels.items() if value}
        if self._job.honor_labels:
            # an empty label that the target shows keeps the target's own away
            merged = {**{name: value for name, value in self._labels.items() if name not in labels}, **shown}
        else:
            merged = {**shown, **self._labels}
            for name in sorted(self._labels.keys() & shown.keys(), key=len):
                exported = f"exported_{name}"
                while exported in merged:
                    exported = f"exported_{exported}"
                merged[exported] = shown[name]
        return self._rules.apply(merged) if self._rules else merged

    def _check_labels(self, labels: Mapping[str, str]) -> None:
        name = labels.get(METRIC_NAME)
        if name is None:
            raise ScrapeError("missing metric name (__name__ label)")
        if self._job.only_legacy_names:
            for each in labels:
                if not is_label_name(each, only_legacy=True):
                    raise ScrapeError(f"invalid metric name or label names: {_shown(name)}, label {_shown(each)}")
            if not is_label_name(name.replace(_LEGACY_METRIC, "_"), only_legacy=True):
                raise ScrapeError(f"invalid metric name or label names: {_shown(name)}")
        job = self._job
        if job.label_limit and len(labels) > job.label_limit:
            raise ScrapeError(
                f"label_limit exceeded (metric: {name[:50]}, number of labels: {len(labels)}, limit: {job.label_limit})"
            )
        if job.label_name_length_limit or job.label_value_length_limit:
            self._check_lengths(name, labels)

    def _check_lengths(self, name: str, labels: Mapping[str, str]) -> None:
        names, values = self._job.label_name_length_limit, self._job.label_value_length_limit
        for each, value in labels.items():
            length = len(each.encode())
            if names and length > names:
                raise ScrapeError(
                    f"label_name_length_limit exceeded (metric: {name[:50]}, label name: {each[:50]},"
                    f" length: {length}, limit: {names})"
                )
            length = len(value.encode())
            if values and length > values:
                raise ScrapeError(
                    f"label_value_length_limit exceeded (metric: {name[:50]}, label name: {each[:50]},"
                    f" value: {value[:50]!r}, length: {length}, limit: {values})"
                )

    # -- columns -------------------------------------------------------------------------------------------------------

    def _put(self, time_ms: int, values: "array[float]", numbers: "array[int]") -> None:
        if numbers:
            self._shipping.put_columns(array("q", [time_ms]) * len(numbers), values, array("I", numbers.tobytes()))

    def _put_timed(self, numbers: "array[int]", values: "array[float]", times_ms: "array[int]", *, now_ms: int) -> None:
        """Ship samples with times of their own, but those that a store in order would not take."""
        last = self.memory.last
        kept = []
        out_of_bounds = out_of_order = doubled = 0
        for at, (number, value, time_ms) in enumerate(zip(numbers, values, times_ms, strict=True)):
            before = last.get(number)
            if not now_ms - OLDEST_MS <= time_ms <= now_ms + NEWEST_MS:
                out_of_bounds += 1
            elif before is None or time_ms > before[0]:
                last[number] = time_ms, value
                kept.append(at)
            elif time_ms < before[0]:
                out_of_order += 1
            elif value != before[1] and not (math.isnan(value) and math.isnan(before[1])):
                doubled += 1
        _count_left_out("time_out_of_range", out_of_bounds)
        _count_left_out("out_of_order", out_of_order)
        _count_left_out("duplicate_sample", doubled)
        if len(kept) == len(numbers):
            self._shipping.put_columns(times_ms, values, array("I", numbers.tobytes()))
        elif kept:
            self._shipping.put_columns(
                array("q", [times_ms[at] for at in kept]),
                array("d", [values[at] for at in kept]),
                array("I", [numbers[at] for at in kept]),
            )

    def _mark_stale(self, numbers: Iterable[int], time_ms: int) -> None:
        stale = array("i", sorted(numbers))
        self._put(time_ms, array("d", [STALE_NAN]) * len(stale), stale)

    def _forget_unseen(self, seen: set[int]) -> None:
        """Forget the texts of series that are not there any more."""
        gone = [(text, number) for text, number in self.memory.known.items() if number not in seen]
        for text, number in gone:
            del self.memory.known[text]
            self.memory.last.pop(number, None)
        self._series.let_go([number for _, number in gone if number >= 0])

    def _let_retired_go(self) -> None:
        if self.memory.retired:
            retired, self.memory.retired = self.memory.retired, []
            self._series.let_go(retired)

    def tell_families(self, told: list[MetaLine]) -> None:
        """Pass on what an exposition says that is new, also where the rest of it is of no use."""
        changed: dict[str, Family] = {}
        for said in told:
            family = self.memory.families.get(said.family) or Family(said.family, MetricType.UNKNOWN, "", "")
            changed[said.family] = self.memory.families[said.family] = Family(
                said.family,
                family.type if said.type is None else said.type,
                family.unit if said.unit is None else said.unit,
                family.help if said.help is None else said.help,
            )
        if changed:
            self._shipping.describe(self._labels.get("job", ""), changed.values())


def _without_duplicates(numbers: "array[int]", values: "array[float]") -> "tuple[array[int], array[float]]":
    """Leave out all but the first sample of each series."""
    first: dict[int, float] = {}
    for number, value in zip(numbers, values, strict=True):
        first.setdefault(number, value)
    _count_left_out("duplicate_sample", len(numbers) - len(first))
    return array("i", first), array("d", first.values())


def _count_left_out(reason: str, count: int) -> None:
    if count:
        telemetry.discarded("metrics", reason, count)


def _shown(text: str) -> str:
    return repr(text[:50])
