"""Remote write over HTTP: `POST /api/v1/write`, messages 1.0 and 2.0.

Statuses are those that senders act upon. 204: all of it is stored. 4xx: what is not stored never will be, and should
not be sent again; a 400 has stored the rest, and says in one line what is missing. 5xx: the whole request may be sent
again, which changes nothing of what is stored already.

Source: Prometheus Remote-Write 1.0 and 2.0 (2.0-rc.4) specifications.
"""

import asyncio
import math
from email.message import Message as Headers

from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from kobs import telemetry
from kobs.api.bodies import read_body
from kobs.config import ServerSettings
from kobs.errors import KobsError, RejectedError, RetryableError
from kobs.ingest.limits import Reason
from kobs.ingest.remote_write import Compression, Message, Receipt, RemoteWriteIngest

_CLIENT_CLOSED_REQUEST = 499
_SIGNAL = "metrics"
_MEDIA_TYPE = "application/x-protobuf"
_RETRY_SECONDS = 5.0

log = telemetry.get_logger(__name__)
_requests = telemetry.counter(
    "kobs_api_remote_write_requests_total", "Requests of remote write, by message and status.", ("message", "status")
)


def router(ingest: RemoteWriteIngest, settings: ServerSettings) -> APIRouter:
    """Return the endpoint."""
    routes = APIRouter()

    @routes.post("/api/v1/write")
    async def write(request: Request) -> Response:
        negotiated = _negotiated(request)
        if isinstance(negotiated, Response):
            telemetry.discarded(_SIGNAL, Reason.UNSUPPORTED_MEDIA_TYPE)
            _requests.labels("unknown", negotiated.status_code).inc()
            return negotiated
        message, compression = negotiated
        answer = await _write(request, ingest, settings, message, compression)
        _requests.labels(message.value, answer.status_code).inc()
        return answer

    return routes


async def _write(
    request: Request, ingest: RemoteWriteIngest, settings: ServerSettings, message: Message, compression: Compression
) -> Response:
    try:
        async with asyncio.timeout(settings.request_timeout_seconds):
            body = await read_body(request, limit=settings.max_body_bytes)
    except TimeoutError:
        seconds = settings.request_timeout_seconds
        text = f"the body did not come within {seconds:g} s (server.request_timeout_seconds)"
        return _text(text, status=503, headers={"Connection": "close"})
    except ClientDisconnect:
        return _text("the client has gone", status=_CLIENT_CLOSED_REQUEST)
    if body is None:
        telemetry.discarded(_SIGNAL, Reason.BODY_TOO_LARGE)
        return _text(
            f"the body has more than {settings.max_body_bytes} bytes (server.max_body_bytes); send smaller requests",
            status=413,
            headers={"Connection": "close"},
        )
    try:
        receipt = await ingest.write(body, message, compression)
    except RejectedError as error:
        telemetry.discarded(_SIGNAL, str(error.reason))
        status = 413 if error.reason in (Reason.MESSAGE_TOO_LARGE, Reason.TOO_MANY_SAMPLES) else 400
        return _text(str(error), status=status, headers=_written(0))
    except KobsError as error:
        # Whatever it is, the sender still has the request.
        wait = error.retry_after_seconds if isinstance(error, RetryableError) else _RETRY_SECONDS
        log.warning("A request of remote write could not be stored; its sender may send it again.", error=error)
        return _text(str(error), status=503, headers={"Retry-After": str(max(math.ceil(wait), 1))})
    headers = _written(receipt.samples)
    # Exemplars are no part of remote write 1.0, so that a sender of it has not asked for them.
    ignored = {Reason.EXEMPLAR} if message is Message.V1 else set()
    if set(receipt.refused) <= ignored:
        return Response(status_code=204, headers=headers)
    return _text(_refusal(receipt), status=400, headers=headers)


def _negotiated(request: Request) -> tuple[Message, Compression] | Response:
    """Return what the headers say the body is. Those of an old sender may be missing."""
    content_type = Headers()
    content_type["Content-Type"] = request.headers.get("content-type") or _MEDIA_TYPE
    told = content_type.get_param("proto") or Message.V1.value
    if content_type.get_content_type() != _MEDIA_TYPE or told not in set(Message):
        known = ", ".join(f"{_MEDIA_TYPE};proto={each}" for each in Message)
        return _text(f"Content-Type is {request.headers.get('content-type', '')[:200]}: expected {known}", status=415)
    encoding = request.headers.get("content-encoding", "").strip().lower() or Compression.SNAPPY.value
    if encoding not in set(Compression):
        return _text(f"Content-Encoding is {encoding[:100]}: expected {' or '.join(Compression)}", status=415)
    return Message(str(told)), Compression(encoding)


def _written(samples: int) -> dict[str, str]:
    """Return the headers that say how much is stored."""
    names = {"Samples": samples, "Histograms": 0, "Exemplars": 0}
    return {f"X-Prometheus-Remote-Write-{name}-Written": str(count) for name, count in names.items()}


def _refusal(receipt: Receipt) -> str:
    """Return what of a request is not stored, in one line: more than one a sender does not show."""
    counts = ", ".join(f"{count} {_WORDS.get(reason, str(reason))}" for reason, count in receipt.refused.items())
    examples = "; ".join(receipt.examples)
    rest = f"{receipt.samples} samples are stored, these are not: {counts}"
    return f"{rest}; {examples}" if examples else rest


_WORDS = {
    Reason.EXEMPLAR: "exemplars (kobs keeps none)",
    Reason.NATIVE_HISTOGRAM: "native histograms (kobs keeps none)",
    Reason.SERIES_WITHOUT_SAMPLES: "series without samples",
    Reason.EXPIRED_ON_ARRIVAL: "samples older than they are kept (storage.metrics_keep_days)",
    Reason.TIME_OUT_OF_RANGE: "samples before 1970 or more than a day ahead",
    Reason.LABELS_TOO_MANY: "samples with more than 128 labels",
    Reason.LABEL_TOO_LONG: "samples with a name of more than 1 KiB or a value of more than 16 KiB",
    Reason.LABEL_NAME_INVALID: "samples with an empty label name or without a metric name",
    Reason.LABELS_MALFORMED: "samples with a label twice or with references to no symbol",
    Reason.LABELS_NOT_UTF8: "samples with labels that are not UTF-8",
    Reason.ID_COLLISION: "samples of a series whose id another one has",
}


def _text(text: str, *, status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(" ".join(text.split()) + "\n", status_code=status, headers=headers, media_type="text/plain")
