"""A forward proxy for the tests: http URLs by request, https ones by CONNECT."""

import contextlib
import socket
import socketserver
from http.server import BaseHTTPRequestHandler

import httpx

from tests.collectors.scraping.tunnels import pass_on


class Proxy(socketserver.ThreadingTCPServer):
    """A proxy. `asked` are URLs or targets, and the credentials for the proxy, as they came."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        super().__init__(("127.0.0.1", 0), Forwarding)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class Forwarding(BaseHTTPRequestHandler):
    server: Proxy

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Proxy-Authorization", "")))
        answer = httpx.get(self.path, trust_env=False)
        self.send_response(answer.status_code)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def do_CONNECT(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Proxy-Authorization", "")))
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port))) as target:
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):  # either side may go in the middle
                pass_on(self.connection, target)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
