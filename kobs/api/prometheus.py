"""Prometheus' query API: GET or POST of a form, answers in Prometheus' JSON.

Source: Prometheus 3, `web/api/v1/api.go` (parameters, errors, status codes) and `util/jsonutil` (numbers and times).
"""

import asyncio
import datetime as dt
import math
import re
import time
from collections.abc import Mapping
from decimal import Decimal
from urllib.parse import parse_qsl

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from kobs import telemetry
from kobs.api.disconnection import while_connected
from kobs.api.security import scope_of
from kobs.errors import (
    KobsError,
    LimitError,
    QueryError,
    QueryEvaluationError,
    RetryableError,
    UnsupportedQueryError,
)
from kobs.model.durations import parse_duration_ms
from kobs.query.metrics import Answer, Metrics, ResolutionError
from kobs.query.promql.limits import QueryTimeoutError
from kobs.query.promql.values import Block, Labels, Points, Scalar, Text

MOST_FORM_BYTES = 10 * 1024 * 1024

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_RFC_3339 = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_LARGEST_MS = 2**63 // 1_000_000
_FORM = "application/x-www-form-urlencoded"

log = telemetry.get_logger(__name__)


class _ParameterError(QueryError):
    """A parameter is wrong; `str` is what Prometheus answers."""

    def __init__(self, name: str, said: str) -> None:
        super().__init__(f'invalid parameter "{name}": {said}')


