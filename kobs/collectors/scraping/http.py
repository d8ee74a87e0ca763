"""Asking over HTTP: a URL and what a job says of credentials, TLS and proxies arrive, pieces of the body leave.

Files of credentials are read for each request, those of certificates again when they change. No error tells a secret.
A body is uncompressed in steps, so that a small one that swells up is stopped by its limit, not by the memory.
"""

import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import NamedTuple

import httpx
from isal import isal_zlib

from kobs import __version__
from kobs.collectors.scraping.client_configuration import Client
from kobs.collectors.scraping.connections import Connections, reason_of
from kobs.collectors.scraping.request_errors import BodyLimitError, HttpError
from kobs.collectors.scraping.secret_files import content_of
from kobs.collectors.scraping.tokens import Tokens

USER_AGENT = f"kobs-agent/{__version__}"
PIECE_BYTES = 64 * 1024

_GZIP_WINDOW = 16 + isal_zlib.MAX_WBITS


class Answer(NamedTuple):
    """An answer with status 200."""

    content_type: str
    pieces: AsyncIterator[bytes]
    """The body, uncompressed."""


class HttpClients:
    """What asks for one job or discovery."""

    def __init__(self, configuration: Client) -> None:
        self._configuration = configuration
        self._connections = Connections(configuration, follow_redirects=configuration.follow_redirects)
        self._tokens = None if configuration.oauth2 is None else Tokens(configuration.oauth2, USER_AGENT)

    @contextlib.asynccontextmanager
    async def get(self, url: str, headers: Mapping[str, str], *, body_limit: int) -> AsyncIterator[Answer]:
        """Ask, and hand out the answer while its body still comes; it may have `body_limit` bytes, uncompressed.

        Raises: HttpError; BodyLimitError while the pieces are read.
        """
        sent = self._headers(headers)
        if self._tokens is not None:
            sent.append(("Authorization", await self._tokens.authorization()))
        response = await self._connections.send("GET", url, headers=sent, auth=self._basic_auth())
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
        await self._connections.close()
        if self._tokens is not None:
            await self._tokens.close()

    def _headers(self, headers: Mapping[str, str]) -> list[tuple[str, str]]:
        configuration = self._configuration
        result = [("User-Agent", USER_AGENT), *headers.items()]
        for name, header in configuration.http_headers.items():
            result += [(name, value) for value in header.values]
            result += [(name, secret.get_secret_value()) for secret in header.secrets]
            result += [(name, content_of(path, "http_headers")) for path in header.files]
        authorization = configuration.effective_authorization()
        if authorization is not None:
            credentials = authorization.credentials.get_secret_value()
            if authorization.credentials_file is not None:
                credentials = content_of(authorization.credentials_file, "credentials_file")
            result.append(("Authorization", f"{authorization.type.strip() or 'Bearer'} {credentials}"))
        return result

    def _basic_auth(self) -> httpx.BasicAuth | None:
        basic = self._configuration.basic_auth
        if basic is None:
            return None
        username = basic.username if basic.username_file is None else content_of(basic.username_file, "username_file")
        password = basic.password.get_secret_value()
        if basic.password_file is not None:
            password = content_of(basic.password_file, "password_file")
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
        self._inflate = isal_zlib.decompressobj(_GZIP_WINDOW)

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._inflate.eof:
                self._inflate = isal_zlib.decompressobj(_GZIP_WINDOW)
            try:
                piece = self._inflate.decompress(data, PIECE_BYTES)
            except isal_zlib.error as error:  # type: ignore[misc]  # its stub has it for an instance
                raise HttpError(f"the answer is no gzip, as its Content-Encoding says: {error}") from None
            data = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
            if piece:
                yield piece

    def finish(self) -> None:
        if not self._inflate.eof:
            raise HttpError("the answer ends in the middle of its gzip")
