"""What there is: series, label names, label values, and what is said of metric names."""

import asyncio
import re

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from kobs.api.disconnection import while_connected
from kobs.api.prometheus.answers import answer, answer_in_parts
from kobs.api.prometheus.endpoint import GET_AND_POST, add_endpoint
from kobs.api.prometheus.parameters import Parameters
from kobs.api.prometheus.rendering import array
from kobs.api.security import scope_of
from kobs.errors import QueryError
from kobs.query.metric_catalog import LabelSets, MetricCatalog, Names, Window

_ESCAPED = "U__"
_ESCAPE = re.compile(r"__|_([0-9a-fA-F]{1,8})_")


def add(routes: APIRouter, catalog: MetricCatalog) -> None:
    """Add the endpoints."""

    async def series(request: Request, given: Parameters) -> Response:
        if not given.texts("match[]"):
            raise QueryError("no match[] parameter provided")
        limit = given.limit()
        window = Window(*given.window_ms())
        question = catalog.series(given.selectors(), window, scope_of(request), limit=limit)
        found = await while_connected(request, question)
        return await asyncio.to_thread(_label_sets, request, found)

    async def labels(request: Request, given: Parameters) -> Response:
        limit = given.limit()
        window = Window(*given.window_ms())
        question = catalog.label_names(given.selectors(), window, scope_of(request), limit=limit)
        return _names(request, await while_connected(request, question))

    async def values(request: Request, given: Parameters) -> Response:
        name = unescape(request.path_params["name"])
        if not name:
            raise QueryError('invalid label name: ""')
        limit = given.limit()
        window = Window(*given.window_ms())
        question = catalog.label_values(name, given.selectors(), window, scope_of(request), limit=limit)
        return _names(request, await while_connected(request, question))

    async def metadata(request: Request, given: Parameters) -> Response:
        limit = given.number("limit", default=-1)
        of_metric = given.number("limit_per_metric", default=-1)
        question = catalog.metadata(scope_of(request), metric=given.text("metric"))
        found: dict[str, list[dict[str, str]]] = {}
        for each in await while_connected(request, question):
            if 0 <= limit <= len(found) and each.metric not in found:
                continue
            told = found.setdefault(each.metric, [])
            said = {"type": each.type, "unit": each.unit, "help": each.help}
            if said not in told and (of_metric <= 0 or len(told) < of_metric):
                told.append(said)
        return answer(request, found)

    add_endpoint(routes, "/series", series, methods=GET_AND_POST)
    add_endpoint(routes, "/labels", labels, methods=GET_AND_POST)
    add_endpoint(routes, "/label/{name:path}/values", values)
    add_endpoint(routes, "/metadata", metadata)


def unescape(name: str) -> str:
    """Return a label name that a client escaped because of characters that are not letters, digits and `_`.

    Source: Prometheus, `docs/escaping_schemes.md`: `U__` before it, `_` doubled, others as `_hex_`.
    """
    if not name.startswith(_ESCAPED):
        return name
    escaped = name.removeprefix(_ESCAPED)
    plain = []
    last = 0
    for found in _ESCAPE.finditer(escaped):
        between = escaped[last : found.start()]
        point = int(found[1], 16) if found[1] is not None else ord("_")
        if "_" in between or point > 0x10FFFF or 0xD800 <= point <= 0xDFFF:
            return name
        plain += [between, chr(point)]
        last = found.end()
    rest = escaped[last:]
    return name if "_" in rest else "".join([*plain, rest])


def _names(request: Request, found: Names) -> Response:
    return answer(request, found.names, is_truncated=found.is_cut)


def _label_sets(request: Request, found: LabelSets) -> Response:
    parts = array(text.encode() for text in found.texts)
    return answer_in_parts(request, parts, is_truncated=found.is_cut)
