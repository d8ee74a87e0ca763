"""Metrics that other programs leave in files: `*.prom` in some folders, in Prometheus' text format 0.0.4.

A file counts whole or not at all: with one wrong line, a timestamp or an unfinished last line (a writer should write
beside it and rename) nothing of it is shown, `node_textfile_scrape_error` is 1, and the log says which line and why.
Where two files have the same series, or the same metric with another type or help, the file that comes first by name
keeps it; so do the machine's own metrics.

Source: Prometheus' exposition formats, text format 0.0.4; node_exporter 1.12 (names, what a wrong file does).
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path

from kobs import telemetry
from kobs.collectors.host.points import Point, labelled
from kobs.errors import KobsError
from kobs.model.samples import Family, MetricType

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\\n]|\\.)*)"\s*(,|(?=\}))')
_SAMPLE = re.compile(rf"({_NAME})[ \t]*(\{{)?")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|[Ii]nf(?:inity)?|[Nn]a[Nn])", re.ASCII)
_ESCAPED = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "\\": "\\", '"': '"'}
_TYPES = {
    "counter": MetricType.COUNTER,
    "gauge": MetricType.GAUGE,
    "histogram": MetricType.HISTOGRAM,
    "summary": MetricType.SUMMARY,
    "untyped": MetricType.UNKNOWN,
}
_PARTS = {
    MetricType.HISTOGRAM: ("_bucket", "_sum", "_count"),
    MetricType.SUMMARY: ("_sum", "_count"),
}
_MOST_BYTES = 16 * 1024 * 1024
"""Of one file: some hundred thousand series."""

log = telemetry.get_logger(__name__)
_unreadable = telemetry.counter(
    "kobs_agent_textfile_errors_total",
    "Files of metrics, or metrics in them, that are not shown, by reason.",
    ("reason",),
)


class TextfileError(KobsError):
    """A file is not in Prometheus' text format; the message names the line and what is wrong."""


@dataclass(slots=True)
class TextFamily:
    """All that a file says of one metric."""

    name: str
    type: MetricType = MetricType.UNKNOWN
    help: str | None = None
    points: list[Point] = field(default_factory=list)
    has_type: bool = False


def parse(text: str) -> list[TextFamily]:
    """Return the metrics of a text.

    Raises: TextfileError.
    """
    if text and not text.endswith("\n"):
        raise TextfileError(f"line {text.count(chr(10)) + 1}: expected a line feed at the end; is it still written?")
    families: dict[str, TextFamily] = {}
    owners: dict[str, TextFamily] = {}
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip(" \t\r")
        try:
            if stripped.startswith("#"):
                _parse_comment(stripped, families, owners)
            elif stripped:
                point = _parse_sample(stripped)
                family = owners.get(point.name)
                if family is None:
                    family = families.setdefault(point.name, TextFamily(point.name))
                    owners[point.name] = family
                family.points.append(point)
        except TextfileError as error:
            raise TextfileError(f"line {number}: {error}") from None
    return [family for family in families.values() if family.points]


def _parse_comment(line: str, families: dict[str, TextFamily], owners: dict[str, TextFamily]) -> None:
    """Take what a comment says of a metric, if it does."""
    kind, _, rest = line[1:].strip().partition(" ")
    if kind not in ("HELP", "TYPE"):
        return
    name, _, told = rest.strip().partition(" ")
    if re.fullmatch(_NAME, name) is None:
        raise TextfileError(f"expected the name of a metric after {kind}, got {name[:100]!r}")
    family = families.setdefault(name, TextFamily(name))
    owners.setdefault(name, family)
    if kind == "HELP":
        if family.help is not None:
            raise TextfileError(f"a second HELP of {name}")
        family.help = _unescape(told, '"')
        return
    told = told.strip()
    if told not in _TYPES:
        raise TextfileError(f"expected one of {', '.join(_TYPES)} as TYPE of {name}, got {told[:100]!r}")
    if family.has_type or family.points:
        raise TextfileError(f"a second TYPE of {name}, or one after its samples")
    family.type, family.has_type = _TYPES[told], True
    for part in _PARTS.get(family.type, ()):
        owners[name + part] = family


def _parse_sample(line: str) -> Point:
    found = _SAMPLE.match(line)
    if found is None:
        raise TextfileError(f"expected the name of a metric, got {line[:100]!r}")
    name, place = found[1], found.end()
    labels: dict[str, str] = {}
    if found[2]:
        place = _parse_labels(line, place, labels)
    value, *more = line[place:].split() or [""]
    if _NUMBER.fullmatch(value) is None:
        raise TextfileError(f"expected a number as value of {name}, got {value[:100]!r}")
    if more:
        raise TextfileError(f"expected no timestamp, nor anything else after the value, got {more[0][:100]!r}")
    return Point(name, float(value), labelled(**labels))


