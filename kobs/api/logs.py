"""Logs over HTTP: search page by page, and the live tail on a WebSocket."""

import asyncio
import base64
import contextlib
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from kobs.api.disconnection import until_disconnected, while_connected
from kobs.api.errors import answer_to, json_answer
from kobs.api.ledger import loss_json
from kobs.api.parameters import SOURCE_NAMES, Parameters
from kobs.api.security import scope_of
from kobs.errors import KobsError, QueryError, RetryableError
from kobs.model.log_filter import LogFilter
from kobs.model.scope import Scope
from kobs.query.logs import LogEntry, LogPage, LogQuery
from kobs.query.matching import check_regex, check_text, check_token
from kobs.query.tail import ResumePoint, Tail, TailPoller

if TYPE_CHECKING:
    from kobs.api.app import Services

HEARTBEAT_SECONDS = 15.0
"""A tail without news says this often that it is there."""

_FILTERS = frozenset({"token", "text", "regex"})
_REPEATABLE = SOURCE_NAMES | {"severity"}
_SEARCH = _FILTERS | {"start", "end", "limit", "direction", "cursor"}
_DEFAULT_LIMIT = 100
_ENTRIES_A_MESSAGE = 500
_READY_SECONDS = 10.0
_TRY_AGAIN_LATER = 1013
_INTERNAL_ERROR = 1011
_RESUME = re.compile(r"(\d{1,15})\.(\d{1,15})")


def router(services: "Services") -> APIRouter:
    """Return the endpoints."""
    routes = APIRouter(prefix="/kobs/v1/logs")

    @routes.get("")
    async def search(request: Request) -> Response:
        query = parse_query(request.query_params.multi_items(), most_rows=services.settings.search_max_rows)
        page = await while_connected(request, services.log_search.search(scope_of(request), query))
        return await asyncio.to_thread(_page_answer, page)

    @routes.websocket("/tail")
    async def tail(websocket: WebSocket) -> None:
        try:
            parameters = Parameters(
                websocket.query_params.multi_items(), single=_FILTERS | {"resume"}, repeatable=_REPEATABLE
            )
            wanted = _filter(parameters)
            point = _resume_point(parameters.text("resume"))
        except KobsError as error:
            await websocket.send_denial_response(answer_to(error))
            return
        await websocket.accept()
        following = _follow(websocket, services.tail, scope_of(websocket), wanted, point)
        # a client that goes while something is sent to it is no error
        with contextlib.suppress(WebSocketDisconnect):
            await until_disconnected(websocket.receive, following)

    return routes


def parse_query(items: Iterable[tuple[str, str]], *, most_rows: int) -> LogQuery:
    """Return the query that parameters ask.

    Raises: QueryError that names the parameter, what was expected and what came.
    """
    parameters = Parameters(items, single=_SEARCH, repeatable=_REPEATABLE)
    start_ns, end_ns = parameters.window_ns()
    return LogQuery(
        filter=_filter(parameters),
        start_ns=start_ns,
        end_ns=end_ns,
        limit=parameters.integer(
            "limit", default=_DEFAULT_LIMIT, least=1, most=most_rows, setting="server.search_max_rows"
        ),
        backward=parameters.choice("direction", default="backward", choices=("forward", "backward")) == "backward",
        cursor=parameters.text("cursor"),
    )


def entry_json(entry: LogEntry) -> dict[str, object]:
    """Return an entry as it is answered."""
    row = entry.row
    answer: dict[str, object] = {"time": str(row.time_ns)}
    try:
        answer["line"] = row.body.decode()
    except UnicodeDecodeError:
        answer["line"] = row.body.decode(errors="replace")
        answer["line_base64"] = base64.b64encode(row.body).decode()
    answer["labels"] = entry.labels
    answer["severity"] = row.severity
    if row.trace_id:
        answer["trace_id"] = row.trace_id
    answer["position"] = f"{row.source}:{row.segment}:{row.offset}"
    return answer