def router(metrics: Metrics) -> APIRouter:
    """Return the endpoints."""
    routes = APIRouter(prefix="/api/v1")

    @routes.api_route("/query", methods=["GET", "POST"])
    async def query(request: Request) -> Response:
        try:
            given = await _parameters(request)
            question = metrics.instant(
                given.get("query", ""),
                _time_ms(given, "time", default_ms=time.time_ns() // 1_000_000),
                scope_of(request),
                timeout_seconds=_timeout_seconds(given),
            )
            return await asyncio.to_thread(_answer, await while_connected(request, question))
        except KobsError as error:
            return _error(error)

    @routes.api_route("/query_range", methods=["GET", "POST"])
    async def query_range(request: Request) -> Response:
        try:
            given = await _parameters(request)
            start_ms, end_ms, step_ms = _range(given)
            question = metrics.range(
                given.get("query", ""),
                start_ms,
                end_ms,
                step_ms,
                scope_of(request),
                timeout_seconds=_timeout_seconds(given),
            )
            answer = await while_connected(request, question)
            return await asyncio.to_thread(_answer, answer, is_range=True)
        except KobsError as error:
            return _error(error)

    return routes


# -- parameters --------------------------------------------------------------------------------------------------------


async def _parameters(request: Request) -> Mapping[str, str]:
    """Return the first value of each parameter; those of a posted form go before those of the URL."""
    pairs = []
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
    parameters: dict[str, str] = {}
    for name, value in [*pairs, *request.query_params.multi_items()]:
        parameters.setdefault(name, value)
    return parameters


def _range(given: Mapping[str, str]) -> tuple[int, int, int]:
    start_ms, end_ms = _time_ms(given, "start"), _time_ms(given, "end")
    if end_ms < start_ms:
        raise _ParameterError("end", "end timestamp must not be before start time")
    step_ms = _duration_ms(given, "step")
    if step_ms <= 0:
        said = "zero or negative query resolution step widths are not accepted. Try a positive integer"
        raise _ParameterError("step", said)
    return start_ms, end_ms, step_ms


def _time_ms(given: Mapping[str, str], name: str, *, default_ms: int | None = None) -> int:
    text = given.get(name, "")
    if not text and default_ms is not None:
        return default_ms
    try:
        return parse_time_ms(text)
    except ValueError as error:
        said = f"invalid time value for '{name}': {error}" if default_ms is not None else str(error)
        raise _ParameterError(name, said) from error


def _duration_ms(given: Mapping[str, str], name: str) -> int:
    text = given.get(name, "")
    try:
        milliseconds = round(float(text) * 1000) if _NUMBER.fullmatch(text) else parse_duration_ms(text)
    except (ValueError, OverflowError) as error:
        raise _ParameterError(name, f'cannot parse "{text}" to a valid duration') from error
    if abs(milliseconds) > _LARGEST_MS:
        raise _ParameterError(name, f'cannot parse "{text}" to a valid duration. It overflows int64')
    return milliseconds


def _timeout_seconds(given: Mapping[str, str]) -> float | None:
    if not given.get("timeout"):
        return None
    # The engine counts whole milliseconds, and 0 is no limit there.
    return max(_duration_ms(given, "timeout"), 1) / 1000


def parse_time_ms(text: str) -> int:
    """Return a time given in seconds since 1970, or in RFC 3339, as ms.

    Raises: ValueError.
    """
    if _NUMBER.fullmatch(text):
        fraction, seconds = math.modf(float(text))
        if abs(seconds) * 1000 < 2**63:
            return int(seconds) * 1000 + round(fraction * 1000)
    found = _RFC_3339.fullmatch(text)
    if found is not None:
        moment, digits, zone = found.groups()
        try:
            since = dt.datetime.fromisoformat(moment + zone.replace("Z", "+00:00")) - _EPOCH
            return (since.days * 86_400 + since.seconds) * 1000 + int((digits or "").ljust(3, "0")[:3])
        except ValueError:
            pass
    raise ValueError(f'cannot parse "{text}" to a valid timestamp')


# -- answers -----------------------------------------------------------------------------------------------------------


def _answer(answer: Answer, *, is_range: bool = False) -> Response:
    value, at = answer.value, format_time(answer.moments.start_ms)
    match value:
        case Scalar():
            kind, result = "scalar", f'[{at},"{format_value(float(value.values[0]))}"]'
        case Text():
            kind, result = "string", f"[{at},{orjson.dumps(value.value).decode()}]"
        case Points():
            kind, result = "matrix", _matrix(value)
        case Block() if is_range:
            kind, result = "matrix", _range_matrix(answer, value)
        case Block():
            series = [
                f'{{"metric":{_labels(labels)},"value":[{at},"{format_value(number)}"]}}'
                for labels, number in zip(value.labels, value.values[:, 0].tolist(), strict=True)
            ]
            kind, result = "vector", f"[{','.join(series)}]"
    notes = "".join(
        f',"{name}":{orjson.dumps(list(texts)).decode()}'
        for name, texts in (("warnings", answer.annotations.warnings), ("infos", answer.annotations.infos))
        if texts
    )
    body = f'{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}{notes}}}'
    return Response(body, media_type="application/json")


def _range_matrix(answer: Answer, block: Block) -> str:
    times = [format_time(time_ms) for time_ms in answer.moments.times_ms().tolist()]
    series = []
    for labels, values, present in zip(block.labels, block.values.tolist(), block.present.tolist(), strict=True):
        points = [
            f'[{at},"{format_value(value)}"]' for at, value, there in zip(times, values, present, strict=True) if there
        ]
        series.append(f'{{"metric":{_labels(labels)},"values":[{",".join(points)}]}}')
    return f"[{','.join(series)}]"


def _matrix(points: Points) -> str:
    times, values, bounds = points.times_ms.tolist(), points.values.tolist(), points.bounds.tolist()
    series = []
    for labels, first, last in zip(points.labels, bounds, bounds[1:], strict=False):
        shown = [f'[{format_time(times[n])},"{format_value(values[n])}"]' for n in range(first, last)]
        series.append(f'{{"metric":{_labels(labels)},"values":[{",".join(shown)}]}}')
    return f"[{','.join(series)}]"


def _labels(labels: Labels) -> str:
    return orjson.dumps(dict(labels)).decode()


def format_time(time_ms: int) -> str:
    """Return a time in seconds, with three digits of a fraction where there is one."""
    seconds, milliseconds = divmod(abs(time_ms), 1000)
    sign = "-" if time_ms < 0 else ""
    return f"{sign}{seconds}.{milliseconds:03d}" if milliseconds else f"{sign}{seconds}"


def format_value(value: float) -> str:
    """Return the shortest decimal text of a value; with an exponent below 1e-6 and from 1e21 on."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    if "e" not in text:
        return text.removesuffix(".0")
    if 1e-6 <= abs(value) < 1e21:
        return format(Decimal(text), "f")
    return text


def _error(error: KobsError) -> Response:
    """Return an error in Prometheus' form, with the status that it would have there."""
    headers = None
    if isinstance(error, UnsupportedQueryError | QueryEvaluationError):
        kind, status, said = "execution", 422, str(error)
    elif isinstance(error, _ParameterError) or (isinstance(error, QueryError) and error.start is None):
        kind, status, said = "bad_data", 400, str(error)
    elif isinstance(error, QueryError):
        kind, status, said = "bad_data", 400, f'invalid parameter "query": {error}'
    elif isinstance(error, ResolutionError):
        kind, status, said = "bad_data", 400, str(error)
    elif isinstance(error, QueryTimeoutError):
        kind, status, said = "timeout", 503, str(error)
    elif isinstance(error, LimitError):
        kind, status, said = "execution", 422, str(error)
    elif isinstance(error, RetryableError):
        kind, status, said = "unavailable", 503, str(error)
        headers = {"Retry-After": str(max(math.ceil(error.retry_after_seconds), 1))}
    else:
        log.exception("A query failed by a defect.", error=error)  # noqa: LOG004 - it takes the error itself
        kind, status, said = "internal", 500, "the server failed to answer; its log tells why"
    body = orjson.dumps({"status": "error", "errorType": kind, "error": said})
    return Response(body, status_code=status, headers=headers, media_type="application/json")