def _parse_labels(line: str, place: int, labels: dict[str, str]) -> int:
    """Put the labels of a sample, whose first starts at `place`, into `labels`; return where its value starts."""
    while (closing := re.compile(r"\s*\}").match(line, place)) is None:
        label = _LABEL.match(line, place)
        if label is None:
            raise TextfileError(f'expected a label such as name="value", got {line[place : place + 100]!r}')
        if label[1] in labels or label[1] == "__name__":
            raise TextfileError(f"the label {label[1]} appears twice, or is no label")
        labels[label[1]] = _unescape(label[2], "")
        place = label.end()
    return closing.end()


def _unescape(text: str, unknown: str) -> str:
    """Resolve the backslashes of a text; those in `unknown` are no escapes and stay."""

    def resolve(found: re.Match[str]) -> str:
        if found[1] in unknown:
            return found[0]
        if found[1] not in _ESCAPES:
            raise TextfileError(f"unknown escape {found[0]}")
        return _ESCAPES[found[1]]

    return _ESCAPED.sub(resolve, text)


class TextfileCollector:
    """Reads all files of some folders; it remembers what they say of their metrics, and which files were wrong."""

    def __init__(self, folders: Sequence[str] = ()) -> None:
        self._folders = folders
        self._families: Mapping[str, Family] = {}
        self._complaints: frozenset[str] = frozenset()

    def family(self, name: str) -> Family | None:
        """Return what the files say of the metric of this name, or of the one that it is a part of."""
        return self._families.get(name)

    def collect(self, taken: Collection[str]) -> list[Point]:
        """Return the points of all files; the metrics in `taken` are the machine's own, which no file may have."""
        complaints: dict[str, str] = {}
        points: list[Point] = []
        mtimes: list[Point] = []
        families: dict[str, TextFamily] = {}
        seen: set[tuple[str, tuple[tuple[str, str], ...]]] = set()
        for path in self._files(complaints):
            try:
                found, mtime = _read(path)
            except TextfileError as error:
                complaints[f"{path}: {error}"] = "malformed"
                continue
            except OSError as error:
                complaints[f"{path}: {error.strerror}"] = "unreadable"
                continue
            mtimes.append(Point("node_textfile_mtime_seconds", float(mtime), (("file", str(path)),)))
            for family in found:
                clash = _clash(family, families.get(family.name), taken)
                if clash:
                    complaints[f"{path}: {family.name}: {clash}"] = "collision"
                    continue
                families.setdefault(family.name, family)
                for point in family.points:
                    if (point.name, point.labels) in seen:
                        complaints[f"{path}: {point.name}{dict(point.labels)}: the series is there already"] = (
                            "collision"
                        )
                        continue
                    seen.add((point.name, point.labels))
                    points.append(point)
        self._families = {part: _told(family) for family in families.values() for part in _parts(family)}
        self._complain(complaints)
        return [*points, *mtimes, Point("node_textfile_scrape_error", float(bool(complaints)))]

    def _files(self, complaints: dict[str, str]) -> list[Path]:
        files = []
        for pattern in self._folders:
            for folder in sorted(glob(pattern)) or [pattern]:  # noqa: PTH207 - the pattern is a whole path
                try:
                    files += sorted(path for path in Path(folder).iterdir() if path.name.endswith(".prom"))
                except OSError as error:
                    complaints[f"{folder}: {error.strerror}"] = "unreadable"
        return files

    def _complain(self, complaints: Mapping[str, str]) -> None:
        for complaint, reason in complaints.items():
            _unreadable.labels(reason).inc()
            if complaint not in self._complaints:
                log.warning("A file of metrics, or a part of one, is not shown.", error=complaint)
        self._complaints = frozenset(complaints)


def _read(path: Path) -> tuple[list[TextFamily], int]:
    """Return the metrics of a file, and when it was written."""
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise TextfileError(f"more than {_MOST_BYTES} bytes; expected several smaller files")
        try:
            families = parse(content.decode())
        except UnicodeDecodeError as error:
            raise TextfileError(f"byte {error.start}: expected UTF-8") from None
        return families, int(path.stat().st_mtime)


def _clash(family: TextFamily, first: TextFamily | None, taken: Collection[str]) -> str:
    """Return why a family cannot be shown beside those before it, or nothing."""
    if any(point.name in taken for point in family.points):
        return "the machine's own metric has this name"
    if first is None:
        return ""
    if first.type is not family.type:
        return f"its type is {family.type}, in a file before it {first.type}"
    if family.help is not None and first.help is not None and family.help != first.help:
        return "its HELP is another one in a file before it"
    return ""


def _parts(family: TextFamily) -> set[str]:
    return {family.name} | {point.name for point in family.points}


def _told(family: TextFamily) -> Family:
    base = family.name.removesuffix("_total")
    unit = next((unit for unit in ("seconds", "bytes") if base.endswith(f"_{unit}")), "")
    return Family(family.name, family.type, unit, family.help or "From a file of metrics.")
