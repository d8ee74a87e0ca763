"""The command line's way to a server: JSON over HTTP, and the live tail over a WebSocket."""

import contextlib
import ipaddress
import json
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode, urlsplit

import click
import httpx

from kobs.cli.options import load_settings
from kobs.errors import ConfigError, KobsError, LimitError, QueryError, RejectedError, RetryableError

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

    from kobs.config import Settings

Items = Sequence[tuple[str, str]]

_TIMEOUT_SECONDS = 60.0


class Client:
    """A connection to one server, with its token. Use it in a `with` block."""

    def __init__(self, url: str, *, token: str = "") -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        # a proxy from the environment is for other machines
        self._is_loopback = _is_loopback(urlsplit(self.url).hostname or "")
        self._http = httpx.Client(
            base_url=self.url, headers=self._headers, timeout=_TIMEOUT_SECONDS, trust_env=not self._is_loopback
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, parameters: Items = ()) -> Any:
        """Return the answer's JSON.

        Raises: RetryableError where no server answers; the error of kobs that fits what the server says.
        """
        try:
            answer = self._http.get(path, params=httpx.QueryParams(list(parameters)))
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        if answer.is_error:
            raise self._refused(answer.status_code, answer.content)
        try:
            return answer.json()
        except json.JSONDecodeError as error:
            raise KobsError(f"{self.url} answers, but is no kobs server") from error

    @contextlib.contextmanager
    def tail(self, path: str, parameters: Items) -> Iterator["ClientConnection"]:
        """Open a WebSocket.

        Raises: as `get`; what breaks an open connection is the library's ConnectionClosed.
        """
        # imported here because most commands do not follow anything
        from websockets.exceptions import InvalidHandshake, InvalidStatus  # noqa: PLC0415
        from websockets.sync.client import connect  # noqa: PLC0415

        try:
            connection = connect(
                f"ws{self.url.removeprefix('http')}{path}?{urlencode(parameters)}",
                additional_headers=self._headers,
                proxy=None if self._is_loopback else True,
                max_size=None,
            )
        except InvalidStatus as error:
            raise self._refused(error.response.status_code, error.response.body or b"") from error
        except (OSError, InvalidHandshake, TimeoutError) as error:
            raise self._unreachable(error) from error
        with connection:
            yield connection

    def _unreachable(self, error: Exception) -> RetryableError:
        return RetryableError(
            f"no kobs answers at {self.url} ({str(error) or type(error).__name__}); "
            "start one with `kobs up`, or name it with --server"
        )

    def _refused(self, status: int, body: bytes | bytearray) -> KobsError:
        """Return the error that an answer tells of."""
        try:
            told = json.loads(body)["error"]
            kind, message = str(told["type"]), str(told["message"])
        except (ValueError, KeyError, TypeError):
            return KobsError(f"{self.url} answers {status}, which is not how a kobs server tells of an error")
        if status == 401:
            return ConfigError(f"{self.url}: {message}; give it as server.token in --config, or as KOBS_SERVER__TOKEN")
        if status == 400:
            return QueryError(message)
        if status == 422:
            return LimitError(message)
        if status == 503:
            return RetryableError(f"{self.url}: {message}")
        return RejectedError(kind, f"{self.url}: {message}")


def client_for(context: click.Context, server: str | None) -> Client:
    """Return the client for `--server`, else for the server of the settings, with the settings' token.

    Raises: ConfigError.
    """
    settings = load_settings(context)
    if server is not None and urlsplit(server).scheme not in ("http", "https"):
        raise ConfigError(f"--server {server}: expected a URL such as http://127.0.0.1:9700")
    return Client(server or _own_url(settings), token=_token(settings))


def _own_url(settings: "Settings") -> str:
    host, port = settings.server.address()
    if host in ("0.0.0.0", "::"):  # noqa: S104 - a server that listens on all addresses is asked on this machine's own
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _token(settings: "Settings") -> str:
    if settings.server.token is not None:
        return settings.server.token.get_secret_value()
    if settings.agent.token is not None:
        return settings.agent.token.get_secret_value()
    if settings.agent.token_file is not None:
        try:
            return settings.agent.token_file.read_text().strip()
        except OSError as error:
            raise ConfigError(f"agent.token_file {settings.agent.token_file}: {error.strerror}") from error
    return ""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
