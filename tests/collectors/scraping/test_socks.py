"""Asking through a SOCKS5 proxy over real sockets, and what a proxy says that will not or is none."""

import asyncio
import socket
import socketserver
from pathlib import Path
from typing import Any

import pytest

from kobs.collectors.scraping.client_configuration import Client
from kobs.collectors.scraping.http import HttpClients
from kobs.collectors.scraping.request_errors import HttpError
from tests.certificates import Authority
from tests.collectors.scraping.places import free_address, serving
from tests.collectors.scraping.socks import socks_proxy
from tests.collectors.scraping.tunnels import running

BODY = b"up 1\n"


def get(url: str, **client: Any) -> bytes:
    async def run() -> bytes:
        clients = HttpClients(Client(**client))
        try:
            async with asyncio.timeout(20), clients.get(url, {}, body_limit=1000) as answer:
                return b"".join([piece async for piece in answer.pieces])
        finally:
            await clients.close()

    return asyncio.run(run())


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_the_proxy_resolves_the_name_and_passes_on(scheme: str) -> None:
    with serving({"/a": BODY}) as place, socks_proxy(names={"cart.internal": "127.0.0.1"}) as proxy:
        assert get(f"http://cart.internal:{place.port}/a", proxy_url=f"{scheme}://{proxy.address}") == BODY
        assert proxy.asked == [("cart.internal", place.port)]
        assert place.requests[0][1]["Host"] == f"cart.internal:{place.port}"


def test_an_address_is_asked_for_as_one_and_answers_may_come_byte_by_byte() -> None:
    with serving({"/a": BODY}) as place, socks_proxy(is_slow=True) as proxy:
        assert get(f"{place.url}/a", proxy_url=f"socks5://{proxy.address}") == BODY
        assert proxy.asked == [("127.0.0.1", place.port)]


def test_a_user_logs_in_where_the_proxy_wants_it_and_not_elsewhere() -> None:
    with serving({"/a": BODY}) as place:
        with socks_proxy(user=("me", "hunter2 ä")) as proxy:
            assert get(f"{place.url}/a", proxy_url=f"socks5://me:hunter2%20%C3%A4@{proxy.address}") == BODY
            with pytest.raises(HttpError, match="SOCKS proxy: wrong user name or password") as raised:
                get(f"{place.url}/a", proxy_url=f"socks5://me:hunter3@{proxy.address}")
            assert "hunter3" not in str(raised.value)
            with pytest.raises(HttpError, match="it takes none of the ways to log in"):
                get(f"{place.url}/a", proxy_url=f"socks5://{proxy.address}")
        with socks_proxy() as proxy:
            assert get(f"{place.url}/a", proxy_url=f"socks5://me:hunter2@{proxy.address}") == BODY


def test_the_target_is_checked_through_a_proxy_by_the_name_that_is_configured(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = authority.server_context(names="DNS:metrics.example")
    with serving({"/": BODY}, context) as place, socks_proxy() as proxy:
        through = {"proxy_url": f"socks5://{proxy.address}"}
        tls = {"ca_file": authority.certificate, "server_name": "metrics.example"}
        assert get(f"{place.url}/", tls_config=tls, **through) == BODY
        with pytest.raises(HttpError, match="certificate verify failed"):
            get(f"{place.url}/", tls_config={"ca_file": authority.certificate}, **through)


def test_why_a_proxy_does_not_connect_is_told() -> None:
    with (
        socks_proxy(refuse=5) as proxy,
        pytest.raises(HttpError, match=r"cannot connect to cart:80: connection refused"),
    ):
        get("http://cart/", proxy_url=f"socks5://{proxy.address}")
    with pytest.raises(HttpError, match=r"^Connection refused$"):
        get("http://cart/", proxy_url=f"socks5://u:hunter2@{free_address()}")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.0 400 Bad Request\r\n\r\n", "what answers there is no SOCKS5 proxy"),
        (b"", "it closed the connection in the middle of an answer"),
        (b"\x05", "it closed the connection in the middle of an answer"),
        (b"\x05\x00\x05\x00\x00\x01\x7f\x00", "it closed the connection in the middle of an answer"),
        (b"\x05\x02", r"it wants a way to log in that was not offered \(2\)"),
        (b"\x05\x01", r"it wants a way to log in that was not offered \(1\)"),
    ],
    ids=["http", "nothing", "cut at once", "cut in its address", "password unasked", "gssapi"],
)
def test_what_is_no_socks_proxy_or_half_of_one_is_told(answer: bytes, reason: str) -> None:
    class Once(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(100)
            self.request.sendall(answer)
            self.request.shutdown(socket.SHUT_WR)

    with running(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Once)) as proxy:
        port = proxy.server_address[1]
        with pytest.raises(HttpError, match=f"^SOCKS proxy: {reason}$"):
            get("http://cart/", proxy_url=f"socks5://127.0.0.1:{port}")
