"""How an agent asks its servers: a path and a frame go out, an answer comes back, or an error that says what next.

An agent stays with one server and moves on to the next when that fails. Each kind of what it ships has servers of its
own: logs may arrive where samples are refused.
"""

import ssl
from pathlib import Path
from typing import TypeVar

import httpx
import msgspec

from kobs import __version__
from kobs.collectors.trust import trusting
from kobs.config import AgentSettings
from kobs.errors import ConfigError, RejectedError, RetryableError
from kobs.wire import frames

REFUSED_PAUSE_SECONDS = 10.0
"""A refusal will be the same in a second: somebody must change something first."""

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0
_CONNECT_SECONDS = 5.0
_TRIES_A_SERVER = 2
_BUSY = frozenset({429, 503})
_FRAME_REASONS = frozenset(
    {"malformed_frame", "wrong_checksum", "frame_too_large", "body_too_large", "too_many_samples"}
)

Answer = TypeVar("Answer")


class ServerError(RetryableError):
    """A server gave no answer: ask again, perhaps the next one. `server` is its URL.

    `may_have_acted` tells that it may have done what it was asked for, or may do so yet.
    """

    def __init__(self, server: str, reason: str, *, pause_seconds: float, may_have_acted: bool) -> None:
        super().__init__(reason, retry_after_seconds=pause_seconds)
        self.server = server
        self.may_have_acted = may_have_acted


class Servers:
    """The servers of `agent.servers`. `problem` tells why none answers now; empty if one does."""

    def __init__(self, settings: AgentSettings, *, answer_seconds: float, connections: int = 1) -> None:
        self.problem = ""
        self._settings = settings
        self._urls = list(settings.servers)
        self._failures = 0
        self._client = httpx.AsyncClient(
            verify=_trust(settings.ca_file),
            timeout=httpx.Timeout(answer_seconds, connect=_CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=connections),
            trust_env=False,
        )

    @property
    def current(self) -> str:
        """The URL of the server that is asked next."""
        return self._urls[0]

    async def close(self) -> None:
        """Close connections."""
        await self._client.aclose()

    async def ask(
        self, path: str, frame: bytes, answer_type: type[Answer], *, final: frozenset[int] = frozenset()
    ) -> Answer:
        """Send a frame to the current server and return its answer. Statuses of `final` refuse this very frame.

        Raises: RejectedError for such a status; ServerError for everything else that is no answer.
        """
        headers = {"Content-Type": frames.CONTENT_TYPE, "User-Agent": f"kobs-agent/{__version__}"}
        token = self._token()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            response = await self._client.post(self.current + path, content=frame, headers=headers)
        except httpx.ConnectError as error:
            raise self._failed(str(error) or "no connection", may_have_acted=False) from error
        except httpx.HTTPError as error:
            raise self._failed(str(error) or type(error).__name__, may_have_acted=True) from error
        status = response.status_code
        if status in final:
            raise RejectedError(_reason(response), response.text[:300])
        if status != httpx.codes.OK:
            pause = _retry_after(response) if status in _BUSY else REFUSED_PAUSE_SECONDS
            reason = f"status {status}: {response.text[:300]}"
            raise self._failed(reason, pause_seconds=pause, may_have_acted=status >= 500)
        try:
            answer = msgspec.json.decode(response.content, type=answer_type)
        except msgspec.DecodeError as error:
            raise self._failed(f"unreadable answer: {error}", may_have_acted=True) from error
        self.problem = ""
        self._failures = 0
        return answer

    def _failed(self, reason: str, *, may_have_acted: bool, pause_seconds: float | None = None) -> ServerError:
        server = self.current
        self.problem = f"{server}: {reason}"
        self._failures += 1
        if self._failures % _TRIES_A_SERVER == 0:
            self._urls.append(self._urls.pop(0))
        if pause_seconds is None:
            pause_seconds = min(_FIRST_PAUSE_SECONDS * 2 ** min(self._failures - 1, 8), _LONGEST_PAUSE_SECONDS)
        return ServerError(server, reason, pause_seconds=pause_seconds, may_have_acted=may_have_acted)

    def _token(self) -> str:
        """Return the token, read anew from its file.

        Raises: ServerError where the file cannot be read: no server is asked without the token that it is to see.
        """
        if self._settings.token is not None:
            return self._settings.token.get_secret_value()
        file = self._settings.token_file
        if file is None:
            return ""
        try:
            return file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not text"
            raise self._failed(f"agent.token_file {file}: {why}", may_have_acted=False) from error


def _trust(ca_file: Path | None) -> ssl.SSLContext | bool:
    """Return what signs the servers' certificates, as an HTTP client takes it.

    Raises: ConfigError.
    """
    if ca_file is None:
        return True
    try:
        return trusting(ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"agent.ca_file {ca_file}: {error}; expected a file with certificates (PEM)") from error


def _retry_after(response: httpx.Response) -> float:
    try:
        return min(max(float(response.headers.get("Retry-After", "1")), 0.1), 60.0)
    except ValueError:
        return 1.0


class _RefusalError(msgspec.Struct, frozen=True):
    type: str


class _Refusal(msgspec.Struct, frozen=True):
    error: _RefusalError


def _reason(response: httpx.Response) -> str:
    """Return why a server refused a frame, from its error's type; bounded, as it becomes a label."""
    try:
        told = msgspec.json.decode(response.content, type=_Refusal).error.type
    except msgspec.DecodeError:
        return "refused"
    return told if told in _FRAME_REASONS else "refused"
