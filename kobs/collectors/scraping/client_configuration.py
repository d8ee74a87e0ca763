"""How a target or a discovery service is asked over HTTP: credentials, TLS, proxies, headers.

Secrets are `SecretStr`: no error, log or representation shows them.

Source: Prometheus' `http_config` and `oauth2`.
"""

import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

_RESERVED_HEADERS = frozenset({
    "authorization", "host", "content-encoding", "content-length", "content-type", "user-agent", "connection",
    "keep-alive", "proxy-authenticate", "proxy-authorization", "www-authenticate", "accept-encoding",
    "x-prometheus-remote-write-version", "x-prometheus-remote-read-version", "x-prometheus-scrape-timeout-seconds",
    "x-amz-date", "x-amz-security-token", "x-amz-content-sha256",
})  # fmt: skip
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Part(BaseModel):
    """A frozen part of a configuration; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class BasicAuth(Part):
    """A user's name and password."""

    username: str = ""
    username_file: Path | None = None
    password: SecretStr = SecretStr("")
    password_file: Path | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.username and self.username_file is not None:
            raise ValueError("at most one of basic_auth username & username_file must be configured")
        if self.password.get_secret_value() and self.password_file is not None:
            raise ValueError("at most one of basic_auth password & password_file must be configured")
        return self


class Authorization(Part):
    """Credentials of an Authorization header."""

    type: str = "Bearer"
    credentials: SecretStr = SecretStr("")
    credentials_file: Path | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.credentials.get_secret_value() and self.credentials_file is not None:
            raise ValueError("at most one of authorization credentials & credentials_file must be configured")
        if self.type.strip().lower() == "basic":
            raise ValueError('authorization type cannot be set to "basic", use "basic_auth" instead')
        return self


class Tls(Part):
    """What is trusted, and what is shown, when a connection is encrypted."""

    ca: str = ""
    ca_file: Path | None = None
    cert: str = ""
    cert_file: Path | None = None
    key: SecretStr = SecretStr("")
    key_file: Path | None = None
    server_name: str = ""
    insecure_skip_verify: bool = False
    min_version: Literal["", "TLS10", "TLS11", "TLS12", "TLS13"] = ""
    max_version: Literal["", "TLS10", "TLS11", "TLS12", "TLS13"] = ""

    @model_validator(mode="after")
    def _check(self) -> Self:
        has_key = bool(self.key.get_secret_value())
        if self.ca and self.ca_file is not None:
            raise ValueError("at most one of ca and ca_file must be configured")
        if self.cert and self.cert_file is not None:
            raise ValueError("at most one of cert and cert_file must be configured")
        if has_key and self.key_file is not None:
            raise ValueError("at most one of key and key_file must be configured")
        has_cert = bool(self.cert) or self.cert_file is not None
        if has_cert != (has_key or self.key_file is not None):
            raise ValueError("a client certificate needs both cert or cert_file and key or key_file")
        return self


class Header(Part):
    """Values of one header."""

    values: tuple[str, ...] = ()
    secrets: tuple[SecretStr, ...] = ()
    files: tuple[Path, ...] = ()


_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")


def _proxy_url(url: SecretStr) -> SecretStr:
    text = url.get_secret_value()
    if text and (urlsplit(text).scheme not in _PROXY_SCHEMES or not urlsplit(text).hostname):
        raise ValueError("expected a URL of a proxy such as http://proxy.example:3128 or socks5://proxy.example:1080")
    return url


class Connecting(Part):
    """How a connection is made: what is trusted, and through which proxy."""

    tls_config: Tls = Tls()
    proxy_url: Annotated[SecretStr, AfterValidator(_proxy_url)] = SecretStr("")
    no_proxy: str = ""
    proxy_from_environment: bool = False
    proxy_connect_header: dict[str, tuple[SecretStr, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_proxy(self) -> Self:
        has_proxy = bool(self.proxy_url.get_secret_value())
        if self.proxy_from_environment and (has_proxy or self.no_proxy):
            raise ValueError("if proxy_from_environment is configured, proxy_url and no_proxy must not be configured")
        if self.no_proxy and not has_proxy:
            raise ValueError("if no_proxy is configured, proxy_url must also be configured")
        if self.proxy_connect_header and not (has_proxy or self.proxy_from_environment):
            raise ValueError(
                "if proxy_connect_header is configured, proxy_url or proxy_from_environment must be configured"
            )
        return self


class OAuth2(Connecting):
    """Client credentials, for which a token is to be had from `token_url`; `tls_config` and proxies are about that."""

    client_id: str = ""
    client_secret: SecretStr = SecretStr("")
    client_secret_file: Path | None = None
    scopes: tuple[str, ...] = ()
    token_url: str = ""
    endpoint_params: dict[str, SecretStr] = Field(default_factory=dict)
    grant_type: Literal["", "client_credentials"] = ""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.client_id:
            raise ValueError("oauth2 client_id must be configured")
        if not self.token_url:
            raise ValueError("oauth2 token_url must be configured")
        if self.client_secret.get_secret_value() and self.client_secret_file is not None:
            raise ValueError("at most one of oauth2 client_secret & client_secret_file must be configured")
        parts = urlsplit(self.token_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("oauth2 token_url: expected a URL such as https://issuer.example/token")
        if self.scopes and "scope" in self.endpoint_params:
            raise ValueError("oauth2 endpoint_params cannot have scope beside scopes")
        return self


class Client(Connecting):
    """All about the way to ask."""

    basic_auth: BasicAuth | None = None
    authorization: Authorization | None = None
    bearer_token: SecretStr = SecretStr("")
    bearer_token_file: Path | None = None
    oauth2: OAuth2 | None = None
    follow_redirects: bool = True
    enable_http2: bool = True
    """Taken and without effect: requests are HTTP/1.1."""
    http_headers: dict[str, Header] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        has_token = bool(self.bearer_token.get_secret_value())
        if has_token and self.bearer_token_file is not None:
            raise ValueError("at most one of bearer_token & bearer_token_file must be configured")
        ways = (self.basic_auth is not None, self.authorization is not None, self.oauth2 is not None)
        if sum((*ways, has_token or self.bearer_token_file is not None)) > 1:
            raise ValueError("at most one of basic_auth, authorization, oauth2, bearer_token & bearer_token_file")
        for name in self.http_headers:
            if name.lower() in _RESERVED_HEADERS:
                raise ValueError(f"setting header {name!r} is not allowed")
            if _HEADER_NAME.fullmatch(name) is None:
                raise ValueError(f"{name!r} is not a name of a header")
        return self

    def effective_authorization(self) -> Authorization | None:
        """Return what goes into the Authorization header, in whichever of its forms it is configured."""
        if self.authorization is not None:
            return self.authorization
        if self.bearer_token_file is not None:
            return Authorization(credentials_file=self.bearer_token_file)
        return Authorization(credentials=self.bearer_token) if self.bearer_token.get_secret_value() else None
