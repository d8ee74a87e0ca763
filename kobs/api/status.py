"""How the server is: for people, for scrapers and for an orchestrator's probes."""

import asyncio
from typing import TYPE_CHECKING

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from kobs import telemetry
from kobs.api.disconnection import while_connected
from kobs.api.errors import error_answer, json_answer
from kobs.api.parameters import Parameters
from kobs.api.security import scope_of
from kobs.errors import KobsError
from kobs.query.status import Status

if TYPE_CHECKING:
    from kobs.api.app import Services

_READY_SECONDS = 5.0


def router(services: "Services") -> APIRouter:
    """Return the endpoints."""
    routes = APIRouter()

    @routes.get("/kobs/v1/status")
    async def status(request: Request) -> Response:
        Parameters(request.query_params.multi_items(), single=frozenset())
        return json_answer(_status_json(await while_connected(request, services.status.read(scope_of(request)))))

    @routes.get("/metrics")
    async def metrics(request: Request) -> Response:
        body, content_type = await asyncio.to_thread(telemetry.exposition, request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": content_type})

    @routes.get("/-/healthy")
    async def healthy() -> Response:
        return PlainTextResponse("kobs is alive.\n")

    @routes.get("/-/ready")
    async def ready(request: Request) -> Response:
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await services.status.check(scope_of(request))
        except (KobsError, TimeoutError) as error:
            # why is in the log and the status, for those who carry the token
            telemetry.get_logger(__name__).warning("The store does not answer.", error=error)
            return error_answer("not_ready", "the store does not answer", status=503)
        return PlainTextResponse("kobs is ready.\n")

    return routes


def _status_json(status: Status) -> dict[str, object]:
    return {
        "version": status.version,
        "uptime_seconds": status.uptime_seconds,
        "store": {"kind": status.store_kind, "bytes": status.store_bytes},
        "sources": [
            {
                "kind": each.kind,
                "cluster": each.cluster,
                "node": each.node,
                "namespace": each.namespace,
                "sources": each.sources,
                "segments": each.segments,
                "newest": str(each.newest_ns) if each.newest_ns else None,
                "updated": str(each.updated_ms * 1_000_000),
                "pending_records" if each.kind == "journal" else "pending_bytes": each.pending,
            }
            for each in status.sources
        ],
        "agents": [
            {
                "agent": each.agent,
                "cluster": each.cluster,
                "node": each.node,
                "version": each.version,
                "clock_skew_ms": each.clock_skew_ms,
                "held_bytes": each.held_bytes,
                "streams": each.streams,
                "backlog_bytes": each.backlog_bytes,
                "problems": each.problems,
                "seen": str(each.seen_ms * 1_000_000),
            }
            for each in status.agents
        ],
        "queues": status.queues,
        "discarded": status.discarded,
    }
