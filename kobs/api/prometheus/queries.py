"""Queries: `/query`, `/query_range`, and what only looks at their text."""

import asyncio
import time
from collections.abc import Iterable
from itertools import chain

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from kobs.api.disconnection import while_connected
from kobs.api.prometheus import rendering
from kobs.api.prometheus.answers import ParameterError, answer, answer_in_parts
from kobs.api.prometheus.endpoint import GET_AND_POST, add_endpoint
from kobs.api.prometheus.parameters import FIRST_MS, LAST_MS, Parameters
from kobs.api.prometheus.statistics import statistics_json
from kobs.api.security import scope_of
from kobs.errors import QueryError
from kobs.query.metrics import Answer, Metrics
from kobs.query.promql.describing import describe
from kobs.query.promql.parser import parse
from kobs.query.promql.printing import pretty
from kobs.query.promql.values import Block, Points, Scalar, Text


def add(routes: APIRouter, metrics: Metrics) -> None:
    """Add the endpoints."""

    async def query(request: Request, given: Parameters) -> Response:
        limit = given.limit() or None
        time_ms = given.time_ms("time", default_ms=time.time_ns() // 1_000_000)
        question = metrics.instant(
            given.text("query"),
            time_ms,
            scope_of(request),
            timeout_seconds=given.timeout_seconds(),
            lookback_ms=given.lookback_ms(),
            limit=limit,
        )
        found = await while_connected(request, question)
        return await asyncio.to_thread(_answer, request, found, stats=given.text("stats"))

    async def query_range(request: Request, given: Parameters) -> Response:
        limit = given.limit() or None
        start_ms, end_ms = given.time_ms("start"), given.time_ms("end")
        if end_ms < start_ms:
            raise ParameterError("end", "end timestamp must not be before start time")
        question = metrics.range(
            given.text("query"),
            start_ms,
            end_ms,
            given.step_ms(),
            scope_of(request),
            timeout_seconds=given.timeout_seconds(),
            lookback_ms=given.lookback_ms(),
            limit=limit,
        )
        found = await while_connected(request, question)
        return await asyncio.to_thread(_answer, request, found, stats=given.text("stats"))

    async def query_exemplars(request: Request, given: Parameters) -> Response:
        """Answer that there are none: kobs keeps no exemplars."""
        start_ms = given.time_ms("start", default_ms=FIRST_MS)
        if given.time_ms("end", default_ms=LAST_MS) < start_ms:
            raise QueryError("end timestamp must not be before start timestamp")
        _parsed(given)
        return answer(request, [])

    async def format_query(request: Request, given: Parameters) -> Response:
        return answer(request, pretty(parse(given.text("query"))))

    async def parse_query(request: Request, given: Parameters) -> Response:
        return answer(request, describe(parse(given.text("query"))))

    for path, asked in (
        ("/query", query),
        ("/query_range", query_range),
        ("/query_exemplars", query_exemplars),
        ("/format_query", format_query),
        ("/parse_query", parse_query),
    ):
        add_endpoint(routes, path, asked, methods=GET_AND_POST)


def _parsed(given: Parameters) -> None:
    """Refuse a query that is none, in the words of an endpoint that does not name its parameter."""
    try:
        parse(given.text("query"))
    except QueryError as error:
        raise QueryError(str(error)) from error


def _answer(request: Request, found: Answer, *, stats: str) -> Response:
    """Render an answer, in a thread: a large one takes long."""
    kind, result = _result(found)
    ends = (b',"stats":' + statistics_json(found.statistics), b"}") if stats else (b"}",)
    parts = chain((b'{"resultType":"' + kind + b'","result":',), result, ends)
    return answer_in_parts(request, parts, annotations=found.annotations)


def _result(found: Answer) -> tuple[bytes, Iterable[bytes]]:
    """Return the type of a result and the result, in JSON."""
    value, moments = found.value, found.moments
    match value:
        case Points():
            return b"matrix", rendering.array(rendering.points_series(value))
        case Text():
            at = rendering.format_time(moments.start_ms).encode()
            return b"string", (b"[" + at + b"," + orjson.dumps(value.value) + b"]",)
        case Scalar():
            return b"scalar", (rendering.point_json(moments.start_ms, float(value.values[0])),)
        case Block() if found.is_range:
            return b"matrix", rendering.array(rendering.matrix_series(value, moments.times_ms()))
        case Block():
            return b"vector", rendering.array(rendering.vector_series(value, moments.start_ms))
