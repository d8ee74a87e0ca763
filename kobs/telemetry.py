"""What kobs says about itself: metrics for `/metrics`, and sentences on standard error.

Metrics live in one registry of kobs's own and are named `kobs_<stage>_<what>_<unit>[_total]`; their labels are bounded
sets, never Pod names or messages. A log record is a fixed sentence with its identifiers as key=value; the key of an
error is `error`. This is the only door to `prometheus_client`. Nothing here is ordered or kept: counters start at zero
with the process.
"""

import json
import logging
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

import kobs
from kobs.config import LogSettings, environment, showable
from kobs.model.samples import MetricType

REGISTRY = CollectorRegistry(auto_describe=True)
"""Every metric of this process."""

_NAME = re.compile(r"kobs(?:_[a-z][a-z0-9]*){2,}")
_SECONDS_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_RECORD_FIELDS = "kobs_fields"

# a `_created` series beside each counter would double the exposition and tells nothing that a reset does not
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


# -- metrics -----------------------------------------------------------------------------------------------------------


def counter(name: str, description: str, labels: Sequence[str] = ()) -> Counter:
    """Create a counter, whose name ends in `_total`.

    Raises: ValueError for a name that does not follow the form or exists already.
    """
    return Counter(_checked(name, is_counter=True), description, labels, registry=REGISTRY)


def gauge(name: str, description: str, labels: Sequence[str] = ()) -> Gauge:
    """Create a gauge.

    Raises: ValueError for a name that does not follow the form or exists already.
    """
    return Gauge(_checked(name, is_counter=False), description, labels, registry=REGISTRY)


def histogram(
    name: str, description: str, labels: Sequence[str] = (), *, buckets: Sequence[float] = _SECONDS_BUCKETS
) -> Histogram:
    """Create a histogram; the buckets are made for seconds unless given.

    Raises: ValueError for a name that does not follow the form or exists already.
    """
    return Histogram(_checked(name, is_counter=False), description, labels, buckets=buckets, registry=REGISTRY)


def _checked(name: str, *, is_counter: bool) -> str:
    if _NAME.fullmatch(name) is None or name.endswith("_total") is not is_counter:
        form = "kobs_<stage>_<what>_<unit>" + ("_total" if is_counter else "")
        raise ValueError(f"metric {name}: expected a name of the form {form}")
    return name


def exposition(accept: str) -> tuple[bytes, str]:
    """Return all metrics in the format that a scraper's Accept header asks for: body and content type."""
    encode, content_type = choose_encoder(accept)
    return encode(REGISTRY), content_type


class OwnFamily(NamedTuple):
    """A metric of this process: its name and type as in Prometheus' text format, and its samples by name and labels."""

    name: str
    type: MetricType
    help: str
    samples: list[tuple[str, dict[str, str], float]]


def read() -> list[OwnFamily]:
    """Return all metrics as they are now."""
    types = {each.value: each for each in MetricType}
    return [
        OwnFamily(
            f"{family.name}_total" if family.type == "counter" else family.name,
            types.get(family.type, MetricType.UNKNOWN),
            family.documentation,
            [(sample.name, dict(sample.labels), float(sample.value)) for sample in family.samples],
        )
        for family in REGISTRY.collect()
    ]


_discarded = counter("kobs_discarded_total", "Items that kobs dropped, by signal and reason.", ("signal", "reason"))


def discarded(signal: str, reason: str, count: int = 1) -> None:
    """Count items of a signal (`logs`, `samples`) that were dropped for a reason of the closed list."""
    _discarded.labels(signal, reason).inc(count)


ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
gauge("kobs_build_info", "Version of kobs; the value is 1.", ("version",)).labels(kobs.__version__).set(1)


# -- sentences ---------------------------------------------------------------------------------------------------------


class Log:
    """The log of one module: a fixed sentence with a full stop, and its identifiers by keyword."""

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, sentence: str, /, **fields: object) -> None:
        """Tell what only a person who searches for a defect wants to know."""
        self._write(logging.DEBUG, sentence, fields)

    def info(self, sentence: str, /, **fields: object) -> None:
        """Tell what an operator is glad to know."""
        self._write(logging.INFO, sentence, fields)

    def warning(self, sentence: str, /, **fields: object) -> None:
        """Tell what works, but not as wished."""
        self._write(logging.WARNING, sentence, fields)

    def error(self, sentence: str, /, **fields: object) -> None:
        """Tell what does not work."""
        self._write(logging.ERROR, sentence, fields)

    def exception(self, sentence: str, /, *, error: BaseException, **fields: object) -> None:
        """Tell of a defect, with its traceback."""
        self._write(logging.ERROR, sentence, {"error": error, **fields}, traceback_of=error)

    def _write(
        self, level: int, sentence: str, fields: dict[str, object], *, traceback_of: BaseException | None = None
    ) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, sentence, extra={_RECORD_FIELDS: fields}, exc_info=traceback_of, stacklevel=3)


def get_logger(name: str) -> Log:
    """Return the log of a module: `log = get_logger(__name__)`."""
    return Log(logging.getLogger(name))


def configure_logging(settings: LogSettings) -> None:
    """Send every log record of this process to standard error, in the form that `settings` names.

    Other packages are heard from level warning on, whatever the level: at debug level HTTP clients tell their headers,
    and with them tokens.
    """
    handler = logging.StreamHandler(sys.stderr)
    is_terminal = sys.stderr.isatty()
    handler.setFormatter(
        _JsonLines()
        if settings.format == "json"
        else _TextLines(is_terminal=is_terminal, in_colour=is_terminal and not environment().get("NO_COLOR"))
    )
    root = logging.getLogger()
    for former in root.handlers[:]:
        root.removeHandler(former)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("kobs").setLevel(settings.level.upper())
    logging.captureWarnings(capture=True)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = getattr(record, _RECORD_FIELDS, {})
    return {name: _plain(value) for name, value in fields.items()}


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, BaseException):
        told = str(value)
        value = f"{type(value).__name__}: {told}" if told else type(value).__name__
    return showable(str(value))


class _JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {f"{name}_" if name in line else name: value for name, value in _fields(record).items()}
        if record.exc_info is not None:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True)


class _TextLines(logging.Formatter):
    """`15:04:05 warning A fixed sentence. key=value`; where nobody watches, the time is whole and UTC."""

    _COLOURS = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m"}  # noqa: RUF012 - never changed

    def __init__(self, *, is_terminal: bool, in_colour: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal
        self._in_colour = in_colour

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC)
        told_time = (
            f"{time.astimezone():%H:%M:%S}"
            if self._is_terminal
            else f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03}Z"
        )
        level = record.levelname.lower()
        told_level = f"{level:7}"
        if self._in_colour and level in self._COLOURS:
            told_level = f"{self._COLOURS[level]}{told_level}\x1b[0m"
        pairs = "".join(f" {name}={_quoted(value)}" for name, value in _fields(record).items())
        line = f"{told_time} {told_level} {_one_line(record.getMessage().rstrip())}{pairs}"
        return line if record.exc_info is None else f"{line}\n{self.formatException(record.exc_info)}"


def _quoted(value: object) -> str:
    """Quote what has spaces or control characters, so that a value never looks like a second record or key."""
    text = str(value)
    return (
        text
        if re.fullmatch(r"[^\s\"=\x00-\x1f\x7f-\x9f\ud800-\udfff]+", text)
        else json.dumps(text, ensure_ascii=not text.isprintable())
    )


def _one_line(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)
