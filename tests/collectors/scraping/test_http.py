"""Asking over real sockets: credentials, TLS, proxies, redirects, compression, and answers that are no answer."""

import asyncio
import base64
import gzip
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kobs.collectors.scraping.client_configuration import Client
from kobs.collectors.scraping.http import HttpClients
from kobs.collectors.scraping.proxies import proxy_for
from kobs.collectors.scraping.request_errors import BodyLimitError, HttpError
from tests.certificates import Authority
from tests.collectors.scraping.forwarding import Proxy
from tests.collectors.scraping.places import Place, Request, answering, free_address, serving
from tests.collectors.scraping.tunnels import running

BODY = b"up 1\n" * 5


def get(url: str, *, body_limit: int = 10**9, times: int = 1, **client: Any) -> bytes:
    """Return the body of the last of some answers, asked by one client."""

    async def run() -> bytes:
        clients = HttpClients(Client(**client))
        body = b""
        try:
            for _ in range(times):
                async with asyncio.timeout(20), clients.get(url, {}, body_limit=body_limit) as answer:
                    body = b"".join([piece async for piece in answer.pieces])
        finally:
            await clients.close()
        return body

    return asyncio.run(run())


def test_a_connection_is_kept_for_the_next_request() -> None:
    ports = set()

    def tell(request: Request) -> None:
        ports.add(request.client_address[1])
        request.answer(BODY)

    with serving({"/metrics": tell}) as place:
        assert get(f"{place.url}/metrics", times=3) == BODY
    assert len(ports) == 1


# -- credentials -------------------------------------------------------------------------------------------------------


