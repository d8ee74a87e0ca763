"""Checks an exposition against the whole OpenMetrics 1.0 specification, beyond what a Prometheus refuses.

Lines arrive in pieces, as for `parsing`; nothing leaves but an error at the first line that breaks a rule: the form of
each line, one family and one metric after the other, types, units, names that clash, timestamps that go back, and the
values that counters, histograms, summaries, infos and state sets may have.

Source: the OpenMetrics specification 1.0.
"""

import math
from dataclasses import dataclass, field

from kobs.model.labels import METRIC_NAME
from kobs.model.samples import MetricType
from kobs.wire.exposition.lines import MetaLine, SampleLine, read_openmetrics_meta, read_openmetrics_sample
from kobs.wire.exposition.numbers import parse_number
from kobs.wire.exposition.parsing import ExpositionError

MOST_EXEMPLAR_CHARACTERS = 128

_SUFFIXES = {
    MetricType.COUNTER: ("_total", "_created"),
    MetricType.GAUGE: ("",),
    MetricType.HISTOGRAM: ("_bucket", "_count", "_sum", "_created"),
    MetricType.GAUGE_HISTOGRAM: ("_bucket", "_gcount", "_gsum"),
    MetricType.SUMMARY: ("", "_count", "_sum", "_created"),
    MetricType.INFO: ("_info",),
    MetricType.STATESET: ("",),
    MetricType.UNKNOWN: ("",),
}
_COUNTED = frozenset({"_total", "_bucket", "_count", "_gcount"})
"""Suffixes of values that count something: never negative, never NaN."""
_WHOLE = frozenset({"_bucket", "_count", "_gcount"})
_WITH_EXEMPLAR = frozenset({"_total", "_bucket"})
_HISTOGRAMS = frozenset({MetricType.HISTOGRAM, MetricType.GAUGE_HISTOGRAM})

Metric = tuple[tuple[str, str], ...]
"""The labels that a family's samples of one metric have in common."""


@dataclass(slots=True)
class _Family:
    """The family that is being read."""

    name: str
    line: int
    type: MetricType = MetricType.UNKNOWN
    unit: str = ""
    told: set[str] = field(default_factory=set)
    has_samples: bool = False
    metrics: set[Metric] = field(default_factory=set)

    def suffixes(self) -> tuple[str, ...]:
        return _SUFFIXES[self.type]

    def names(self) -> list[str]:
        """Return every name that it takes, its own included."""
        return [self.name, *(self.name + suffix for suffix in self.suffixes() if suffix)]


@dataclass(slots=True)
class _Points:
    """The samples of one metric with one time; of a histogram what its buckets and sums have shown."""

    metric: Metric
    time: float | None
    seen: set[tuple[str, str]] = field(default_factory=set)
    last_bound: float = -math.inf
    last_count: float = 0.0
    has_infinite: bool = False
    has_negative: bool = False
    values: dict[str, float] = field(default_factory=dict)


