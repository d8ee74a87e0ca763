"""What agents ship: a frame arrives in a request's body, the answer of the ingest leaves as JSON.

The answer says what is stored; before it nothing is promised. 400 means that the frame will never be taken, 503 that it
may be sent again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

import msgspec
from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from kobs import telemetry
from kobs.api.bodies import read_body
from kobs.api.errors import error_answer, retry_answer
from kobs.errors import KobsError, RejectedError
from kobs.ingest.limits import Reason

if TYPE_CHECKING:
    from kobs.api.app import Services

_CLIENT_CLOSED_REQUEST = 499


class FrameIngest(Protocol):
    """What takes frames: the ingests of logs, samples and targets."""

    async def accept(self, frame: bytes) -> object:
        """Store what a frame holds and return the answer, which msgspec can write."""


def router(services: "Services") -> APIRouter:
    """Return the endpoints."""
    routes = APIRouter(prefix="/kobs/v1/ship")

    @routes.post("/logs")
    async def logs(request: Request) -> Response:
        return await _accept(services, request, services.log_ingest.accept, signal="logs")

    @routes.post("/positions")
    async def positions(request: Request) -> Response:
        return await _accept(services, request, services.log_ingest.positions, signal="logs")

    samples_ingest = services.metrics_ingest
    if samples_ingest is not None:

        @routes.post("/samples")
        async def samples(request: Request) -> Response:
            return await _accept(services, request, samples_ingest.accept, signal="samples")

    targets_ingest = services.targets_ingest
    if targets_ingest is not None:

        @routes.post("/targets")
        async def targets(request: Request) -> Response:
            return await _accept(services, request, targets_ingest.accept, signal="targets")

    return routes


async def _accept(
    services: "Services", request: Request, accept: Callable[[bytes], Awaitable[object]], *, signal: str
) -> Response:
    """Read a frame, hand it on and answer."""
    limit = services.settings.max_body_bytes
    seconds = services.settings.request_timeout_seconds
    try:
        async with asyncio.timeout(seconds):
            frame = await read_body(request, limit=limit)
    except TimeoutError:
        return error_answer(
            "request_timeout",
            f"the body did not come within {seconds:g} s (server.request_timeout_seconds)",
            status=408,
            headers={"Connection": "close"},
        )
    except ClientDisconnect:
        return error_answer("client_closed_request", "the client has gone", status=_CLIENT_CLOSED_REQUEST)
    if frame is None:
        telemetry.discarded(signal, Reason.BODY_TOO_LARGE)
        return error_answer(
            Reason.BODY_TOO_LARGE,
            f"the body has more than {limit} bytes (server.max_body_bytes); send smaller requests",
            status=413,
            headers={"Connection": "close"},
        )
    try:
        answer = await accept(frame)
    except RejectedError as error:
        telemetry.discarded(signal, str(error.reason))
        raise
    except KobsError as error:
        # whatever it is, the sender still has the frame
        return retry_answer(error)
    return Response(msgspec.json.encode(answer), media_type="application/json")
