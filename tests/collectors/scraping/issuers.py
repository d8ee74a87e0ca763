"""An issuer of OAuth 2.0 tokens: exact to RFC 6749 section 4.4, as no real one is to be had from the registries."""

import base64
import json
from urllib.parse import parse_qs, unquote_plus

from tests.collectors.scraping.places import Request

CLIENT, SECRET = "kobs:agent", "hunter2&+ \u00e4"


class Issuer:
    """Answers token requests as a path of a Place; `asked` are the forms that it was sent, in their order."""

    def __init__(self, *, lives_seconds: int | str | None = 3600, takes_header: bool = True) -> None:
        self.lives_seconds = lives_seconds
        self.takes_header = takes_header
        self.secret = SECRET
        self.asked: list[dict[str, str]] = []
        self.issued = 0

    def __call__(self, request: Request) -> None:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        self.asked.append(form)
        if self._client(request, form) != (CLIENT, self.secret):
            refusal = {"error": "invalid_client", "error_description": f"{form.get('client_secret', '')} is wrong"}
            request.answer(json.dumps(refusal).encode(), status=401, content_type="application/json")
            return
        self.issued += 1
        token = {"access_token": f"token-{self.issued}", "token_type": "bearer"}
        if self.lives_seconds is not None:
            token["expires_in"] = self.lives_seconds  # type: ignore[assignment] # a number or, from some, a text
        request.answer(json.dumps(token).encode(), content_type="application/json;charset=UTF-8")

    def _client(self, request: Request, form: dict[str, str]) -> tuple[str, str]:
        kind, _, value = request.headers.get("Authorization", "").partition(" ")
        if kind == "Basic" and self.takes_header:
            name, _, secret = base64.b64decode(value).decode().partition(":")
            return unquote_plus(name), unquote_plus(secret)
        return form.get("client_id", ""), form.get("client_secret", "")