def _filter(parameters: Parameters) -> LogFilter:
    token, text, regex = parameters.text("token"), parameters.text("text"), parameters.text("regex")
    if token is not None:
        check_token(token)
    if text is not None:
        check_text(text)
    if regex is not None:
        check_regex(regex)
    return LogFilter(
        sources=parameters.sources(),
        severities=parameters.texts("severity"),
        token=token or "",
        text=text or "",
        regex=regex or "",
    )


def _page_answer(page: LogPage) -> Response:
    complete = page.completeness
    return json_answer(
        {
            "entries": [entry_json(entry) for entry in page.entries],
            "cursor": page.cursor,
            "completeness": {
                "complete": complete.is_complete,
                "losses": [loss_json(loss) for loss in complete.losses],
                "loss_count": complete.loss_count,
                "pending_bytes": complete.pending_bytes,
                "pending_records": complete.pending_records,
            },
        }
    )


# -- the tail ----------------------------------------------------------------------------------------------------------


def _resume_point(text: str | None) -> ResumePoint | None:
    if text is None:
        return None
    found = _RESUME.fullmatch(text)
    if found is None or int(found[1]) > int(found[2]):
        raise QueryError(
            f"resume={text[:100]!r}: expected the last `resume` that a tail was told; leave it out to begin"
        )
    return ResumePoint(begin_ms=int(found[1]), reached_ms=int(found[2]))


def _resume_text(point: ResumePoint) -> str:
    return f"{point.begin_ms}.{point.reached_ms}"


async def _follow(
    websocket: WebSocket, poller: TailPoller, scope: Scope, wanted: LogFilter, point: ResumePoint | None
) -> None:
    """Tell a client what arrives, until it goes or is told why not."""
    try:
        if point is not None and poller.is_long_ago(point):
            # before the queue of live entries begins, which would run over meanwhile
            now_ms = poller.now_ms()
            await _send_missed(websocket, poller, scope, wanted, point)
            point = ResumePoint(point.begin_ms, now_ms)
        async with poller.follow(scope, wanted, resume=point) as tail:
            async with asyncio.timeout(_READY_SECONDS):
                await tail.wait_until_ready()
            if point is not None:
                await _send_missed(websocket, poller, scope, wanted, point)
            await _send(websocket, {"heartbeat": True, "resume": _resume_text(tail.resume)})
            while True:
                await _send_news(websocket, tail)
    except TimeoutError:
        await _give_up(websocket, RetryableError(f"the live tail did not begin within {_READY_SECONDS:g} s"))
    except KobsError as error:
        await _give_up(websocket, error)


async def _send_news(websocket: WebSocket, tail: Tail) -> None:
    heard = await tail.news(heartbeat_seconds=HEARTBEAT_SECONDS, most_entries=_ENTRIES_A_MESSAGE)
    resume = _resume_text(heard.resume)
    if heard.dropped:
        await _send(websocket, {"dropped": heard.dropped})
    if heard.entries:
        await _send(websocket, {"entries": [entry_json(entry) for entry in heard.entries], "resume": resume})
    else:
        await _send(websocket, {"heartbeat": True, "resume": resume})


async def _send_missed(
    websocket: WebSocket, poller: TailPoller, scope: Scope, wanted: LogFilter, point: ResumePoint
) -> None:
    async with contextlib.aclosing(poller.since(scope, wanted, point)) as pages:
        async for entries in pages:
            await _send(websocket, {"entries": [entry_json(entry) for entry in entries], "resume": _resume_text(point)})


async def _give_up(websocket: WebSocket, error: KobsError) -> None:
    await websocket.send_text(bytes(answer_to(error).body).decode())
    await websocket.close(_TRY_AGAIN_LATER if isinstance(error, RetryableError) else _INTERNAL_ERROR)


async def _send(websocket: WebSocket, message: object) -> None:
    await websocket.send_text(orjson.dumps(message).decode())
