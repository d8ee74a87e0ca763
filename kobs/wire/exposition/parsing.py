"""Reads an exposition in pieces: bytes arrive, cut anywhere; columns of values by the number of their series leave.

A series is known by its text. `known` maps texts to numbers and outlives a scrape, so that of a series that was there
before nothing but its value is read; a new one is handed to `resolve`, which gives its number and notes it. A negative
number is a series that is not wanted; it is only counted. What is accepted is what Prometheus 3 accepts, but that a
line break in quotes must be written \\n. Nothing is promised of an exposition before `finish` has returned.
"""

from array import array
from collections.abc import Callable
from dataclasses import dataclass

from kobs.errors import KobsError
from kobs.model.samples import MetricType
from kobs.wire.exposition.lines import (
    PLAIN_EXEMPLAR,
    MetaLine,
    SampleLine,
    read_openmetrics_meta,
    read_openmetrics_sample,
    read_text_meta,
    read_text_sample,
)
from kobs.wire.exposition.numbers import parse_numbers

MOST_LINE_BYTES = 8 * 1024 * 1024
"""A line's length, at most: what is not yet a whole line must be held."""

_MOST_META_LINES = 50_000
_EOF = b"# EOF"
_HASH = 0x23


class ExpositionError(KobsError):
    """A target's text breaks the format. The message tells line (counted from 1) and reason."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line


@dataclass(frozen=True, slots=True)
class Format:
    """How one of the two formats is read, line by line."""

    read_sample: Callable[[bytes, MetricType], SampleLine]
    read_meta: Callable[[bytes], MetaLine | None]
    is_openmetrics: bool


TEXT = Format(read_text_sample, read_text_meta, is_openmetrics=False)
OPENMETRICS = Format(read_openmetrics_sample, read_openmetrics_meta, is_openmetrics=True)


class Parser:
    """The reading of one exposition; the columns grow as pieces come."""

    def __init__(
        self,
        form: Format,
        known: dict[bytes, int],
        resolve: Callable[[bytes, dict[str, str]], int],
        *,
        meta: dict[bytes, MetaLine | None],
    ) -> None:
        self._form = form
        self._known = known
        self._resolve = resolve
        self._meta = meta
        self._kind = MetricType.UNKNOWN
        self._tail = b""
        self._lines = 0
        self._ended = False
        self.numbers = array("i")
        self.values = array("d")
        """Samples without a time of their own."""
        self.timed_numbers = array("i")
        self.timed_values = array("d")
        self.times_ms = array("q")
        """Samples with a time of their own, in the order of the exposition."""
        self.left_out = array("i")
        """Numbers of samples that are not wanted, one a line."""
        self.refused = 0
        """Whether `resolve` refused a series, which ended the reading: 1, or 0."""
        self.told: list[MetaLine] = []
        """What is said of families and was not in `meta`."""

    def feed(self, piece: bytes) -> None:
        """Read the next bytes.

        Raises: ExpositionError.
        """
        end = piece.rfind(b"\n")
        if end < 0:
            self._tail += piece
            if len(self._tail) > MOST_LINE_BYTES:
                raise ExpositionError(self._lines + 1, f"a line of more than {MOST_LINE_BYTES} bytes")
            return
        lines = (self._tail + piece[:end]).split(b"\n")
        self._tail = piece[end + 1 :]
        self._read(lines)

    def finish(self) -> None:
        """Read the last line, which needs no line break, and check that all is there.

        Raises: ExpositionError.
        """
        if self._tail:
            tail, self._tail = self._tail, b""
            if self._form.is_openmetrics and tail != _EOF:
                raise ExpositionError(self._lines + 1, "the text does not end with # EOF")
            self._read([tail])
        if self._form.is_openmetrics and not self._ended:
            raise ExpositionError(self._lines, "the text does not end with # EOF")

    def _read(self, lines: list[bytes]) -> None:
        """Read lines; the end of OpenMetrics is taken off them, behind which nothing may come."""
        is_end = self._form.is_openmetrics and not self._ended and _EOF in lines
        behind: list[bytes] = []
        if is_end:
            at = lines.index(_EOF)
            lines, behind = lines[:at], lines[at + 1 :]
        if self._ended and lines:
            raise ExpositionError(self._lines + 1, "text after # EOF")
        kind = self._kind
        try:
            self._read_quickly(lines)
        except (ValueError, OverflowError, KobsError):
            self._kind = kind
            self._read_carefully(lines)
        self._lines += len(lines)
        if is_end:
            self._ended = True
            self._lines += 1
            if behind:
                raise ExpositionError(self._lines + 1, "text after # EOF")

    def _read_quickly(self, lines: list[bytes]) -> None:
        """Read lines on the assumption that series are known and lines have their plainest form.

        Raises: ValueError, OverflowError where that is not so; nothing has been added to the columns then.
        """
        get = self._known.get
        meta = self._meta
        numbers: list[int] = []
        texts: list[bytes] = []
        timed_numbers: list[int] = []
        timed_texts: list[bytes] = []
        time_texts: list[bytes] = []
        add_number, add_text = numbers.append, texts.append
        for line in lines:
            series, _, text = line.rpartition(b" ")
            number = get(series)
            if number is not None:
                add_number(number)
                add_text(text)
                continue
            timed_series, _, timed_text = series.rpartition(b" ")
            number = get(timed_series)
            if number is not None:
                timed_numbers.append(number)
                timed_texts.append(timed_text)
                time_texts.append(text)
            elif line in meta:
                said = meta[line]
                if said is not None and said.type is not None:
                    self._kind = said.type
            elif not line or line[0] == _HASH:
                self._read_hash(line)
            elif (known := self._before_exemplar(line)) is not None:
                add_number(known[0])
                add_text(known[1])
            else:
                sample = self._form.read_sample(line, self._kind)
                number = self._number(sample)
                value_text, *rest = line[len(sample.series) :].split()
                if sample.time_ms is None:
                    add_number(number)
                    add_text(value_text)
                else:
                    timed_numbers.append(number)
                    timed_texts.append(value_text)
                    time_texts.append(rest[0])
        values = parse_numbers(texts)
        timed_values = parse_numbers(timed_texts)
        times_ms = self._parse_times(time_texts)
        self._add(numbers, values)
        self._add_timed(timed_numbers, timed_values, times_ms)

    def _before_exemplar(self, line: bytes) -> tuple[int, bytes] | None:
        """Return number and value's text of a known series whose sample has an exemplar in its plainest form."""
        if not self._form.is_openmetrics:
            return None
        cut = line.rfind(b" # {")
        if cut < 0 or PLAIN_EXEMPLAR.fullmatch(line, cut) is None:
            return None
        series, _, text = line[:cut].rpartition(b" ")
        number = self._known.get(series)
        return None if number is None else (number, text)

    def _read_carefully(self, lines: list[bytes]) -> None:
        """Read each line with all rules; the first that breaks one is told."""
        samples: list[SampleLine] = []
        numbers: list[int] = []
        for at, line in enumerate(lines, self._lines + 1):
            try:
                stripped = line if self._form.is_openmetrics else line.lstrip(b" \t")
                if not stripped or stripped[0] == _HASH:
                    self._read_hash(line)
                    continue
                sample = self._form.read_sample(line, self._kind)
                samples.append(sample)
                numbers.append(self._number(sample))
            except ValueError as error:
                self._add_samples(numbers, samples[: len(numbers)])
                raise ExpositionError(at, str(error)) from None
            except KobsError:
                self.refused = 1
                self._add_samples(numbers, samples[: len(numbers)])
                raise
        self._add_samples(numbers, samples)

    def _read_hash(self, line: bytes) -> None:
        """Read a line that is empty, a comment, or says something of a family."""
        if not line.strip(b" \t") and not self._form.is_openmetrics:
            return
        if not line:
            raise ValueError("an empty line")
        said = self._form.read_meta(line)
        if said is None:
            return  # comments are not kept: they may be others each time
        if said.type is not None:
            self._kind = said.type
        if len(self._meta) >= _MOST_META_LINES:
            self._meta.clear()
        if line not in self._meta:
            self._meta[line] = said
            self.told.append(said)

    def _number(self, sample: SampleLine) -> int:
        number = self._known.get(sample.series)
        return self._resolve(sample.series, sample.labels) if number is None else number

    def _parse_times(self, texts: list[bytes]) -> "array[int]":
        if not texts:
            return array("q")
        if self._form.is_openmetrics:
            return array("q", [int(seconds * 1000) for seconds in parse_numbers(texts)])
        if not b"".join(texts).isdigit():
            raise ValueError("expected timestamps in milliseconds")
        return array("q", map(int, texts))

    def _add(self, numbers: list[int], values: "array[float]") -> None:
        if numbers and min(numbers) < 0:
            self.left_out.extend([number for number in numbers if number < 0])
            values = array("d", [value for number, value in zip(numbers, values, strict=True) if number >= 0])
            numbers = [number for number in numbers if number >= 0]
        self.numbers.extend(numbers)
        self.values.extend(values)

    def _add_timed(self, numbers: list[int], values: "array[float]", times_ms: "array[int]") -> None:
        if numbers and min(numbers) < 0:
            self.left_out.extend([number for number in numbers if number < 0])
            kept = [at for at, number in enumerate(numbers) if number >= 0]
            numbers = [numbers[at] for at in kept]
            values = array("d", [values[at] for at in kept])
            times_ms = array("q", [times_ms[at] for at in kept])
        self.timed_numbers.extend(numbers)
        self.timed_values.extend(values)
        self.times_ms.extend(times_ms)

    def _add_samples(self, numbers: list[int], samples: list[SampleLine]) -> None:
        for number, sample in zip(numbers, samples, strict=True):
            if number < 0:
                self.left_out.append(number)
            elif sample.time_ms is None:
                self.numbers.append(number)
                self.values.append(sample.value)
            else:
                self.timed_numbers.append(number)
                self.timed_values.append(sample.value)
                self.times_ms.append(sample.time_ms)
