"""Tokens of OAuth 2.0, from an issuer over real sockets: when one is asked for, what is sent, what is told."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kobs.collectors.scraping.client_configuration import Client, OAuth2
from kobs.collectors.scraping.http import HttpClients
from kobs.collectors.scraping.request_errors import HttpError
from kobs.collectors.scraping.tokens import Tokens
from tests.certificates import Authority
from tests.collectors.scraping.forwarding import Proxy
from tests.collectors.scraping.issuers import CLIENT, SECRET, Issuer
from tests.collectors.scraping.places import Request, answering, free_address, serving
from tests.collectors.scraping.socks import socks_proxy
from tests.collectors.scraping.tunnels import running

ANSWER = b"up 1\n"


def get(url: str, *, times: int = 1, **oauth2: Any) -> None:
    """Ask by one client."""

    async def run() -> None:
        clients = HttpClients(Client(oauth2={"client_id": CLIENT, "client_secret": SECRET} | oauth2))  # type: ignore[arg-type] # pydantic makes it one
        try:
            for _ in range(times):
                async with asyncio.timeout(20), clients.get(url, {}, body_limit=1000) as answer:
                    assert b"".join([piece async for piece in answer.pieces]) == ANSWER
        finally:
            await clients.close()

    asyncio.run(run())


def sent(requests: Sequence[tuple[str, Any]]) -> list[str]:
    return [headers["Authorization"] for path, headers in requests if path == "/metrics"]


def test_a_token_is_asked_for_once_and_sent_with_each_request() -> None:
    issuer = Issuer()
    with serving({"/metrics": ANSWER, "/token": issuer}) as place:
        parameters = {"audience": "metrics", "resource": "a b"}
        get(f"{place.url}/metrics", times=3, token_url=f"{place.url}/token", scopes=["a", "b"],
            endpoint_params=parameters)  # fmt: skip
        assert sent(place.requests) == ["Bearer token-1"] * 3
        assert issuer.asked == [{"grant_type": "client_credentials", "scope": "a b", **parameters}]
        assert place.requests[0][1]["User-Agent"].startswith("kobs-agent/")


def test_an_issuer_that_wants_the_secret_in_the_form_gets_it_there_from_then_on() -> None:
    issuer = Issuer(takes_header=False, lives_seconds=5)
    with serving({"/metrics": ANSWER, "/token": issuer}) as place:
        get(f"{place.url}/metrics", times=2, token_url=f"{place.url}/token")
        assert sent(place.requests) == ["Bearer token-1", "Bearer token-2"]
    assert [form.get("client_secret") for form in issuer.asked] == [None, SECRET, SECRET]


@pytest.mark.parametrize(("lives", "renewed_after"), [(60, 50), ("60", 50), (None, None)], ids=["number", "text", "no"])
def test_a_token_is_renewed_ten_seconds_before_its_end(lives: int | str | None, renewed_after: int | None) -> None:
    now = 1000.0
    issuer = Issuer(lives_seconds=lives)

    async def run(url: str) -> list[str]:
        nonlocal now
        configuration = OAuth2(client_id=CLIENT, client_secret=SECRET, token_url=url)  # type: ignore[arg-type] # likewise
        tokens = Tokens(configuration, "test", monotonic=lambda: now)
        try:
            values = [await tokens.authorization()]
            for seconds in (49.9, 0.2, 1e6):
                now += seconds
                values.append(await tokens.authorization())
            return values
        finally:
            await tokens.close()

    with serving({"/token": issuer}) as place:
        values = asyncio.run(run(f"{place.url}/token"))
    numbers = [1, 1, 1, 1] if renewed_after is None else [1, 1, 2, 3]
    assert values == [f"Bearer token-{number}" for number in numbers]


def test_requests_at_the_same_time_share_one_token() -> None:
    issuer = Issuer()

    async def run(url: str) -> set[str]:
        tokens = Tokens(OAuth2(client_id=CLIENT, client_secret=SECRET, token_url=url), "test")  # type: ignore[arg-type] # likewise
        try:
            return set(await asyncio.gather(*(tokens.authorization() for _ in range(20))))
        finally:
            await tokens.close()

    with serving({"/token": issuer}) as place:
        assert asyncio.run(run(f"{place.url}/token")) == {"Bearer token-1"}


def test_another_secret_in_the_file_gets_another_token(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n")
    issuer = Issuer()

    def rotate(request: Request) -> None:
        issuer.secret = "other"
        path.write_text("other")
        request.answer(ANSWER)

    with serving({"/metrics": rotate, "/token": issuer}) as place:
        get(f"{place.url}/metrics", times=2, token_url=f"{place.url}/token", client_secret="", client_secret_file=path)
        assert sent(place.requests) == ["Bearer token-1", "Bearer token-2"]
        path.unlink()
        with pytest.raises(HttpError, match=f"oauth2: client_secret_file {path}: No such file"):
            get(f"{place.url}/metrics", token_url=f"{place.url}/token", client_secret="", client_secret_file=path)


def test_the_issuer_has_trust_and_proxies_of_its_own(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    issuer = Issuer()
    with serving({"/metrics": ANSWER}) as place, serving({"/token": issuer}, authority.server_context()) as secure:
        url = f"{secure.url}/token"
        with pytest.raises(HttpError, match=f"oauth2: no token from {url}: .*certificate verify failed"):
            get(f"{place.url}/metrics", token_url=url)
        tls = {"ca_file": authority.certificate}
        get(f"{place.url}/metrics", token_url=url, tls_config=tls)
        with socks_proxy() as proxy:
            get(f"{place.url}/metrics", token_url=url, tls_config=tls, proxy_url=f"socks5://{proxy.address}")
            assert proxy.asked == [("127.0.0.1", secure.port)]
    with (
        serving({"/metrics": ANSWER}) as place,
        running(Proxy()) as dead_end,
        pytest.raises(HttpError, match="no token"),
    ):
        get(f"{place.url}/metrics", token_url="http://issuer.invalid/token",
            proxy_url=f"http://127.0.0.1:{dead_end.server_address[1]}")  # fmt: skip


FAILURES = {
    "refused": (
        Issuer(takes_header=False),
        "server returned HTTP status 401 Unauthorized: invalid_client: .* is wrong",
    ),
    "html": (answering(b"<html>", content_type="text/html"), "the answer has no access_token"),
    "list": (answering(b"[]", content_type="application/json"), "the answer has no access_token"),
    "error-with-200": (answering(b'{"error": "slow_down"}', content_type="application/json"), "slow_down"),
    "form": (answering(b"error=no&error_description=way"), "no: way"),
    "endless": (answering(b" " * 2_000_000, content_type="application/json"), "the answer has more than 1048576 bytes"),
    "gone": (answering(b"", status=503), "server returned HTTP status 503 Service Unavailable"),
}


@pytest.mark.parametrize(("answer", "reason"), FAILURES.values(), ids=FAILURES)
def test_why_there_is_no_token_is_told_without_the_secret(answer: Any, reason: str) -> None:
    with serving({"/metrics": ANSWER, "/token": answer}) as place:
        url = f"http://user:hunter3@{place.address}/token?key=hunter4"
        with pytest.raises(HttpError, match=f"^oauth2: no token from {place.url}/token: {reason}$") as raised:
            get(f"{place.url}/metrics", token_url=url, client_secret="hunter2")
    assert "hunter" not in str(raised.value)
    assert sent(place.requests) == []


def test_a_token_in_a_form_is_taken() -> None:
    with serving({"/metrics": ANSWER, "/token": answering(b"access_token=t&token_type=Own")}) as place:
        get(f"{place.url}/metrics", token_url=f"{place.url}/token")
        assert sent(place.requests) == ["Own t"]


def test_an_unreachable_issuer_is_told() -> None:
    address = free_address()
    reason = rf"^oauth2: no token from http://{address}/token: Connection refused$"
    with serving({"/metrics": ANSWER}) as place, pytest.raises(HttpError, match=reason):
        get(f"{place.url}/metrics", token_url=f"http://{address}/token")


def test_who_is_out_of_patience_says_that_it_waited_for_the_issuer() -> None:
    def hang(request: Request) -> None:
        time.sleep(1)
        request.answer(b"{}")

    with serving({"/token": hang}) as place:
        url = f"{place.url}/token"

        async def run() -> None:
            tokens = Tokens(OAuth2(client_id="a", token_url=url), "test")
            try:
                async with asyncio.timeout(0.2):
                    await tokens.authorization()
            finally:
                await tokens.close()

        with pytest.raises(TimeoutError) as raised:
            asyncio.run(run())
    assert raised.value.__cause__ is not None
    assert raised.value.__cause__.__notes__ == [f"while waiting for a token from {url}"]
