"""Connections through a SOCKS5 proxy: a proxy's URL arrives, a transport of the HTTP client leaves.

The proxy resolves the target's name, so that what only it can reach has a name too. TLS is spoken with the target,
through the proxy. What the proxy answers is read to its last byte however it is cut into packets, which the client's
own way takes for whole; an answer that is none is an error of this request, like a refusal.

Source: RFC 1928, RFC 1929 (user name and password).
"""

import contextlib
import ipaddress
import ssl
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

import httpcore
import httpx

_VERSION, _AUTH_VERSION = 5, 1
_NO_AUTH, _PASSWORD, _NONE = 0, 2, 0xFF
_CONNECT = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
_DEFAULT_PORT = 1080
_MOST_TEXT = 255
_REFUSALS = {
    1: "general failure",
    2: "the proxy's rules do not allow it",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "TTL expired",
    7: "the proxy knows no CONNECT",
    8: "the proxy knows no such kind of address",
}


class SocksTransport(httpx.AsyncHTTPTransport):
    """Requests of which each connection goes through one SOCKS5 proxy."""

    def __init__(self, proxy: str, *, verify: ssl.SSLContext, limits: httpx.Limits) -> None:
        super().__init__(verify=verify, limits=limits, trust_env=False)
        # The client has no way to be given another network but this one.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=verify,
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=_ThroughSocks(proxy),
        )


class _ThroughSocks(httpcore.AsyncNetworkBackend):
    """A network whose every connection is one that the proxy makes."""

    def __init__(self, proxy: str) -> None:
        parts = urlsplit(proxy)
        self._network = httpcore.AnyIOBackend()
        self._host, self._port = parts.hostname or "", parts.port or _DEFAULT_PORT
        self._has_user = parts.username is not None
        self._user = unquote(parts.username or "").encode()
        self._password = unquote(parts.password or "").encode()
        if max(len(self._user), len(self._password)) > _MOST_TEXT:
            raise ValueError(f"a SOCKS proxy takes a user's name and password of at most {_MOST_TEXT} bytes")

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature of a network
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._network.connect_tcp(self._host, self._port, timeout, local_address, socket_options)
        async with contextlib.AsyncExitStack() as unless_connected:
            unless_connected.push_async_callback(stream.aclose)
            await self._ask_for(stream, host, port)
            unless_connected.pop_all()
        return stream

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)

    async def _ask_for(self, stream: httpcore.AsyncNetworkStream, host: str, port: int) -> None:
        methods = [_NO_AUTH, _PASSWORD] if self._has_user else [_NO_AUTH]
        await stream.write(bytes([_VERSION, len(methods), *methods]))
        version, method = await _read(stream, 2)
        _check_version(version, _VERSION)
        if method == _PASSWORD and self._has_user:
            await self._log_in(stream)
        elif method == _NONE:
            raise httpcore.ProxyError("SOCKS proxy: it takes none of the ways to log in that are configured")
        elif method != _NO_AUTH:
            raise httpcore.ProxyError(f"SOCKS proxy: it wants a way to log in that was not offered ({method})")
        await stream.write(bytes([_VERSION, _CONNECT, 0]) + _address(host) + port.to_bytes(2, "big"))
        version, reply, _, kind = await _read(stream, 4)
        _check_version(version, _VERSION)
        if reply:
            reason = _REFUSALS.get(reply, f"reply {reply}")
            raise httpcore.ProxyError(f"SOCKS proxy: cannot connect to {host}:{port}: {reason}")
        length = {_IPV4: 4, _IPV6: 16}.get(kind) or (await _read(stream, 1))[0]
        await _read(stream, length + 2)  # the proxy's own end, which nobody asks for

    async def _log_in(self, stream: httpcore.AsyncNetworkStream) -> None:
        user, password = self._user, self._password
        await stream.write(bytes([_AUTH_VERSION, len(user)]) + user + bytes([len(password)]) + password)
        version, status = await _read(stream, 2)
        _check_version(version, _AUTH_VERSION)
        if status:
            raise httpcore.ProxyError("SOCKS proxy: wrong user name or password")


def _check_version(found: int, expected: int) -> None:
    if found != expected:
        raise httpcore.ProxyError("SOCKS proxy: what answers there is no SOCKS5 proxy")


async def _read(stream: httpcore.AsyncNetworkStream, length: int) -> bytes:
    """Return so many bytes; not one more is taken from the stream, as what follows is the target's."""
    data = b""
    while len(data) < length:
        piece = await stream.read(length - len(data))
        if not piece:
            raise httpcore.ProxyError("SOCKS proxy: it closed the connection in the middle of an answer")
        data += piece
    return data


def _address(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        name = host.encode("idna") if not host.isascii() else host.encode()
        if len(name) > _MOST_TEXT:
            raise httpcore.ProxyError(
                f"SOCKS proxy: a name of more than {_MOST_TEXT} bytes cannot be asked for"
            ) from None
        return bytes([_NAME, len(name)]) + name
    return bytes([_IPV4 if address.version == 4 else _IPV6]) + address.packed
