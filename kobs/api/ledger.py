"""The ledger over HTTP: what is known to be lost, and whether what agents claim is stored exactly once."""

import base64
from typing import TYPE_CHECKING

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from kobs.api.disconnection import while_connected
from kobs.api.errors import json_answer
from kobs.api.parameters import SOURCE_NAMES, Parameters
from kobs.api.security import scope_of
from kobs.errors import QueryError
from kobs.query.ledger import LOSSES, REASONS, LedgerQuery, LedgerRow, SampleLossRow

if TYPE_CHECKING:
    from kobs.api.app import Services

_MOST_ROWS = 1000
_DEFAULT_LIMIT = 100


def router(services: "Services") -> APIRouter:
    """Return the endpoints."""
    routes = APIRouter(prefix="/kobs/v1")

    @routes.get("/ledger")
    async def ledger(request: Request) -> Response:
        page = await while_connected(request, services.ledger.read(scope_of(request), _ledger_query(request)))
        return json_answer(
            {
                "losses": [loss_json(row) for row in page.rows],
                "sums": [{"reason": each.reason, "count": each.count, "bytes": each.bytes} for each in page.sums],
                "cursor": page.cursor,
            }
        )

    @routes.get("/ledger/samples")
    async def sample_losses(request: Request) -> Response:
        names = frozenset({"start", "end", "limit"})
        parameters = Parameters(request.query_params.multi_items(), single=names)
        start_ns, end_ns = parameters.window_ns()
        limit = parameters.integer("limit", default=_DEFAULT_LIMIT, least=1, most=_MOST_ROWS)
        reading = services.ledger.sample_losses(scope_of(request), start_ns=start_ns, end_ns=end_ns, limit=limit)
        return json_answer({"losses": [_sample_loss_json(row) for row in await while_connected(request, reading)]})

    @routes.get("/verify")
    async def verify(request: Request) -> Response:
        Parameters(request.query_params.multi_items(), single=frozenset())
        return json_answer(await while_connected(request, services.verify.verify(scope_of(request))))

    @routes.get("/verify/entries")
    async def entries(request: Request) -> Response:
        names = frozenset({"source", "segment", "offset", "limit"})
        parameters = Parameters(request.query_params.multi_items(), single=names)
        rows = await while_connected(
            request,
            services.verify.entries(
                scope_of(request),
                source=_number(parameters, "source", least=0, most=2**64 - 1),
                segment=_number(parameters, "segment", least=-(2**63), most=2**63 - 1),
                after=_number(parameters, "offset", least=0, most=2**64 - 1, default=0),
                limit=parameters.integer(
                    "limit",
                    default=_MOST_ROWS,
                    least=1,
                    most=services.settings.search_max_rows,
                    setting="server.search_max_rows",
                ),
            ),
        )
        return json_answer({"entries": [_plain(row) for row in rows]})

    return routes


def loss_json(row: LedgerRow) -> dict[str, object]:
    """Return a record as it is answered: what is not known is null."""
    return {
        "reason": row.reason,
        "labels": row.labels,
        "path": row.path,
        "bytes": row.bytes,
        "rows": row.rows,
        "in_row": row.in_row,
        "first": str(row.first_ns) if row.first_ns else None,
        "last": str(row.last_ns) if row.last_ns else None,
        "source": str(row.source),
        "segment": str(row.segment),
        "start": row.start,
        "end": row.end or None,
        "detail": row.detail,
        "recorded": str(row.recorded_ms * 1_000_000),
    }


def _sample_loss_json(row: SampleLossRow) -> dict[str, object]:
    labels = {"cluster": row.cluster, "node": row.node}
    return {
        "reason": row.reason,
        "labels": {name: value for name, value in labels.items() if value},
        "samples": row.samples or None,
        "first": str(row.first_ms * 1_000_000) if row.last_ms else None,
        "last": str(row.last_ms * 1_000_000) if row.last_ms else None,
        "detail": row.detail,
        "recorded": str(row.recorded_ms * 1_000_000),
    }


def _ledger_query(request: Request) -> LedgerQuery:
    parameters = Parameters(
        request.query_params.multi_items(),
        single=frozenset({"start", "end", "limit", "cursor"}),
        repeatable=SOURCE_NAMES | {"reason"},
    )
    reasons = parameters.texts("reason")
    for reason in reasons:
        if reason not in REASONS:
            raise QueryError(f"reason={reason[:100]!r}: expected one of {', '.join(REASONS)}")
    start_ns, end_ns = parameters.window_ns()
    return LedgerQuery(
        sources=parameters.sources(),
        reasons=reasons or LOSSES,
        start_ns=start_ns,
        end_ns=end_ns,
        limit=parameters.integer("limit", default=_DEFAULT_LIMIT, least=1, most=_MOST_ROWS),
        cursor=parameters.text("cursor"),
    )


def _number(parameters: Parameters, name: str, *, least: int, most: int, default: int | None = None) -> int:
    """Return an id or offset, which may be negative."""
    value = parameters.text(name)
    if value is None and default is not None:
        return default
    try:
        number = int(value or "")
    except ValueError:
        number = most + 1
    if not least <= number <= most:
        raise QueryError(f"{name}={(value or '')[:100]!r}: expected a whole number from {least} to {most}")
    return number


def _plain(row: dict[str, object]) -> dict[str, object]:
    """Return a row with its bytes in base64."""
    return {
        f"{name}_base64" if isinstance(value, bytes) else name: base64.b64encode(value).decode()
        if isinstance(value, bytes)
        else value
        for name, value in row.items()
    }
