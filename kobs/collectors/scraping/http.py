"""Asking over HTTP: a URL and what a job says of credentials, TLS and proxies arrive, pieces of the body leave.

Files of credentials are read for each request, those of certificates again when they change. No error tells a secret.
A body is uncompressed in steps, so that a small one that swells up is stopped by its limit, not by the memory.
"""

import contextlib
import functools
import os
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import httpx

from kobs import __version__
from kobs.collectors.scraping.client_configuration import Client, Tls
from kobs.collectors.scraping.proxies import proxy_for
from kobs.config import environment
from kobs.errors import RetryableError

USER_AGENT = f"kobs-agent/{__version__}"
MOST_REDIRECTS = 10
PIECE_BYTES = 64 * 1024

_KEEP_ALIVE_SECONDS = 300.0
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}


class HttpError(RetryableError):
    """No whole answer came; the message tells why, without secrets."""


class BodyLimitError(HttpError):
    """The body is larger than it may be."""


class Answer(NamedTuple):
    """An answer with status 200."""

    content_type: str
    pieces: AsyncIterator[bytes]
    """The body, uncompressed."""


class HttpClients:
    """The connections of one job or discovery, kept open between requests."""

    def __init__(self, configuration: Client) -> None:
        self._configuration = configuration
        self._clients: dict[str | None, httpx.AsyncClient] = {}
        self._retired: list[httpx.AsyncClient] = []
        self._files: tuple[object, ...] = ()

    @contextlib.asynccontextmanager
    async def get(self, url: str, headers: Mapping[str, str], *, body_limit: int) -> AsyncIterator[Answer]:
        """Ask, and hand out the answer while its body still comes; it may have `body_limit` bytes, uncompressed.

        Raises: HttpError; BodyLimitError while the pieces are read.
        """
        tls = self._configuration.tls_config
        extensions = {"sni_hostname": tls.server_name} if tls.server_name else {}
        try:
            client = await self._client(url)
            request = client.build_request("GET", url, headers=self._headers(headers), extensions=extensions)
            auth = self._basic_auth()
            response = await client.send(request, stream=True, auth=auth)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError, ExceptionGroup) as error:
            # A server that refuses a client's certificate does so after the handshake, as a bare SSLError; what is no
            # URL is told as a ValueError by some of those who read it, and as a group by who connects.
            raise HttpError(reason_of(error)) from error
        try:
            if response.status_code != httpx.codes.OK:
                raise HttpError(f"server returned HTTP status {response.status_code} {response.reason_phrase}".rstrip())
            yield Answer(response.headers.get("Content-Type", ""), _pieces(response, body_limit=body_limit))
        except (httpx.HTTPError, ssl.SSLError, ConnectionError) as error:
            raise HttpError(reason_of(error)) from error
        finally:
            await response.aclose()

    async def close(self) -> None:
        """Close all connections."""
        clients, self._clients = [*self._clients.values(), *self._retired], {}
        self._retired = []
        for client in clients:
            await client.aclose()

    async def _client(self, url: str) -> httpx.AsyncClient:
        """Return the client for a URL, with the certificates as they are now."""
        files = tuple(_state_of(path) for path in _tls_files(self._configuration.tls_config))
        if files != self._files:
            # Requests may be under way on the clients of before: those of the change before that are done with.
            retired, self._retired = self._retired, list(self._clients.values())
            self._clients, self._files = {}, files
            for client in retired:
                await client.aclose()
        proxy = proxy_for(url, self._configuration, environment())
        if proxy not in self._clients:
            self._clients[proxy] = self._new_client(proxy)
        return self._clients[proxy]

    def _new_client(self, proxy: str | None) -> httpx.AsyncClient:
        connect_headers = {
            name: ", ".join(value.get_secret_value() for value in values)
            for name, values in self._configuration.proxy_connect_header.items()
        }
        try:
            return httpx.AsyncClient(
                verify=_tls_context(self._configuration.tls_config),
                proxy=None if proxy is None else httpx.Proxy(proxy, headers=connect_headers),
                follow_redirects=self._configuration.follow_redirects,
                max_redirects=MOST_REDIRECTS,
                # the whole of a request has one time limit, which its caller sets
                timeout=httpx.Timeout(None),
                limits=httpx.Limits(
                    max_connections=None, max_keepalive_connections=None, keepalive_expiry=_KEEP_ALIVE_SECONDS
                ),
                trust_env=False,
                headers={"Accept": "*/*"},
            )
        except (ValueError, httpx.InvalidURL):
            raise HttpError("the proxy's URL is none") from None

    def _headers(self, headers: Mapping[str, str]) -> list[tuple[str, str]]:
        configuration = self._configuration
        result = [("User-Agent", USER_AGENT), *headers.items()]
        for name, header in configuration.http_headers.items():
            result += [(name, value) for value in header.values]
            result += [(name, secret.get_secret_value()) for secret in header.secrets]
            result += [(name, _content(path, "http_headers")) for path in header.files]
        authorization = configuration.effective_authorization()
        if authorization is not None:
            credentials = authorization.credentials.get_secret_value()
            if authorization.credentials_file is not None:
                credentials = _content(authorization.credentials_file, "credentials_file")
            result.append(("Authorization", f"{authorization.type.strip() or 'Bearer'} {credentials}"))
        return result

    def _basic_auth(self) -> httpx.BasicAuth | None:
        basic = self._configuration.basic_auth
        if basic is None:
            return None
        username = basic.username if basic.username_file is None else _content(basic.username_file, "username_file")
        password = basic.password.get_secret_value()
        if basic.password_file is not None:
            password = _content(basic.password_file, "password_file")
        return httpx.BasicAuth(username, password)


