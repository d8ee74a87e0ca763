"""All endpoints of Prometheus' API over the parts that answer them."""

from dataclasses import dataclass

from fastapi import APIRouter

from kobs.api.prometheus import names, queries, rules, status
from kobs.api.prometheus.status import ServerFacts
from kobs.query.metric_catalog import MetricCatalog
from kobs.query.metrics import Metrics


@dataclass(frozen=True, slots=True)
class PrometheusParts:
    """What answers Prometheus' API."""

    metrics: Metrics
    catalog: MetricCatalog
    facts: ServerFacts


def router(parts: PrometheusParts) -> APIRouter:
    """Return the endpoints."""
    routes = APIRouter(prefix="/api/v1")
    queries.add(routes, parts.metrics)
    names.add(routes, parts.catalog)
    status.add(routes, parts.catalog, parts.facts)
    rules.add(routes)
    return routes
