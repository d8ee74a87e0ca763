"""Where an exposition comes from, a target's HTTP or this process itself: a target arrives, pieces of text leave."""

import contextlib
from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol

from kobs import telemetry
from kobs.collectors.scraping.configuration import MEDIA_TYPES, ScrapeConfig
from kobs.collectors.scraping.http import HttpClients
from kobs.collectors.scraping.target_series import ScrapeError
from kobs.collectors.scraping.targets import Target
from kobs.wire.exposition.parsing import OPENMETRICS, TEXT, Format

_FORMATS = {"text/plain": TEXT, "application/openmetrics-text": OPENMETRICS}
_PARAMETERS = {
    "PrometheusText0.0.4": "text/plain;version=0.0.4",
    "PrometheusText1.0.0": "text/plain;version=1.0.0",
    "OpenMetricsText0.0.1": "application/openmetrics-text;version=0.0.1",
    "OpenMetricsText1.0.0": "application/openmetrics-text;version=1.0.0",
}


class Exposition(NamedTuple):
    """An answer to be parsed. `content_type` is what the target says of it."""

    content_type: str
    pieces: AsyncIterator[bytes]


class Source(Protocol):
    """What is asked for a target's exposition."""

    def open(self, target: Target) -> "contextlib.AbstractAsyncContextManager[Exposition]":
        """Ask, and hand out the answer while it comes."""


class HttpSource:
    """The HTTP targets of one job."""

    def __init__(self, job: ScrapeConfig, *, body_limit: int) -> None:
        self._clients = HttpClients(job)
        self._limit = job.body_size_limit or body_limit
        self._headers = {
            "Accept": accept_header(job),
            "Accept-Encoding": "gzip" if job.enable_compression else "identity",
        }

    @contextlib.asynccontextmanager
    async def open(self, target: Target) -> AsyncIterator[Exposition]:
        """Ask a target.

        Raises: HttpError.
        """
        headers = {**self._headers, "X-Prometheus-Scrape-Timeout-Seconds": f"{target.timeout_ms / 1000:g}"}
        async with self._clients.get(target.url, headers, body_limit=self._limit) as answer:
            yield Exposition(answer.content_type, answer.pieces)

    async def close(self) -> None:
        """Close the connections."""
        await self._clients.close()


class OwnMetrics:
    """The metrics of this process, as a target like any other."""

    @contextlib.asynccontextmanager
    async def open(self, target: Target) -> AsyncIterator[Exposition]:  # noqa: ARG002 - a Source's signature
        """Hand out what `/metrics` would answer."""
        body, content_type = telemetry.exposition("")
        yield Exposition(content_type, _one(body))

    async def close(self) -> None:
        """Close nothing."""


async def _one(body: bytes) -> AsyncIterator[bytes]:
    yield body


def accept_header(job: ScrapeConfig) -> str:
    """Return the Accept header: the job's protocols, the first one wanted most, then anything."""
    values = []
    weight = len(MEDIA_TYPES) + 1
    for protocol in job.scrape_protocols or ():
        escaping = f";escaping={job.escaping}" if protocol.endswith("1.0.0") else ""
        values.append(f"{_PARAMETERS[protocol]}{escaping};q=0.{weight}")
        weight -= 1
    return ",".join([*values, f"*/*;q=0.{weight}"])


def format_of(content_type: str, fallback: str) -> Format:
    """Return the format of an answer; `fallback` is the protocol that counts where the header names none.

    Raises: ScrapeError.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    found = _FORMATS.get(media_type)
    if found is not None:
        return found
    if fallback and media_type != MEDIA_TYPES["PrometheusProto"]:
        return _FORMATS[MEDIA_TYPES[fallback]]
    if not content_type:
        raise ScrapeError(
            "non-compliant scrape target sending blank Content-Type"
            " and no fallback_scrape_protocol specified for target"
        )
    raise ScrapeError(
        f'received unsupported Content-Type "{content_type[:200]}" and no fallback_scrape_protocol specified for target'
    )