class StrictCheck:
    """The check of one exposition."""

    def __init__(self) -> None:
        self._tail = b""
        self._line = 0
        self._ended = False
        self._family: _Family | None = None
        self._points: _Points | None = None
        self._taken: set[str] = set()

    def feed(self, piece: bytes) -> None:
        """Check the next bytes.

        Raises: ExpositionError.
        """
        *lines, self._tail = (self._tail + piece).split(b"\n")
        for line in lines:
            self._check(line)

    def finish(self) -> None:
        """Check the end.

        Raises: ExpositionError.
        """
        if self._tail:
            self._check(self._tail)
        if not self._ended:
            raise ExpositionError(self._line, "the text does not end with # EOF")

    def _check(self, line: bytes) -> None:
        self._line += 1
        try:
            if self._ended:
                raise ValueError("text after # EOF")
            if line == b"# EOF":
                self._close_family()
                self._ended = True
            elif line.startswith(b"#"):
                self._check_meta(line, read_openmetrics_meta(line))
            else:
                self._check_sample(read_openmetrics_sample(line, MetricType.UNKNOWN))
        except ValueError as error:
            raise ExpositionError(self._line, str(error)) from None

    def _check_meta(self, line: bytes, said: MetaLine) -> None:
        what = line[2:6].decode()
        if line.count(b" ") < 3:
            raise ValueError(f"expected a space and a text after # {what} {said.family}")
        family = self._family
        if family is None or family.name != said.family:
            family = self._open_family(said.family)
        if family.has_samples:
            raise ValueError(f"# {what} {said.family} must come before the samples of its family")
        if what in family.told:
            raise ValueError(f"a second # {what} of {said.family}")
        family.told.add(what)
        if said.type is not None:
            family.type = said.type
        if said.unit:
            family.unit = said.unit
        if family.unit and family.type in (MetricType.INFO, MetricType.STATESET):
            raise ValueError(f"{family.name} is of type {family.type}, which has no unit")

    def _open_family(self, name: str) -> _Family:
        self._close_family()
        if name in self._taken:
            raise ValueError(f"{name} clashes with a family before it, or goes on after another family")
        self._family = _Family(name, self._line)
        return self._family

    def _close_family(self) -> None:
        self._close_points()
        family, self._family = self._family, None
        if family is None:
            return
        for name in family.names():
            if name in self._taken:
                raise ExpositionError(
                    family.line, f"{family.name} of type {family.type} takes the name {name}, which another family has"
                )
        self._taken.update(family.names())

    def _check_sample(self, sample: SampleLine) -> None:
        if sample.series.endswith(b",}"):
            raise ValueError("a comma after the last label")
        labels = sample.labels
        name = labels.pop(METRIC_NAME)
        family = self._family
        suffix = None if family is None else self._suffix(family, name)
        if family is None or suffix is None:
            family, suffix = self._open_family(name), ""
        family.has_samples = True
        self._check_value(family, suffix, sample.value)
        self._check_exemplar(family, suffix, sample)
        varying = _varying_label(family, suffix)
        bound = ""
        if varying is not None:
            if varying not in labels:
                raise ValueError(f"{name} is of a {family.type} and needs the label {varying}")
            bound = labels.pop(varying)
        metric = tuple(sorted(labels.items()))
        points = self._points_of(family, metric, None if sample.time_text is None else parse_number(sample.time_text))
        if (suffix, bound) in points.seen and points.time is None:
            raise ValueError(f"{name} with the same labels is there twice")
        points.seen.add((suffix, bound))
        if family.type in _HISTOGRAMS:
            _note_histogram(points, suffix, bound, sample.value)
        elif family.type is MetricType.SUMMARY and suffix == "":
            _check_quantile(bound)

    def _suffix(self, family: _Family, name: str) -> str | None:
        rest = name.removeprefix(family.name)
        if name.startswith(family.name) and rest in family.suffixes():
            return rest
        if name == family.name:
            expected = ", ".join(family.name + suffix for suffix in family.suffixes())
            raise ValueError(f"samples of {name}, which is of type {family.type}, are named {expected}")
        return None

    def _points_of(self, family: _Family, metric: Metric, time: float | None) -> _Points:
        """Return the points that a sample belongs to; metrics come one after another, and their times in order."""
        points = self._points
        if points is not None and points.metric == metric:
            if (points.time is None) != (time is None):
                raise ValueError("of one metric some samples have a timestamp and some have none")
            if points.time == time:
                return points
            if points.time is not None and time is not None and time < points.time:
                raise ValueError("the timestamp is before that of the sample above")
        elif metric in family.metrics:
            raise ValueError("samples of one metric must come one after another")
        self._close_points()
        family.metrics.add(metric)
        self._points = _Points(metric, time)
        return self._points

    def _close_points(self) -> None:
        points, self._points = self._points, None
        if points is None or self._family is None or self._family.type not in _HISTOGRAMS:
            return
        is_gauge = self._family.type is MetricType.GAUGE_HISTOGRAM
        count, total = ("_gcount", "_gsum") if is_gauge else ("_count", "_sum")
        if not points.has_infinite:
            raise ExpositionError(self._line - 1, f'{self._family.name}: no bucket with le="+Inf"')
        if (count in points.values) != (total in points.values) and (is_gauge or not points.has_negative):
            raise ExpositionError(self._line - 1, f"{self._family.name}: expected both {count} and {total}, or neither")
        if points.values.get(count, points.last_count) != points.last_count:
            raise ExpositionError(self._line - 1, f'{self._family.name}: {count} differs from the bucket of le="+Inf"')
        if total in points.values:
            if not is_gauge and points.has_negative:
                raise ExpositionError(self._line - 1, f"{self._family.name}: {total} beside a bucket below 0")
            if points.values[total] < 0 and not points.has_negative:
                raise ExpositionError(self._line - 1, f"{self._family.name}: {total} is negative, and no bucket is")

    @staticmethod
    def _check_value(family: _Family, suffix: str, value: float) -> None:
        kind = family.type
        if kind is MetricType.INFO and value != 1:
            raise ValueError("an info has the value 1")
        if kind is MetricType.STATESET and value not in (0, 1):
            raise ValueError("a state has the value 0 or 1")
        is_sum = suffix in ("_sum", "_gsum")
        if (suffix in _COUNTED or is_sum) and math.isnan(value):
            raise ValueError(f"{family.name}{suffix} is NaN")
        is_positive = suffix in _COUNTED or suffix == "_sum" or (kind is MetricType.SUMMARY and suffix == "")
        if is_positive and value < 0:
            raise ValueError(f"{family.name}{suffix} is negative")
        if suffix in _WHOLE and value != math.floor(value):
            raise ValueError(f"{family.name}{suffix} is no whole number")

    @staticmethod
    def _check_exemplar(family: _Family, suffix: str, sample: SampleLine) -> None:
        if sample.exemplar is None:
            return
        if suffix not in _WITH_EXEMPLAR:
            raise ValueError(f"{family.name}{suffix} of a {family.type} cannot have an exemplar")
        size = sum(len(name) + len(value) for name, value in sample.exemplar.items())
        if size > MOST_EXEMPLAR_CHARACTERS:
            raise ValueError(f"an exemplar with labels of {size} characters: {MOST_EXEMPLAR_CHARACTERS} is the limit")


