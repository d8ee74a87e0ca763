"""Parameters of Prometheus' API: from the URL or a posted form, times, durations, limits, selectors."""

import datetime as dt
import math
import re
from collections.abc import Sequence
from urllib.parse import parse_qsl

from starlette.requests import Request

from kobs.api.prometheus.answers import ParameterError
from kobs.errors import QueryError
from kobs.model.durations import parse_duration_ms
from kobs.query.promql.parser import parse
from kobs.query.promql.tree import VectorSelector

MOST_FORM_BYTES = 10 * 1024 * 1024
FIRST_MS, LAST_MS = 0, 4_102_444_800_000
"""No sample lies outside of 1970 to 2100: a window without an end reaches there."""

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_RFC_3339 = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)")
_INTEGER = re.compile(r"[+-]?\d+")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_LARGEST_MS = 2**63 // 1_000_000
_EMPTY_SELECTOR = "vector selector must contain at least one non-empty matcher"
_FORM = "application/x-www-form-urlencoded"
# What Prometheus itself prints for the ends of all time, which no calendar of four digits reaches.
_ENDS_OF_TIME = {"-292273086-05-16T16:47:06Z": FIRST_MS, "292277025-08-18T07:12:54.999999999Z": LAST_MS}


class Parameters:
    """The parameters of one request; those of a posted form go before those of the URL."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._pairs = pairs

    def text(self, name: str) -> str:
        """Return the first value of a parameter, "" where there is none."""
        return next((value for each, value in self._pairs if each == name), "")

    def texts(self, name: str) -> list[str]:
        """Return all values of a parameter."""
        return [value for each, value in self._pairs if each == name]

    def time_ms(self, name: str, *, default_ms: int | None = None) -> int:
        """Return a time; without a default it must be there.

        Raises: ParameterError.
        """
        text = self.text(name)
        if not text and default_ms is not None:
            return default_ms
        try:
            return parse_time_ms(text)
        except ValueError as error:
            said = f"invalid time value for '{name}': {error}" if default_ms is not None else str(error)
            raise ParameterError(name, said) from error

    def duration_ms(self, name: str) -> int:
        """Return a duration: a number of seconds, or `1h30m`.

        Raises: ParameterError.
        """
        text = self.text(name)
        try:
            milliseconds = round(float(text) * 1000) if _NUMBER.fullmatch(text) else parse_duration_ms(text)
        except (ValueError, OverflowError) as error:
            raise ParameterError(name, f'cannot parse "{text}" to a valid duration') from error
        if abs(milliseconds) > _LARGEST_MS:
            raise ParameterError(name, f'cannot parse "{text}" to a valid duration. It overflows int64')
        return milliseconds

    def step_ms(self) -> int:
        """Return `step`.

        Raises: ParameterError.
        """
        step_ms = self.duration_ms("step")
        if step_ms <= 0:
            said = "zero or negative query resolution step widths are not accepted. Try a positive integer"
            raise ParameterError("step", said)
        return step_ms

    def timeout_seconds(self) -> float | None:
        """Return `timeout`, None without one.

        Raises: ParameterError.
        """
        if not self.text("timeout"):
            return None
        # The engine counts whole milliseconds, and 0 is no limit there.
        return max(self.duration_ms("timeout"), 1) / 1000

    def lookback_ms(self) -> int | None:
        """Return `lookback_delta`, None without one.

        Raises: QueryError.
        """
        if not self.text("lookback_delta"):
            return None
        try:
            lookback_ms = self.duration_ms("lookback_delta")
        except ParameterError as error:
            said = str(error).partition(": ")[2]
            raise QueryError(f"error parsing lookback delta duration: {said}") from error
        return lookback_ms if lookback_ms > 0 else None

    def limit(self) -> int:
        """Return `limit`; 0 is none.

        Raises: ParameterError.
        """
        text = self.text("limit")
        if not text:
            return 0
        if _INTEGER.fullmatch(text) is None:
            raise ParameterError("limit", f'strconv.Atoi: parsing "{text}": invalid syntax')
        if int(text) < 0:
            raise ParameterError("limit", "limit must be non-negative")
        return int(text)

    def number(self, name: str, *, default: int) -> int:
        """Return a whole number that means none where it is negative.

        Raises: QueryError.
        """
        text = self.text(name)
        if not text:
            return default
        if _INTEGER.fullmatch(text) is None:
            raise QueryError(f"{name} must be a number")
        return int(text)

    def window_ms(self) -> tuple[int, int]:
        """Return `start` and `end`, which may be missing, within the time that samples can have.

        Raises: ParameterError.
        """
        start_ms = self.time_ms("start", default_ms=FIRST_MS)
        end_ms = self.time_ms("end", default_ms=LAST_MS)
        return max(start_ms, FIRST_MS), min(end_ms, LAST_MS)

    def selectors(self) -> list[VectorSelector]:
        """Return the selectors of `match[]`.

        Raises: QueryError.
        """
        return [parse_selector(text) for text in self.texts("match[]")]


async def parameters(request: Request) -> Parameters:
    """Read a request's parameters.

    Raises: QueryError for a form that is too large or damaged.
    """
    pairs: list[tuple[str, str]] = []
    if request.method == "POST" and request.headers.get("content-type", "").partition(";")[0].strip() == _FORM:
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > MOST_FORM_BYTES:
                raise QueryError(f"form of more than {MOST_FORM_BYTES} bytes, which is the limit")
        try:
            pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict")
        except (UnicodeDecodeError, ValueError) as error:
            raise QueryError(f"error parsing form values: {error}") from error
    return Parameters([*pairs, *request.query_params.multi_items()])


def parse_selector(text: str) -> VectorSelector:
    """Return the selector that a text is.

    Raises: QueryError where it is something else.
    """
    try:
        expression = parse(text)
    except QueryError as error:
        if _EMPTY_SELECTOR in str(error):
            raise QueryError("match[] must contain at least one non-empty matcher") from error
        raise QueryError(str(error)) from error
    if not isinstance(expression, VectorSelector):
        raise QueryError(f"expected a series selector such as up{{job='node'}}, got {text[:100]!r}")
    if expression.offset_ms or expression.at is not None:
        raise QueryError(f"expected a series selector without offset and @, got {text[:100]!r}")
    return expression


def parse_time_ms(text: str) -> int:
    """Return a time given in seconds since 1970, or in RFC 3339, as ms.

    Raises: ValueError.
    """
    if _NUMBER.fullmatch(text):
        fraction, seconds = math.modf(float(text))
        if abs(seconds) * 1000 < 2**63:
            return int(seconds) * 1000 + round(fraction * 1000)
    if text in _ENDS_OF_TIME:
        return _ENDS_OF_TIME[text]
    found = _RFC_3339.fullmatch(text)
    if found is not None:
        moment, digits, zone = found.groups()
        try:
            since = dt.datetime.fromisoformat(moment + zone.replace("Z", "+00:00")) - _EPOCH
            return (since.days * 86_400 + since.seconds) * 1000 + int((digits or "").ljust(3, "0")[:3])
        except ValueError:
            pass
    raise ValueError(f'cannot parse "{text}" to a valid timestamp')
