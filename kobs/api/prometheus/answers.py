"""The envelope of Prometheus' answers: `{"status":"success","data":...}` with warnings and infos, and its errors."""

import math
from collections.abc import Iterable
from itertools import chain

import orjson
from starlette.requests import Request
from starlette.responses import Response

from kobs import telemetry
from kobs.api.prometheus.pieces import respond
from kobs.errors import (
    KobsError,
    LimitError,
    QueryError,
    QueryEvaluationError,
    RetryableError,
    UnsupportedQueryError,
)
from kobs.query.metrics import ResolutionError
from kobs.query.promql.limits import QueryTimeoutError
from kobs.query.promql.values import Annotations

MOST_ANNOTATIONS = 10
"""Of each kind, as Prometheus tells them."""

_MEDIA_TYPE = "application/json"
_TRUNCATED = "results truncated due to limit"

log = telemetry.get_logger(__name__)


class ParameterError(QueryError):
    """A parameter is wrong; `str` is what Prometheus answers."""

    def __init__(self, name: str, said: str) -> None:
        super().__init__(f'invalid parameter "{name}": {said}')


class NotFoundError(QueryError):
    """What was asked for is not there."""


def answer(
    request: Request, data: object, *, annotations: Annotations | None = None, is_truncated: bool = False
) -> Response:
    """Return an answer; `data` is what orjson can write."""
    return answer_in_parts(request, (orjson.dumps(data),), annotations=annotations, is_truncated=is_truncated)


def answer_in_parts(
    request: Request, parts: Iterable[bytes], *, annotations: Annotations | None = None, is_truncated: bool = False
) -> Response:
    """Return an answer whose data is written part by part, in JSON; called from a worker thread for large ones."""
    warnings = list(annotations.warnings) if annotations is not None else []
    if is_truncated:
        warnings.append(_TRUNCATED)
    infos = list(annotations.infos) if annotations is not None else []
    told = [
        b',"' + name + b'":' + orjson.dumps(_shortened(texts, name.decode()))
        for name, texts in ((b"warnings", warnings), (b"infos", infos))
        if texts
    ]
    whole = chain((b'{"status":"success","data":',), parts, told, (b"}",))
    return respond(request, whole, media_type=_MEDIA_TYPE)


def _shortened(texts: list[str], name: str) -> list[str]:
    """Return the first annotations of a kind, and how many more there are."""
    told = texts[:MOST_ANNOTATIONS]
    left = len(texts) - len(told)
    return [*told, f"{left} more {name.removesuffix('s')} annotations omitted"] if left else told


def error_answer(error: KobsError) -> Response:
    """Return an error in Prometheus' form, with the status that it would have there."""
    headers = None
    said = str(error)
    if isinstance(error, NotFoundError):
        kind, status = "not_found", 404
    elif isinstance(error, UnsupportedQueryError | QueryEvaluationError):
        kind, status = "execution", 422
    elif isinstance(error, ParameterError | ResolutionError):
        kind, status = "bad_data", 400
    elif isinstance(error, QueryError):
        kind, status = "bad_data", 400
        if error.start is not None:
            said = f'invalid parameter "query": {error}'
    elif isinstance(error, QueryTimeoutError):
        kind, status = "timeout", 503
    elif isinstance(error, LimitError):
        kind, status = "execution", 422
    elif isinstance(error, RetryableError):
        kind, status = "unavailable", 503
        headers = {"Retry-After": str(max(math.ceil(error.retry_after_seconds), 1))}
    else:
        log.exception("A query failed by a defect.", error=error)  # noqa: LOG004 - it takes the error itself
        kind, status, said = "internal", 500, "the server failed to answer; its log tells why"
    body = orjson.dumps({"status": "error", "errorType": kind, "error": said})
    return Response(body, status_code=status, headers=headers, media_type=_MEDIA_TYPE)
