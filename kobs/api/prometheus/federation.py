"""`/federate`: the newest samples in the text format, for another Prometheus to scrape.

Source: Prometheus 3, `web/federate.go`; the text format 0.0.4, and its quoted names for those who accept UTF-8.
"""

import asyncio
import re
import time
from collections.abc import Iterable
from decimal import Decimal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from kobs.api.disconnection import while_connected
from kobs.api.prometheus.parameters import parameters
from kobs.api.security import scope_of
from kobs.errors import LimitError, QueryError
from kobs.model.labels import METRIC_NAME
from kobs.query.federation import Federation, NewestSample

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_OTHER = re.compile(r"[^a-zA-Z0-9_:]")
_TYPE = "text/plain; version=0.0.4; charset=utf-8; escaping="
_ACCEPTS_UTF_8 = "escaping=allow-utf-8"


def router(federation: Federation) -> APIRouter:
    """Return the endpoint."""
    routes = APIRouter()

    async def federate(request: Request) -> Response:
        try:
            given = await parameters(request)
            question = federation.newest(given.selectors(), time.time_ns() // 1_000_000, scope_of(request))
            samples = await while_connected(request, question)
        except QueryError as error:
            return PlainTextResponse(f"{error}\n", status_code=400)
        except LimitError as error:
            return PlainTextResponse(f"{error}\n", status_code=422)
        keeps_utf_8 = _ACCEPTS_UTF_8 in request.headers.get("accept", "").replace(" ", "").lower()
        body = await asyncio.to_thread(exposition, samples, keeps_utf_8=keeps_utf_8)
        kind = _TYPE + ("allow-utf-8" if keeps_utf_8 else "underscores")
        return Response(body, headers={"Content-Type": kind})

    routes.add_api_route("/federate", federate, methods=["GET"], response_model=None)
    return routes


def exposition(samples: Iterable[NewestSample], *, keeps_utf_8: bool) -> bytes:
    """Return samples in the text format, those of one name together; names that it cannot write are escaped by `_`.

    A sample without an instance says so, so that its scraper adds none of its own.
    """
    lines = []
    last = None
    for sample in samples:
        labels = dict(sample.labels)
        name = labels.pop(METRIC_NAME, "")
        if not name:
            continue
        labels.setdefault("instance", "")
        plain = _NAME.fullmatch(name) is not None
        if not plain and not keeps_utf_8:
            name, plain = _escaped(name), True
        if name != last:
            lines.append(f"# TYPE {name if plain else _quoted(name)} untyped\n")
            last = name
        inside = [f"{_label(each, keeps_utf_8=keeps_utf_8)}={_quoted(value)}" for each, value in labels.items()]
        if not plain:
            inside.insert(0, _quoted(name))
        lines.append(f"{name if plain else ''}{{{','.join(inside)}}} {format_float(sample.value)} {sample.time_ms}\n")
    return "".join(lines).encode()


def _label(name: str, *, keeps_utf_8: bool) -> str:
    if _LABEL.fullmatch(name) is not None:
        return name
    return _quoted(name) if keeps_utf_8 else _escaped(name).replace(":", "_")


def _escaped(name: str) -> str:
    escaped = _OTHER.sub("_", name)
    return f"_{escaped}" if escaped[:1].isdecimal() else escaped


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"') + '"'


def format_float(value: float) -> str:
    """Return the shortest text of a value as exposition formats write it: an exponent below 1e-4 and from 1e21 on."""
    if value != value:  # noqa: PLR0124 - NaN
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    if "e" not in text:
        return text.removesuffix(".0")
    return text if not 1e-4 <= abs(value) < 1e21 else format(Decimal(text), "f")
