"""Who may ask: every request and WebSocket passes here before anything else sees it.

Host must name this server, so that a foreign name that resolves to this machine (DNS rebinding) opens nothing. Origin,
which browsers send, must be this server's own page. Where a token is set, every request carries it, except the two
probes of an orchestrator, which tell nothing. No answer carries CORS headers, so that no other page can read one.
"""

import hmac
import ipaddress
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from kobs.api.errors import error_answer
from kobs.config import ServerSettings
from kobs.model.scope import Scope

_WITHOUT_TOKEN = frozenset({"/-/healthy", "/-/ready"})
_DEFAULT_PORTS = {"http": 80, "https": 443}


def scope_of(connection: HTTPConnection) -> Scope:  # noqa: ARG001 - the one place that will look at who asks
    """Return what the asker of a request may see.

    For now everything: there is one token, and who has it is the operator. Besides roles this is the only place that
    names Scope.all(); an asker with less gets a smaller Scope here, and every endpoint follows.
    """
    return Scope.all()


class Security:
    """ASGI middleware that refuses requests which are not meant for this server or not allowed."""

    def __init__(self, app: ASGIApp, *, settings: ServerSettings) -> None:
        self._app = app
        self._settings = settings
        self._token = None if settings.token is None else settings.token.get_secret_value().encode()

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(HTTPConnection(scope))
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await refusal(scope, receive, send)
        elif "websocket.http.response" in scope.get("extensions", {}):
            await receive()
            await _deny(refusal, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    def _refusal(self, connection: HTTPConnection) -> Response | None:
        hosts = connection.headers.getlist("host")
        if len(hosts) != 1 or not self._is_this_server(hosts[0], connection):
            shown = ", ".join(hosts) or "nothing"
            return error_answer(
                "wrong_host",
                f"Host is {shown}: this server answers to its own address and loopback names; "
                "add other names to server.allowed_hosts",
                status=421,
            )
        origins = connection.headers.getlist("origin")
        if any(not _is_same_host(origin, hosts[0]) for origin in origins):
            return error_answer(
                "foreign_origin", f"Origin is {', '.join(origins)}: only pages of this server may ask it", status=403
            )
        if self._token is not None and connection.scope["path"] not in _WITHOUT_TOKEN:
            scheme, _, given = connection.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token):
                return error_answer(
                    "unauthorized",
                    "this server expects Authorization: Bearer TOKEN, with the token of server.token",
                    status=401,
                    headers={"WWW-Authenticate": 'Bearer realm="kobs"'},
                )
        return None

    def _is_this_server(self, host: str, connection: HTTPConnection) -> bool:
        name, _ = _name_and_port(host)
        if name is None:
            return False
        if name == "localhost" or name.endswith(".localhost") or _is_loopback(name):
            return True
        # with a listen address of 0.0.0.0 the connection knows which of the machine's addresses was dialled
        local = connection.scope.get("server") or ("", None)
        own = {self._settings.address()[0].lower(), str(local[0]).lower()}
        allowed = {each.lower() for each in self._settings.allowed_hosts}
        return _canonical(name) in {_canonical(each) for each in own} or name in allowed or host.lower() in allowed


async def _deny(refusal: Response, send: Send) -> None:
    """Answer a WebSocket's handshake like a request."""
    await send({"type": "websocket.http.response.start", "status": refusal.status_code, "headers": refusal.raw_headers})
    await send({"type": "websocket.http.response.body", "body": bytes(refusal.body)})


def _is_same_host(origin: str, host: str) -> bool:
    """Tell whether a page's origin is the host that it asks."""
    try:
        parts = urlsplit(origin)
        name, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return False
    default = _DEFAULT_PORTS.get(parts.scheme)
    if default is None or not name:
        return False
    asked, asked_port = _name_and_port(host)
    # behind a proxy Host has no port, and the origin's is that of its scheme
    return name == asked and (port or default) == (asked_port or default)


def _name_and_port(host: str) -> tuple[str | None, int | None]:
    """Return a Host header's name in lower case, without brackets, and its port; (None, None) for what is none."""
    try:
        parts = urlsplit(f"//{host}")
        port = parts.port
    except ValueError:
        return None, None
    if not parts.hostname or parts.netloc != host or "@" in host or parts.path or parts.query or parts.fragment:
        return None, None
    return parts.hostname.lower().rstrip("."), port


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _canonical(name: str) -> str:
    """Return an address in its one form, and a name as it is."""
    try:
        return str(ipaddress.ip_address(name.partition("%")[0]))
    except ValueError:
        return name
