"""Connections to ask over: what a configuration says of TLS and proxies arrives, answers leave whose bodies still come.

Connections are kept open between requests; those of before are left when a file of certificates has changed. No error
tells a secret.
"""

import os
import socket
import ssl
from collections.abc import Sequence

import httpx

from kobs.collectors.scraping.client_configuration import Connecting
from kobs.collectors.scraping.proxies import proxy_for
from kobs.collectors.scraping.request_errors import HttpError
from kobs.collectors.scraping.socks import SocksTransport
from kobs.collectors.scraping.tls import state_of_files, tls_context
from kobs.config import environment

MOST_REDIRECTS = 10

_KEEP_ALIVE_SECONDS = 300.0
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=_KEEP_ALIVE_SECONDS)


class Connections:
    """The connections of one job, discovery or issuer of tokens."""

    def __init__(self, configuration: Connecting, *, follow_redirects: bool) -> None:
        self._configuration = configuration
        self._follow_redirects = follow_redirects
        self._clients: dict[str | None, httpx.AsyncClient] = {}
        self._retired: list[httpx.AsyncClient] = []
        self._files: tuple[object, ...] = ()

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Sequence[tuple[str, str]],
        content: bytes | None = None,
        auth: httpx.Auth | None = None,
    ) -> httpx.Response:
        """Ask, and return the answer before its body; who asks closes it.

        Raises: HttpError.
        """
        try:
            client = await self._client(url)
            request = client.build_request(method, url, headers=list(headers), content=content)
            return await client.send(request, stream=True, auth=auth)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError, ExceptionGroup) as error:
            # A server that refuses a client's certificate does so after the handshake, as a bare SSLError; what is no
            # URL is told as a ValueError by some of those who read it, and as a group by who connects.
            raise HttpError(reason_of(error)) from error

    async def close(self) -> None:
        """Close all connections."""
        clients, self._clients = [*self._clients.values(), *self._retired], {}
        self._retired = []
        for client in clients:
            await client.aclose()

    async def _client(self, url: str) -> httpx.AsyncClient:
        """Return the client for a URL, with the certificates as they are now."""
        files = state_of_files(self._configuration.tls_config)
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
        return httpx.AsyncClient(
            transport=self._transport(proxy),
            follow_redirects=self._follow_redirects,
            max_redirects=MOST_REDIRECTS,
            # the whole of a request has one time limit, which its caller sets
            timeout=httpx.Timeout(None),
            trust_env=False,
            headers={"Accept": "*/*"},
        )

    def _transport(self, proxy: str | None) -> httpx.AsyncHTTPTransport:
        context = tls_context(self._configuration.tls_config)
        try:
            if proxy is None:
                return httpx.AsyncHTTPTransport(verify=context, limits=_LIMITS, trust_env=False)
            if proxy.startswith("socks5"):
                return SocksTransport(proxy, verify=context, limits=_LIMITS)
            headers = {
                name: ", ".join(value.get_secret_value() for value in values)
                for name, values in self._configuration.proxy_connect_header.items()
            }
            return httpx.AsyncHTTPTransport(
                verify=context, limits=_LIMITS, trust_env=False, proxy=httpx.Proxy(proxy, headers=headers)
            )
        except (ValueError, httpx.InvalidURL):
            raise HttpError("the proxy's URL is none") from None


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
