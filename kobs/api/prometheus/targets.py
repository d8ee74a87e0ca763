"""What is scraped, in Prometheus' JSON: `GET /api/v1/targets` and `GET /api/v1/scrape_pools`.

Source: Prometheus 3, `web/api/v1/api.go`.
"""

import datetime as dt
from collections.abc import Mapping

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from kobs.api.disconnection import while_connected
from kobs.api.prometheus.answers import answer
from kobs.api.prometheus.endpoint import add_endpoint
from kobs.api.prometheus.parameters import Parameters
from kobs.api.security import scope_of
from kobs.query.targets import ActiveTarget, TargetView

_NEVER = "0001-01-01T00:00:00Z"


def add(routes: APIRouter, view: TargetView) -> None:
    """Add the endpoints."""

    async def targets(request: Request, given: Parameters) -> Response:
        pool = given.text("scrapePool")
        state = given.text("state").lower()
        found = await while_connected(request, view.read(scope_of(request)))
        shows_all = state in ("", "any")
        active = [_active(each) for each in found.active if not pool or each.pool == pool]
        dropped = [
            {"discoveredLabels": _sorted(each.discovered), "scrapePool": each.pool}
            for each in found.dropped
            if not pool or each.pool == pool
        ]
        data = {
            "activeTargets": active if shows_all or state == "active" else [],
            "droppedTargets": dropped if shows_all or state == "dropped" else [],
            "droppedTargetCounts": found.dropped_counts if shows_all or state == "dropped" else None,
        }
        return answer(request, data)

    async def scrape_pools(request: Request, _: Parameters) -> Response:
        found = await while_connected(request, view.read(scope_of(request)))
        names = {each.pool for each in found.active} | {each.pool for each in found.dropped}
        names |= found.dropped_counts.keys()
        return answer(request, {"scrapePools": sorted(names)})

    add_endpoint(routes, "/targets", targets)
    add_endpoint(routes, "/scrape_pools", scrape_pools)


def _active(target: ActiveTarget) -> dict[str, object]:
    return {
        "discoveredLabels": _sorted(target.discovered),
        "labels": _sorted(target.labels),
        "scrapePool": target.pool,
        "scrapeUrl": target.url,
        "globalUrl": target.global_url,
        "lastError": target.error,
        "lastScrape": format_rfc_3339(target.started_ns),
        "lastScrapeDuration": target.seconds,
        "health": target.health,
        "scrapeInterval": target.interval,
        "scrapeTimeout": target.timeout,
    }


def _sorted(labels: Mapping[str, str]) -> dict[str, str]:
    return dict(sorted(labels.items()))


def format_rfc_3339(time_ns: int) -> str:
    """Return a time as `2026-01-02T15:04:05.123456789Z`, without zeros at its end; 0 is no time at all."""
    if not time_ns:
        return _NEVER
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    fraction = f".{nanoseconds:09}".rstrip("0").rstrip(".")
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%dT%H:%M:%S}{fraction}Z"
