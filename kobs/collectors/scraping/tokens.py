"""Tokens of OAuth 2.0: a client's credentials arrive, a value for the Authorization header leaves.

A token is asked for when there is none, or when it ends within ten seconds, and is shared by all requests of a job.
The client's name and secret are sent in a header, or in the form where the issuer takes them only there; which of them
is learnt from the first answer. A file of the secret is read for each request, and another secret is another client.

Source: RFC 6749, sections 4.4 and 5; Go's `golang.org/x/oauth2`, whose ways Prometheus has.
"""

import asyncio
import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote_plus, urlencode, urlsplit

import httpx

from kobs.collectors.scraping.client_configuration import OAuth2
from kobs.collectors.scraping.connections import Connections, reason_of
from kobs.collectors.scraping.request_errors import HttpError
from kobs.collectors.scraping.secret_files import content_of
from kobs.errors import KobsError

EARLY_SECONDS = 10.0
MOST_BODY_BYTES = 1024 * 1024
MOST_REASON = 300

_FORM = "application/x-www-form-urlencoded"
_TYPES = {"bearer": "Bearer", "mac": "MAC", "basic": "Basic"}


@dataclass(frozen=True, slots=True)
class Token:
    """What an issuer gave. `until` is a monotonic time in seconds; None: it says nothing of an end."""

    value: str
    until: float | None


class Tokens:
    """The token of one client."""

    def __init__(
        self, configuration: OAuth2, user_agent: str, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._configuration = configuration
        self._user_agent = user_agent
        self._monotonic = monotonic
        self._connections = Connections(configuration, follow_redirects=True)
        self._asking = asyncio.Lock()
        self._secret = ""
        self._token: Token | None = None
        self._is_in_form: bool | None = None
        """Where the secret is sent; None while that is not known."""

    async def authorization(self) -> str:
        """Return the value of the header, from a token that is still valid.

        Raises: HttpError.
        """
        secret = self._read_secret()
        # One request waits for the issuer, the others for that one. Who is out of patience says what it waited for.
        try:
            async with self._asking:
                if secret != self._secret:
                    self._secret, self._token, self._is_in_form = secret, None, None
                token = self._token
                if token is None or (token.until is not None and self._monotonic() >= token.until - EARLY_SECONDS):
                    token = self._token = await self._new_token(secret)
                return token.value
        except asyncio.CancelledError as error:
            error.add_note(f"while waiting for a token from {self._place}")
            raise

    async def close(self) -> None:
        """Close the connections to the issuer."""
        await self._connections.close()

    @property
    def _place(self) -> str:
        """The issuer's address, without what may be secret in its URL."""
        parts = urlsplit(self._configuration.token_url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def _read_secret(self) -> str:
        path = self._configuration.client_secret_file
        if path is None:
            return self._configuration.client_secret.get_secret_value()
        return content_of(path, "oauth2: client_secret_file")

    async def _new_token(self, secret: str) -> Token:
        if self._is_in_form is not None:
            return await self._ask(secret, is_in_form=self._is_in_form)
        try:
            token = await self._ask(secret, is_in_form=False)
        except HttpError:
            token = await self._ask(secret, is_in_form=True)
            self._is_in_form = True
        else:
            self._is_in_form = False
        return token

    async def _ask(self, secret: str, *, is_in_form: bool) -> Token:
        """Ask the issuer once.

        Raises: HttpError that names it.
        """
        configuration = self._configuration
        form = {"grant_type": "client_credentials"}
        if configuration.scopes:
            form["scope"] = " ".join(configuration.scopes)
        form |= {name: value.get_secret_value() for name, value in configuration.endpoint_params.items()}
        headers = [("User-Agent", self._user_agent), ("Content-Type", _FORM)]
        if is_in_form:
            form |= {"client_id": configuration.client_id} | ({"client_secret": secret} if secret else {})
        else:
            pair = f"{quote_plus(configuration.client_id)}:{quote_plus(secret)}"
            headers.append(("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"))
        try:
            response = await self._connections.send(
                "POST", configuration.token_url, headers=headers, content=urlencode(sorted(form.items())).encode()
            )
            try:
                body = await _body(response)
            finally:
                await response.aclose()
            return self._read(response, body)
        except (KobsError, httpx.HTTPError) as error:
            reason = str(error) if isinstance(error, KobsError) else reason_of(error)
            if secret:
                reason = reason.replace(secret, "<secret>")
            raise HttpError(f"oauth2: no token from {self._place}: {reason}") from None

    def _read(self, response: httpx.Response, body: bytes) -> Token:
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        fields = _fields(body, is_form=media_type in (_FORM, "text/plain"))
        refusal = ": ".join(str(fields[name]) for name in ("error", "error_description") if fields.get(name))
        if not response.is_success:
            status = f"server returned HTTP status {response.status_code} {response.reason_phrase}".rstrip()
            raise HttpError(": ".join(filter(None, [status, refusal[:MOST_REASON]])))
        if refusal:
            raise HttpError(refusal[:MOST_REASON])
        value = fields.get("access_token")
        if not isinstance(value, str) or not value:
            raise HttpError("the answer has no access_token")
        kind = str(fields.get("token_type") or "bearer")
        seconds = _seconds(fields.get("expires_in"))
        return Token(
            value=f"{_TYPES.get(kind.lower(), kind)} {value}",
            until=self._monotonic() + seconds if seconds else None,
        )


async def _body(response: httpx.Response) -> bytes:
    body = b""
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > MOST_BODY_BYTES:
            raise HttpError(f"the answer has more than {MOST_BODY_BYTES} bytes")
    return body


def _fields(body: bytes, *, is_form: bool) -> Mapping[str, object]:
    """Return an answer's fields; an answer that is neither has none."""
    if is_form:
        return dict(parse_qsl(body.decode(errors="replace")))
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _seconds(value: object) -> float:
    """Return how long a token lives; 0 where the issuer does not say."""
    try:
        return float(value) if isinstance(value, int | float | str) and value else 0.0
    except ValueError:
        return 0.0
