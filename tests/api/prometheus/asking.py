"""Prometheus' API over a store, asked without a socket: what a socket adds is tested with the whole application."""

import asyncio
from typing import Any

import httpx
from fastapi import FastAPI

from kobs.api.prometheus import federation
from kobs.api.prometheus.router import PrometheusParts, router
from kobs.api.prometheus.status import ServerFacts
from kobs.query.federation import Federation
from kobs.query.metric_catalog import MetricCatalog
from kobs.query.metrics import Metrics
from kobs.query.targets import TargetView
from kobs.storage.clickhouse import Store

FACTS = ServerFacts(
    retention="15d",
    flags={"query.lookback-delta": "5m"},
    configuration={"global": {"scrape_interval": "15s"}},
)


class Api:
    """The endpoints over a store."""

    def __init__(self, store: Store) -> None:
        self.app = FastAPI()
        self.app.include_router(router(PrometheusParts(Metrics(store), MetricCatalog(store), FACTS, TargetView(store))))
        self.app.include_router(federation.router(Federation(store)))

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request to a path, which begins with a slash."""

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9700") as client:
                return await client.request(method, path, **options)

        return asyncio.run(ask())

    def get(self, path: str, **parameters: Any) -> httpx.Response:
        """Get a path below /api/v1; a list is a parameter that comes again."""
        return self.request("GET", f"/api/v1/{path}", params=parameters)

    def data(self, path: str, **parameters: Any) -> Any:
        """Return the data of a successful answer."""
        answer = self.get(path, **parameters)
        assert answer.status_code == 200, answer.text
        assert answer.json()["status"] == "success"
        return answer.json()["data"]