def _varying_label(family: _Family, suffix: str) -> str | None:
    """Return the label that tells samples of one metric apart."""
    if suffix == "_bucket":
        return "le"
    if family.type is MetricType.STATESET:
        return family.name
    return "quantile" if family.type is MetricType.SUMMARY and suffix == "" else None


def _note_histogram(points: _Points, suffix: str, bound: str, value: float) -> None:
    if suffix != "_bucket":
        points.values[suffix] = value
        return
    limit = _bound(bound, "le")
    if math.isinf(limit) and bound != "+Inf":
        raise ValueError('the last bucket is written le="+Inf"')
    if limit <= points.last_bound:
        raise ValueError(f"the bucket le={bound!r} does not lie above the one before it")
    if value < points.last_count:
        raise ValueError(f"the bucket le={bound!r} holds less than the one below it")
    points.last_bound = limit
    points.last_count = value
    points.has_negative |= limit < 0
    points.has_infinite |= math.isinf(limit)


def _check_quantile(bound: str) -> None:
    if not 0 <= _bound(bound, "quantile") <= 1:
        raise ValueError(f"quantile={bound!r}: expected a number from 0 to 1")


def _bound(text: str, label: str) -> float:
    try:
        number = parse_number(text.encode())
    except ValueError:
        raise ValueError(f"{label}={text!r}: expected a number") from None
    if math.isnan(number):
        raise ValueError(f"{label} is NaN")
    return number