async def _pieces(response: httpx.Response, *, body_limit: int) -> AsyncIterator[bytes]:
    """Yield the body's bytes, uncompressed."""
    is_gzip = response.headers.get("Content-Encoding", "").strip().lower() == "gzip"
    unzip = _Gunzip() if is_gzip else None
    size = 0
    async for received in response.aiter_raw():
        for piece in (received,) if unzip is None else unzip.feed(received):
            size += len(piece)
            if size >= body_limit:
                raise BodyLimitError("body size limit exceeded")
            yield piece
    if unzip is not None:
        unzip.finish()


class _Gunzip:
    """Uncompresses in pieces of a bounded size; members may follow one another."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_GZIP_WINDOW)

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._inflate.eof:
                self._inflate = zlib.decompressobj(_GZIP_WINDOW)
            try:
                piece = self._inflate.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                raise HttpError(f"the answer is no gzip, as its Content-Encoding says: {error}") from None
            data = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
            if piece:
                yield piece

    def finish(self) -> None:
        if not self._inflate.eof:
            raise HttpError("the answer ends in the middle of its gzip")


def reason_of(error: BaseException) -> str:
    """Return why a request failed, in the system's words where it says something."""
    reason = str(error) or type(error).__name__
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
            reason = str(cause) or reason
        elif isinstance(cause, ssl.SSLError | socket.gaierror):
            return cause.strerror or str(cause)
        elif isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno)
        else:
            cause = cause.__cause__ or cause.__context__
    return reason


def _tls_files(tls: Tls) -> list[Path]:
    return [path for path in (tls.ca_file, tls.cert_file, tls.key_file) if path is not None]


def _state_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _tls_context(tls: Tls) -> ssl.SSLContext:
    """Return what is trusted and shown.

    Raises: HttpError.
    """
    if tls == Tls():
        return _default_context()
    try:
        ca = tls.ca or None
        context = ssl.create_default_context(cafile=None if tls.ca_file is None else str(tls.ca_file), cadata=ca)
        if tls.insecure_skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if tls.min_version:
            context.minimum_version = _VERSIONS[tls.min_version]
        if tls.max_version:
            context.maximum_version = _VERSIONS[tls.max_version]
        if tls.cert or tls.cert_file is not None:
            with (
                _as_file(tls.cert_file, tls.cert) as certificate,
                _as_file(tls.key_file, tls.key.get_secret_value()) as key,
            ):
                context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        raise HttpError(f"tls_config: {error.reason or 'expected certificates and keys in PEM'}") from None
    except OSError as error:
        raise HttpError(f"tls_config: {error.filename or ''}: {error.strerror or error}") from None
    return context


@functools.cache
def _default_context() -> ssl.SSLContext:
    """Return the system's trust, which takes a while to read and is the same for all jobs that say nothing of it."""
    return ssl.create_default_context()


def _no_password() -> str:
    raise ssl.SSLError("the key is encrypted; expected one without a password")


@contextlib.contextmanager
def _as_file(path: Path | None, text: str) -> Iterator[str]:
    """Give a file's name for a text, as certificates and keys are read from files only; it is never on a disk."""
    if path is not None:
        yield str(path)
        return
    descriptor = os.memfd_create("kobs-tls")
    try:
        os.write(descriptor, text.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _content(path: Path, what: str) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise HttpError(f"{what} {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise HttpError(f"{what} {path}: expected text in UTF-8") from None
