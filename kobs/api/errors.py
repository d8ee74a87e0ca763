"""Answers in JSON: results, and errors as `{"error": {"type", "message"}}`, whose status says what to do next."""

import math
from http import HTTPStatus

import orjson
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from kobs import telemetry
from kobs.errors import (
    KobsError,
    LimitError,
    QueryError,
    QuerySyntaxError,
    QueryTypeError,
    RejectedError,
    RetryableError,
    UnsupportedQueryError,
)

log = telemetry.get_logger(__name__)

_QUERY_TYPES: dict[type[QueryError], str] = {
    QuerySyntaxError: "syntax",
    QueryTypeError: "type",
    UnsupportedQueryError: "unsupported",
}


def json_answer(content: object, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return an answer in JSON; values may be dataclasses."""
    return Response(orjson.dumps(content), status_code=status, headers=headers, media_type="application/json")


def error_answer(kind: str, message: str, *, status: int, headers: dict[str, str] | None = None) -> Response:
    """Return an error: `kind` for programs, `message` for people."""
    return json_answer({"error": {"type": kind, "message": message}}, status=status, headers=headers)


def answer_to(error: KobsError) -> Response:
    """Return the answer that tells of an error, and what its receiver can do."""
    if isinstance(error, QueryError):
        return error_answer(_QUERY_TYPES.get(type(error), "invalid_request"), str(error), status=400)
    if isinstance(error, RejectedError):
        return error_answer(str(error.reason), str(error), status=400)
    if isinstance(error, LimitError):
        return error_answer("limit", str(error), status=422)
    if isinstance(error, RetryableError):
        return retry_answer(error)
    log.error("A request failed by a defect.", error=error)
    return error_answer("internal", "the server failed to answer; its log tells why", status=500)


def retry_answer(error: KobsError, *, retry_after_seconds: float = 5.0) -> Response:
    """Return the answer that tells its receiver to try again later."""
    wait = error.retry_after_seconds if isinstance(error, RetryableError) else retry_after_seconds
    headers = {"Retry-After": str(max(math.ceil(wait), 1))}
    return error_answer("try_again", str(error), status=503, headers=headers)


def install(app: FastAPI) -> None:
    """Make an application answer every error in JSON."""

    async def of_kobs(_: Request, error: Exception) -> Response:
        assert isinstance(error, KobsError)  # noqa: S101 - the application calls this for no other class
        return answer_to(error)

    async def of_http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - the application calls this for no other class
        known = error.status_code in set(HTTPStatus)
        kind = HTTPStatus(error.status_code).name.lower() if known else "error"
        headers = dict(error.headers) if error.headers else None
        return error_answer(kind, error.detail, status=error.status_code, headers=headers)

    async def of_defect(_: Request, error: Exception) -> Response:
        # the web server logs it with its traceback
        return error_answer("internal", f"the server failed to answer ({type(error).__name__})", status=500)

    app.add_exception_handler(KobsError, of_kobs)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(Exception, of_defect)
