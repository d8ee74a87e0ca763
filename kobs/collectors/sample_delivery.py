"""Frames of samples on their way to a server: one request at a time, an answer or an error that says what to do next.

An agent stays with one server and moves on to the next when it fails.
"""

import ssl
from pathlib import Path

import httpx
import msgspec

from kobs import __version__, telemetry
from kobs.collectors.trust import trusting
from kobs.config import AgentSettings
from kobs.errors import ConfigError, RejectedError, RetryableError
from kobs.wire import frames
from kobs.wire.samples import SampleAnswer

REFUSED_PAUSE_SECONDS = 10.0

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0
_TRIES_A_SERVER = 2
_ANSWER_SECONDS = 60.0
_PATH = "/kobs/v1/ship/samples"
_REJECTED_STATUS = frozenset({400, 413, 422})
"""The server refuses this very frame: it will not take it another time either."""

log = telemetry.get_logger(__name__)
_requests = telemetry.counter("kobs_agent_sample_requests_total", "Requests with samples, by outcome.", ("outcome",))


class SampleDelivery:
    """The way of frames to the servers. `problem` tells why none takes samples now; empty if one does."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._servers = list(settings.servers)
        self._failures = 0
        self.problem = ""
        self._client = httpx.AsyncClient(
            verify=trust(settings.ca_file),
            timeout=httpx.Timeout(_ANSWER_SECONDS, connect=5.0),
            limits=httpx.Limits(max_connections=1),
            trust_env=False,
        )

    async def close(self) -> None:
        """Close connections."""
        await self._client.aclose()

    async def post(self, frame: bytes) -> SampleAnswer:
        """Send a frame and return the answer.

        Raises: RetryableError where it should be sent again, RejectedError where that helps nothing.
        """
        server = self._servers[0]
        headers = {"Content-Type": frames.CONTENT_TYPE, "User-Agent": f"kobs-agent/{__version__}"}
        token = self._token()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            response = await self._client.post(server + _PATH, content=frame, headers=headers)
        except httpx.HTTPError as error:
            raise self._failed(server, str(error) or type(error).__name__, pause=None) from error
        if response.status_code in _REJECTED_STATUS:
            _requests.labels("rejected").inc()
            log.error("The server refuses samples for good.", server=server, error=response.text[:300])
            raise RejectedError(_reason(response), response.text[:300])
        if response.status_code != httpx.codes.OK:
            pause = _retry_after(response) if response.status_code in (429, 503) else REFUSED_PAUSE_SECONDS
            raise self._failed(server, f"status {response.status_code}: {response.text[:300]}", pause=pause)
        try:
            answer = msgspec.json.decode(response.content, type=SampleAnswer)
        except msgspec.DecodeError as error:
            raise self._failed(server, f"unreadable answer: {error}", pause=None) from error
        if self.problem:
            log.info("The server takes samples again.", server=server)
        self.problem = ""
        self._failures = 0
        _requests.labels("answered").inc()
        return answer

    def _failed(self, server: str, reason: str, *, pause: float | None) -> RetryableError:
        self._failures += 1
        _requests.labels("failed").inc()
        if not self.problem:
            log.warning("The server takes no samples; they wait here.", server=server, error=reason)
        self.problem = f"{server}: {reason}"
        if self._failures % _TRIES_A_SERVER == 0:
            self._servers.append(self._servers.pop(0))
        if pause is None:
            pause = min(_FIRST_PAUSE_SECONDS * 2 ** min(self._failures - 1, 8), _LONGEST_PAUSE_SECONDS)
        return RetryableError(reason, retry_after_seconds=pause)

    def _token(self) -> str:
        if self._settings.token is not None:
            return self._settings.token.get_secret_value()
        if self._settings.token_file is not None:
            try:
                return self._settings.token_file.read_text().strip()
            except OSError as error:
                self.problem = f"agent.token_file {self._settings.token_file}: {error.strerror}"
        return ""


def trust(ca_file: Path | None) -> ssl.SSLContext | bool:
    """Return what signs the servers' certificates, as an HTTP client takes it.

    Raises: ConfigError.
    """
    if ca_file is None:
        return True
    try:
        return trusting(ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"agent.ca_file {ca_file}: {error}; expected a file with certificates (PEM)") from error


def _reason(response: httpx.Response) -> str:
    """Return why a server refused a frame, from its error's type; bounded, as it becomes a label."""
    try:
        told = msgspec.json.decode(response.content, type=_Refusal).error.type
    except msgspec.DecodeError:
        return "refused"
    return told if told in _FRAME_REASONS else "refused"


class _RefusalError(msgspec.Struct, frozen=True):
    type: str


class _Refusal(msgspec.Struct, frozen=True):
    error: _RefusalError


_FRAME_REASONS = frozenset(
    {"malformed_frame", "wrong_checksum", "frame_too_large", "body_too_large", "too_many_samples"}
)


def _retry_after(response: httpx.Response) -> float:
    try:
        return min(max(float(response.headers.get("Retry-After", "1")), 0.1), 60.0)
    except ValueError:
        return 1.0