def test_credentials_are_sent_in_each_of_their_forms(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from-file\n")
    basic = base64.b64encode(b"me:from-file").decode()
    forms: list[tuple[dict[str, Any], str]] = [
        ({"bearer_token": "t"}, "Bearer t"),
        ({"bearer_token_file": secret}, "Bearer from-file"),
        ({"authorization": {"credentials": "t"}}, "Bearer t"),
        ({"authorization": {"type": "Token", "credentials_file": secret}}, "Token from-file"),
        ({"basic_auth": {"username": "me", "password_file": secret}}, f"Basic {basic}"),
        ({"basic_auth": {"username_file": secret}}, f"Basic {base64.b64encode(b'from-file:').decode()}"),
    ]
    with serving({"/": BODY}) as place:
        for form, expected in forms:
            get(f"{place.url}/", **form)
            assert place.requests[-1][1]["Authorization"] == expected


def test_a_file_of_credentials_is_read_each_time(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("1")

    def rotate(request: Request) -> None:
        token.write_text("2")
        request.answer(BODY)

    with serving({"/": rotate}) as place:
        get(f"{place.url}/", bearer_token_file=token, times=2)
        assert [headers["Authorization"] for _, headers in place.requests] == ["Bearer 1", "Bearer 2"]
        token.unlink()
        with pytest.raises(HttpError, match=f"credentials_file {token}: No such file or directory"):
            get(f"{place.url}/", bearer_token_file=token)


def test_headers_are_sent_with_all_their_values(tmp_path: Path) -> None:
    (tmp_path / "value").write_text(" c \n")
    header = {"values": ["a"], "secrets": ["b"], "files": [tmp_path / "value"]}
    found: list[list[str]] = []

    def tell(request: Request) -> None:
        found.append(request.headers.get_all("X-Scope") or [])
        request.answer(BODY)

    with serving({"/": tell}) as place:
        get(f"{place.url}/", http_headers={"X-Scope": header})
    assert found == [["a", "b", "c"]]


# -- redirects and status ----------------------------------------------------------------------------------------------


def test_redirects_are_followed_unless_forbidden() -> None:
    with serving({"/a": answering(b"", status=302, Location="/b"), "/b": BODY}) as place:
        assert get(f"{place.url}/a") == BODY
        with pytest.raises(HttpError, match="server returned HTTP status 302 Found"):
            get(f"{place.url}/a", follow_redirects=False)


def test_a_redirect_to_itself_ends() -> None:
    with (
        serving({"/a": answering(b"", status=302, Location="/a")}) as place,
        pytest.raises(HttpError, match="redirects"),
    ):
        get(f"{place.url}/a")
    assert len(place.requests) == 11


def test_credentials_do_not_follow_a_redirect_to_another_host() -> None:
    with serving({"/b": BODY}) as other:
        elsewhere = other.url.replace("127.0.0.1", "localhost")
        with serving({"/a": answering(b"", status=302, Location=f"{elsewhere}/b")}) as place:
            get(f"{place.url}/a", bearer_token="secret")
        assert place.requests[0][1]["Authorization"] == "Bearer secret"
        assert "Authorization" not in other.requests[0][1]


@pytest.mark.parametrize(("status", "reason"), [(404, "404 Not Found"), (500, "500 Internal"), (204, "204 No Content")])
def test_any_other_status_is_an_error(status: int, reason: str) -> None:
    with serving({"/": answering(b"", status=status)}) as place, pytest.raises(HttpError, match=reason):
        get(f"{place.url}/")


def test_why_nobody_answers_is_told() -> None:
    with pytest.raises(HttpError, match=r"^Connection refused$"):
        get(f"http://{free_address()}/")
    with pytest.raises(HttpError, match=r"\w"):
        get("http://no-such-host.invalid/")


# -- bodies ------------------------------------------------------------------------------------------------------------


def test_gzip_is_uncompressed_also_in_several_members() -> None:
    body = b"".join(b"m%d 1\n" % number for number in range(100_000))
    packed = gzip.compress(body[:1000]) + gzip.compress(body[1000:])
    with serving({"/": answering(packed, Content_Encoding="gzip")}) as place:
        assert get(f"{place.url}/") == body


@pytest.mark.parametrize(
    ("body", "reason"),
    [(gzip.compress(BODY)[:-4], "the answer ends in the middle of its gzip"), (BODY, "the answer is no gzip")],
    ids=["cut", "plain"],
)
def test_gzip_that_is_none_is_refused(body: bytes, reason: str) -> None:
    with serving({"/": answering(body, Content_Encoding="gzip")}) as place, pytest.raises(HttpError, match=reason):
        get(f"{place.url}/")


def test_a_body_that_swells_up_is_stopped_at_its_limit() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    assert len(bomb) < 100_000
    with serving({"/": answering(bomb, Content_Encoding="gzip")}) as place, pytest.raises(BodyLimitError):
        get(f"{place.url}/", body_limit=1_000_000)


def test_a_body_of_the_limit_is_too_large_and_one_byte_less_is_not() -> None:
    with serving({"/": BODY}) as place:
        assert get(f"{place.url}/", body_limit=len(BODY) + 1) == BODY
        with pytest.raises(BodyLimitError, match="body size limit exceeded"):
            get(f"{place.url}/", body_limit=len(BODY))


def test_an_endless_body_is_stopped_at_its_limit() -> None:
    def flood(request: Request) -> None:
        request.send_response(200)
        request.end_headers()
        while True:
            request.wfile.write(b"m 1\n" * 10_000)

    with serving({"/": flood}) as place, pytest.raises(BodyLimitError):
        get(f"{place.url}/", body_limit=5_000_000)


def test_a_body_that_is_cut_off_is_an_error() -> None:
    def cut(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000")
        request.end_headers()
        request.wfile.write(b"m 1\n")
        request.close_connection = True

    with serving({"/": cut}) as place, pytest.raises(HttpError, match=r"\w"):
        get(f"{place.url}/")


# -- TLS ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secure(authority: Authority) -> Iterator[Place]:
    with serving({"/": BODY}, authority.server_context()) as place:
        yield place


def test_a_server_is_trusted_by_what_signed_it(authority: Authority, secure: Place) -> None:
    assert get(f"{secure.url}/", tls_config={"ca_file": authority.certificate}) == BODY
    assert get(f"{secure.url}/", tls_config={"ca": authority.certificate.read_text()}) == BODY
    assert get(f"{secure.url}/", tls_config={"insecure_skip_verify": True}) == BODY
    with pytest.raises(HttpError, match="certificate verify failed"):
        get(f"{secure.url}/")


def test_a_servers_name_may_be_another_than_its_address(authority: Authority, secure: Place) -> None:
    url = secure.url.replace("127.0.0.1", "localhost")
    with pytest.raises(HttpError, match="certificate verify failed"):
        get(f"{url}/", tls_config={"ca_file": authority.certificate})
    with serving({"/": BODY}, authority.server_context("named", names="DNS:metrics.example")) as place:
        tls = {"ca_file": authority.certificate, "server_name": "metrics.example"}
        assert get(f"{place.url}/", tls_config=tls) == BODY


def test_a_client_shows_its_certificate(authority: Authority) -> None:
    certificate, key = authority.sign("client")
    context = authority.server_context("mutual", client_ca=authority.certificate)
    trust = {"ca_file": authority.certificate}
    with serving({"/": BODY}, context) as place:
        assert get(f"{place.url}/", tls_config={**trust, "cert_file": certificate, "key_file": key}) == BODY
        texts = {"cert": certificate.read_text(), "key": key.read_text()}
        assert get(f"{place.url}/", tls_config={**trust, **texts}) == BODY
        with pytest.raises(HttpError):
            get(f"{place.url}/", tls_config=trust)


def test_certificates_are_read_again_when_they_change(authority: Authority, tmp_path: Path) -> None:
    """A certificate that a mounted Secret renews is taken for the next connection."""
    other = Authority(tmp_path, "other")
    trusted = tmp_path / "trusted.crt"
    trusted.write_bytes(other.certificate.read_bytes())

    async def run(url: str) -> bytes:
        clients = HttpClients(Client(tls_config={"ca_file": trusted}))  # type: ignore[arg-type] # pydantic makes it one
        try:
            with pytest.raises(HttpError, match="certificate verify failed"):
                async with clients.get(url, {}, body_limit=1000):
                    pass
            trusted.write_bytes(authority.certificate.read_bytes())
            async with clients.get(url, {}, body_limit=1000) as answer:
                return b"".join([piece async for piece in answer.pieces])
        finally:
            await clients.close()

    with serving({"/": BODY}, authority.server_context("renewed")) as place:
        assert asyncio.run(run(f"{place.url}/")) == BODY


@pytest.mark.parametrize(
    ("tls", "reason"),
    [
        ({"ca_file": "/no/such/ca.crt"}, "No such file or directory"),
        ({"ca": "no certificate"}, "tls_config: "),
        ({"cert": "x", "key": "hunter2"}, "tls_config: "),
    ],
    ids=["missing", "no-ca", "no-key"],
)
def test_certificates_that_cannot_be_used_are_told_without_secrets(tls: dict[str, Any], reason: str) -> None:
    with pytest.raises(HttpError, match=reason) as raised:
        get("https://127.0.0.1:1/", tls_config=tls)
    assert "hunter2" not in str(raised.value)


# -- proxies -----------------------------------------------------------------------------------------------------------


def test_a_target_is_asked_through_its_proxy() -> None:
    with serving({"/a": BODY}) as place, running(Proxy()) as proxy:
        assert get(f"{place.url}/a", proxy_url=f"http://user:hunter2@{proxy.address}") == BODY
        credentials = base64.b64encode(b"user:hunter2").decode()
        assert proxy.asked == [(f"{place.url}/a", f"Basic {credentials}")]


def test_a_target_is_checked_through_a_proxy_by_the_name_that_is_configured(authority: Authority) -> None:
    context = authority.server_context("tunnelled", names="DNS:metrics.example")
    with serving({"/a": BODY}, context) as place, running(Proxy()) as proxy:
        through = {"proxy_url": f"http://user:hunter2@{proxy.address}"}
        tls = {"ca_file": authority.certificate, "server_name": "metrics.example"}
        assert get(f"{place.url}/a", tls_config=tls, **through) == BODY
        # What the proxy may know: the target, and its own user.
        credentials = base64.b64encode(b"user:hunter2").decode()
        assert proxy.asked == [(f"127.0.0.1:{place.port}", f"Basic {credentials}")]
        assert "Proxy-Authorization" not in place.requests[0][1]
        with pytest.raises(HttpError, match="certificate verify failed"):
            get(f"{place.url}/a", tls_config={"ca_file": authority.certificate}, **through)
        other = {**tls, "server_name": "other.example"}
        with pytest.raises(HttpError, match="certificate verify failed"):
            get(f"{place.url}/a", tls_config=other, **through)


def test_an_unreachable_proxy_is_told_without_its_password() -> None:
    with pytest.raises(HttpError) as raised:
        get("http://example.invalid/", proxy_url=f"http://user:hunter2@{free_address()}")
    assert str(raised.value) == "Connection refused"


@pytest.mark.parametrize(
    ("url", "no_proxy", "is_direct"),
    [
        ("http://a.example/", "", False),
        ("http://a.example/", "b.example", False),
        ("http://a.example/", "a.example", True),
        ("http://x.a.example/", "a.example", True),
        ("http://xa.example/", "a.example", False),
        ("http://x.a.example/", ".a.example", True),
        ("http://a.example/", ".a.example", False),
        ("http://x.a.example/", "*.a.example", True),
        ("http://a.example:8080/", "a.example:80", False),
        ("http://a.example:8080/", "b, a.example:8080", True),
        ("https://a.example/", "a.example:443", True),
        ("http://10.1.2.3/", "10.0.0.0/8", True),
        ("http://11.1.2.3/", "10.0.0.0/8", False),
        ("http://10.1.2.3:80/", "10.1.2.3", True),
        ("http://[fe80::1]/", "fe80::1", True),
        ("http://a.example/", "*", True),
        ("http://localhost:1/", "x", True),
        ("http://127.0.0.1/", "x", True),
    ],
)
def test_hosts_may_need_no_proxy(url: str, no_proxy: str, is_direct: object) -> None:
    environment = {"HTTP_PROXY": "http://proxy:1", "https_proxy": "proxy:1", "NO_PROXY": no_proxy}
    ways = [proxy_for(url, Client(proxy_from_environment=True), environment)]
    if no_proxy:
        ways.append(proxy_for(url, Client(proxy_url="http://proxy:1", no_proxy=no_proxy), {}))  # type: ignore[arg-type] # pydantic makes it one
    assert ways == [None if is_direct else "http://proxy:1"] * len(ways)


def test_without_a_proxy_the_environment_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://{free_address()}")
    with serving({"/": BODY}) as place:
        assert get(f"{place.url}/") == BODY


def test_a_slow_server_is_waited_for_by_the_caller_alone() -> None:
    """A time limit is the caller's; what came before it was over is of no use."""

    def trickle(request: Request) -> None:
        request.send_response(200)
        request.end_headers()
        for _ in range(100):
            request.wfile.write(b"m 1\n")
            request.wfile.flush()
            time.sleep(0.05)

    async def run(url: str) -> None:
        clients = HttpClients(Client())
        try:
            async with asyncio.timeout(0.3), clients.get(url, {}, body_limit=10**6) as answer:
                async for _ in answer.pieces:
                    pass
        finally:
            await clients.close()

    with serving({"/": trickle}) as place, pytest.raises(TimeoutError):
        asyncio.run(run(f"{place.url}/"))
