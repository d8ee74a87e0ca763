"""`/targets/metadata`: what is said of metric names, by the target that says it.

A family is kept by the job that exposes it, so each target of a job answers what its job says.
"""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from kobs.api.disconnection import while_connected
from kobs.api.prometheus.answers import ParameterError, answer
from kobs.api.prometheus.endpoint import add_endpoint
from kobs.api.prometheus.parameters import Parameters, parse_selector
from kobs.api.security import scope_of
from kobs.errors import QueryError
from kobs.query.metric_catalog import Metadata, MetricCatalog
from kobs.query.promql.patterns import matches
from kobs.query.promql.tree import VectorSelector
from kobs.query.targets import TargetView


def add(routes: APIRouter, catalog: MetricCatalog, targets: TargetView) -> None:
    """Add the endpoint."""

    async def metadata(request: Request, given: Parameters) -> Response:
        limit = given.number("limit", default=-1)
        selector = _selector(given.text("match_target"))
        metric = given.text("metric")
        scope = scope_of(request)
        found = await while_connected(request, targets.read(scope))
        by_job: dict[str, list[Metadata]] = {}
        for said in await while_connected(request, catalog.metadata(scope, metric=metric)):
            by_job.setdefault(said.job, []).append(said)
        told: list[dict[str, object]] = []
        for target in found.active:
            labels = dict(sorted(target.labels.items()))
            if selector is not None and not all(
                matches(matcher, labels.get(matcher.name, "")) for matcher in selector.matchers
            ):
                continue
            if 0 <= limit <= len(told):
                break
            for said in by_job.get(labels.get("job", ""), ()):
                name = {} if metric else {"metric": said.metric}
                told.append({"target": labels, **name, "type": said.type, "help": said.help, "unit": said.unit})
        # Prometheus looks at its limit between targets only; here it is exact
        return answer(request, told if limit < 0 else told[:limit])

    add_endpoint(routes, "/targets/metadata", metadata)


def _selector(text: str) -> VectorSelector | None:
    if not text:
        return None
    try:
        return parse_selector(text)
    except QueryError as error:
        raise ParameterError("match_target", str(error)) from error
