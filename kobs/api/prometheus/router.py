"""All endpoints of Prometheus' API over the parts that answer them."""

from dataclasses import dataclass

from fastapi import APIRouter

from kobs.api.prometheus import names, queries, rules, status, target_metadata, targets
from kobs.api.prometheus.status import ServerFacts
from kobs.query.metric_catalog import MetricCatalog
from kobs.query.metrics import Metrics
from kobs.query.targets import TargetView


@dataclass(frozen=True, slots=True)
class PrometheusParts:
    """What answers Prometheus' API."""

    metrics: Metrics
    catalog: MetricCatalog
    facts: ServerFacts
    targets: TargetView


def router(parts: PrometheusParts) -> APIRouter:
    """Return the endpoints."""
    routes = APIRouter(prefix="/api/v1")
    queries.add(routes, parts.metrics)
    names.add(routes, parts.catalog)
    status.add(routes, parts.catalog, parts.facts)
    rules.add(routes)
    targets.add(routes, parts.targets)
    target_metadata.add(routes, parts.catalog, parts.targets)
    return routes
