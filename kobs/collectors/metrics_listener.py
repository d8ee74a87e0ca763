"""Answers for this process's own `/metrics`, and whether it is alive, on an address of its own.

A small HTTP/1.1 server without a framework, as nothing big runs on a node: one request a connection. An address that
cannot be had is a problem that is told, and no reason to stop.
"""

import asyncio
import hmac
import ipaddress
from collections.abc import Mapping

from kobs import telemetry
from kobs.config import AgentSettings

_REQUEST_SECONDS = 10.0
_MOST_HEADER_BYTES = 16 * 1024
_MOST_CONNECTIONS = 32
_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
            405: "Method Not Allowed", 503: "Service Unavailable"}  # fmt: skip

log = telemetry.get_logger(__name__)


class MetricsListener:
    """The listener. `address` is HOST:PORT once it listens, and `problem` says why it does not."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._server: asyncio.Server | None = None
        self._connections = 0
        self.address = ""
        self.problem = ""

    async def start(self) -> None:
        """Listen, if there is an address to listen on."""
        wanted = self._settings.address()
        if wanted is None:
            return
        host, port = wanted
        try:
            self._server = await asyncio.start_server(self._answer, host, port, limit=_MOST_HEADER_BYTES)
        except OSError as error:
            self.problem = f"agent.listen {self._settings.listen}: {error.strerror or error}; choose another address"
            log.warning("Nobody answers for the agent's own metrics.", error=self.problem)
            return
        host, port = self._server.sockets[0].getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                status, content_type, body = await self._respond(reader)
                head = [
                    f"HTTP/1.1 {status} {_REASONS[status]}",
                    f"Content-Type: {content_type}",
                    f"Content-Length: {len(body)}",
                    "Connection: close",
                ]
                if status == 401:
                    head.append('WWW-Authenticate: Bearer realm="kobs"')
                writer.write("\r\n".join([*head, "", ""]).encode() + body)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # the client has gone, or says nothing
        finally:
            self._connections -= 1
            writer.close()

    async def _respond(self, reader: asyncio.StreamReader) -> tuple[int, str, bytes]:
        if self._connections > _MOST_CONNECTIONS:
            return _text(503, "too many connections")
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.LimitOverrunError:
            return _text(400, "the request's head is too large")
        first, *lines = head.split("\r\n")
        headers = {
            name.strip().lower(): value.strip()
            for name, colon, value in (line.partition(":") for line in lines)
            if colon
        }
        words = first.split(" ")
        if len(words) != 3:
            return _text(400, "this is no HTTP request")
        method, path = words[0], words[1].partition("?")[0]
        refusal = self._refusal(headers)
        if refusal is not None:
            return refusal
        if method != "GET":
            return _text(405, "only GET is answered")
        if path == "/metrics":
            body, content_type = telemetry.exposition(headers.get("accept", ""))
            return 200, content_type, body
        if path == "/-/healthy":
            return _text(200, "kobs is alive.")
        return _text(404, "nothing is here; /metrics is")

    def _refusal(self, headers: Mapping[str, str]) -> tuple[int, str, bytes] | None:
        token = self._settings.listen_token
        if token is not None:
            given = headers.get("authorization", "").encode("latin-1")
            if not hmac.compare_digest(given, f"Bearer {token.get_secret_value()}".encode()):
                return _text(401, "expected the bearer token of agent.listen_token")
        elif not _is_local(headers.get("host", "")):
            # another name that leads to this machine may be a page's that a browser here has open
            return _text(403, "expected a Host header with a name of this machine")
        return None


def _text(status: int, sentence: str) -> tuple[int, str, bytes]:
    return status, "text/plain; charset=utf-8", f"{sentence}\n".encode()


def _is_local(host: str) -> bool:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    name = name.strip("[]")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
