"""What a server says of itself in Prometheus' words.

Clients read the version to decide which parts of the API there are: it is that of the Prometheus whose API this is,
kobs's own is the revision. Facts that only a Go program has (goroutines, its collector's settings) are empty or zero.
"""

import datetime as dt
import os
import platform
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

import kobs
from kobs.api.disconnection import while_connected
from kobs.api.prometheus.answers import answer
from kobs.api.prometheus.endpoint import add_endpoint
from kobs.api.prometheus.parameters import Parameters
from kobs.api.security import scope_of
from kobs.config import Settings
from kobs.errors import QueryError
from kobs.query.metric_catalog import MetricCatalog
from kobs.query.promql.leaves import DEFAULT_LOOKBACK_MS

API_VERSION = "3.8.0"
"""The Prometheus whose API kobs answers."""

_MOST_LISTED = 10_000
_NO_TIME_MS = (2**63 - 1, -(2**63))
"""What Prometheus says of the times of an empty store."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What the API tells of this server besides its data."""

    retention: str
    """How long samples are kept, such as `15d`."""
    flags: Mapping[str, str]
    """Settings under the names of Prometheus' flags."""
    configuration: Mapping[str, object]
    """The parts of Prometheus' configuration file that a server has."""
    started: float = field(default_factory=time.time)

    @classmethod
    def of(cls, settings: Settings) -> "ServerFacts":
        """Return the facts of a server with these settings."""
        days = settings.storage.metrics_keep_days
        retention = f"{days}d" if days else "0s"
        seconds = f"{settings.agent.host_metrics_seconds:g}s"
        labels = {"external_labels": {"cluster": settings.cluster}} if settings.cluster else {}
        return cls(
            retention=retention,
            flags={
                "log.level": settings.log.level,
                "query.lookback-delta": f"{DEFAULT_LOOKBACK_MS // 60_000}m",
                "query.max-concurrency": str(settings.query.heavy_queries),
                "query.max-samples": str(settings.query.max_samples),
                "query.timeout": f"{settings.query.timeout_seconds:g}s",
                "storage.tsdb.retention.time": retention,
                "web.enable-remote-write-receiver": "true",
                "web.listen-address": settings.server.listen,
            },
            configuration={"global": {"scrape_interval": seconds, "evaluation_interval": "1m", **labels}},
        )


def add(routes: APIRouter, catalog: MetricCatalog, facts: ServerFacts) -> None:
    """Add the endpoints."""

    async def buildinfo(request: Request, _: Parameters) -> Response:
        told = {
            "version": API_VERSION,
            "revision": f"kobs {kobs.__version__}",
            "branch": "",
            "buildUser": "",
            "buildDate": "",
            "goVersion": f"Python {platform.python_version()}",
        }
        return answer(request, told)

    async def runtimeinfo(request: Request, _: Parameters) -> Response:
        told = {
            "startTime": _moment(facts.started),
            "CWD": str(Path.cwd()),
            "hostname": socket.gethostname(),
            "serverTime": _moment(time.time()),
            "reloadConfigSuccess": True,
            "lastConfigTime": _moment(facts.started),
            "corruptionCount": 0,
            "goroutineCount": threading.active_count(),
            "GOMAXPROCS": os.cpu_count() or 1,
            "GOMEMLIMIT": 0,
            "GOGC": "",
            "GODEBUG": "",
            "storageRetention": facts.retention,
        }
        return answer(request, told)

    async def config(request: Request, _: Parameters) -> Response:
        return answer(request, {"yaml": yaml.safe_dump(dict(facts.configuration), sort_keys=False)})

    async def flags(request: Request, _: Parameters) -> Response:
        return answer(request, dict(facts.flags))

    async def tsdb(request: Request, given: Parameters) -> Response:
        text = given.text("limit") or "10"
        if not text.isdecimal() or int(text) < 1:
            raise QueryError("limit must be a positive number")
        limit = min(int(text), _MOST_LISTED)
        found = await while_connected(request, catalog.cardinality(scope_of(request), limit=limit))
        lists = (found.metrics, found.label_values, found.label_bytes, found.pairs) if found is not None else ([],) * 4
        names = (
            "seriesCountByMetricName",
            "labelValueCountByLabelName",
            "memoryInBytesByLabelName",
            "seriesCountByLabelValuePair",
        )
        told: dict[str, object] = {
            "headStats": {
                "numSeries": found.series if found is not None else 0,
                "numLabelPairs": found.label_pairs if found is not None else 0,
                "chunkCount": found.parts if found is not None else 0,
                "minTime": found.first_ms if found is not None else _NO_TIME_MS[0],
                "maxTime": found.last_ms if found is not None else _NO_TIME_MS[1],
            }
        }
        for name, counted in zip(names, lists, strict=True):
            told[name] = [{"name": each, "value": number} for each, number in counted]
        return answer(request, told)

    async def blocks(request: Request, _: Parameters) -> Response:
        """Answer that there are none: samples are in ClickHouse's parts."""
        return answer(request, {"blocks": []})

    async def walreplay(request: Request, _: Parameters) -> Response:
        return answer(request, {"min": 0, "max": 0, "current": 0})

    async def notifications(request: Request, _: Parameters) -> Response:
        return answer(request, [])

    for path, asked in (
        ("/status/buildinfo", buildinfo),
        ("/status/runtimeinfo", runtimeinfo),
        ("/status/config", config),
        ("/status/flags", flags),
        ("/status/tsdb", tsdb),
        ("/status/tsdb/blocks", blocks),
        ("/status/walreplay", walreplay),
        ("/notifications", notifications),
    ):
        add_endpoint(routes, path, asked)


def _moment(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat().replace("+00:00", "Z")
