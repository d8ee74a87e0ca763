"""Who is let in: Host, Origin and token, for requests and WebSockets alike."""

import json
import socket

import httpx
import pytest
from pydantic import SecretStr
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from kobs.config import ServerSettings
from kobs.storage.clickhouse import Store
from tests.api.server import Server, serve

pytestmark = pytest.mark.clickhouse

TOKEN = "s3cret-Token"


def ask(server: Server, path: str = "/-/healthy", **headers: str) -> httpx.Response:
    return httpx.get(server.url + path, headers=headers, trust_env=False)


def handshake(server: Server, **headers: str) -> tuple[int, str]:
    """Return status and type of error of a tail's handshake; 101 where it succeeds."""
    # the library sends a Host and an Origin of its own: ours go beside the connection's address
    try:
        with connect(
            f"ws://{headers.pop('Host', f'localhost:{server.port}')}/kobs/v1/logs/tail",
            sock=socket.create_connection(("127.0.0.1", server.port)),
            additional_headers=headers,
            proxy=None,
        ):
            return 101, ""
    except InvalidStatus as refused:
        body = refused.response.body or b"{}"
        return refused.response.status_code, json.loads(body)["error"]["type"]


class TestHost:
    @pytest.mark.parametrize(
        "host",
        ["localhost", "localhost:9700", "LocalHost:80", "127.0.0.1", "127.8.8.8:1", "[::1]:9700", "kobs.localhost"],
    )
    def test_loopback_names_are_this_server(self, server: Server, host: str) -> None:
        assert ask(server, Host=host).status_code == 200

    @pytest.mark.parametrize(
        "host",
        [
            "evil.example",
            "evil.example:9700",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "",
            "a@localhost",
            "localhost/x",
            "localhost:x",
            "[::2]",
        ],
    )
    def test_any_other_name_is_421(self, server: Server, host: str) -> None:
        answer = ask(server, Host=host)
        assert answer.status_code in (421, 400)  # the web server itself refuses some that are no host at all
        if answer.status_code == 421:
            assert answer.json()["error"]["type"] == "wrong_host"
            assert "server.allowed_hosts" in answer.json()["error"]["message"]

    def test_allowed_names_are_this_server(self, store: Store) -> None:
        with serve(store, ServerSettings(allowed_hosts=("kobs.example", "other.example:81"))) as server:
            assert ask(server, Host="Kobs.example").status_code == 200
            assert ask(server, Host="kobs.example:9700").status_code == 200
            assert ask(server, Host="other.example:81").status_code == 200
            assert ask(server, Host="other.example:82").status_code == 421

    def test_a_foreign_name_opens_no_websocket(self, server: Server) -> None:
        assert handshake(server, Host="evil.example") == (421, "wrong_host")


class TestOrigin:
    def test_a_page_of_this_server_may_ask(self, server: Server) -> None:
        assert ask(server, Host="localhost:9700", Origin="http://localhost:9700").status_code == 200
        assert ask(server, Host="localhost", Origin="https://localhost").status_code == 200

    @pytest.mark.parametrize(
        "origin",
        [
            "http://evil.example",
            "http://localhost:9701",
            "http://localhost",
            "https://127.0.0.1:9700",
            "null",
            "localhost:9700",
            "http://localhost:x",
        ],
    )
    def test_any_other_page_is_403(self, server: Server, origin: str) -> None:
        answer = ask(server, Host="localhost:9700", Origin=origin)
        assert (answer.status_code, answer.json()["error"]["type"]) == (403, "foreign_origin")

    def test_a_foreign_page_opens_no_websocket(self, server: Server) -> None:
        assert handshake(server, Origin="http://evil.example") == (403, "foreign_origin")
        assert handshake(server, Origin=f"http://localhost:{server.port}") == (101, "")

    def test_no_answer_lets_other_pages_read_it(self, server: Server) -> None:
        answer = httpx.options(server.url + "/kobs/v1/logs", headers={"Origin": server.url}, trust_env=False)
        assert not [name for name in answer.headers if name.startswith("access-control")]


class TestToken:
    def test_only_the_token_opens_the_server(self, store: Store) -> None:
        with serve(store, ServerSettings(token=SecretStr(TOKEN))) as server:
            for wrong in ({}, {"Authorization": f"Basic {TOKEN}"}, {"Authorization": f"Bearer {TOKEN}x"}):
                answer = ask(server, "/kobs/v1/status", **wrong)
                assert (answer.status_code, answer.json()["error"]["type"]) == (401, "unauthorized")
                assert answer.headers["WWW-Authenticate"] == 'Bearer realm="kobs"'
                assert handshake(server, **wrong) == (401, "unauthorized")
            right = {"Authorization": f"Bearer {TOKEN}"}
            assert ask(server, "/kobs/v1/status", **right).status_code == 200
            assert handshake(server, **right) == (101, "")

    @pytest.mark.parametrize(
        "path", ["/", "/metrics", "/api/v1/query", "/kobs/v1/ship/logs", "/-/healthy/", "//-/ready"]
    )
    def test_every_path_but_the_probes_needs_it(self, store: Store, path: str) -> None:
        with serve(store, ServerSettings(token=SecretStr(TOKEN))) as server:
            assert ask(server, path).status_code == 401

    def test_the_probes_need_none(self, store: Store) -> None:
        with serve(store, ServerSettings(token=SecretStr(TOKEN))) as server:
            assert ask(server, "/-/healthy").status_code == 200
            assert ask(server, "/-/ready").status_code == 200
