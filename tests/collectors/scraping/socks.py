"""A SOCKS5 proxy for the tests: RFC 1928 and RFC 1929 over real sockets, as Debian's need a configuration as root."""

import contextlib
import socket
import socketserver
from collections.abc import Iterator, Mapping

from tests.collectors.scraping.tunnels import pass_on, running


class SocksProxy(socketserver.ThreadingTCPServer):
    """A running proxy. `asked` are the hosts and ports that it was asked for, as they came."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self, *, user: tuple[str, str] | None = None, names: Mapping[str, str], refuse: int = 0, is_slow: bool = False
    ) -> None:
        self.asked: list[tuple[str, int]] = []
        self.user = user
        self.names = names
        self.refuse = refuse
        self.is_slow = is_slow
        super().__init__(("127.0.0.1", 0), _Session)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Session(socketserver.BaseRequestHandler):
    server: SocksProxy
    request: socket.socket

    def handle(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            self._serve()

    def _serve(self) -> None:
        _, count = self._read(2)
        methods = self._read(count)
        wanted = 0 if self.server.user is None else 2
        if wanted not in methods:
            self._write(b"\x05\xff")
            return
        self._write(bytes([5, wanted]))
        if self.server.user is not None:
            _, length = self._read(2)
            user = self._read(length).decode()
            password = self._read(self._read(1)[0]).decode()
            is_right = (user, password) == self.server.user
            self._write(bytes([1, 0 if is_right else 1]))
            if not is_right:
                return
        _, _, _, kind = self._read(4)
        if kind == 3:
            host = self._read(self._read(1)[0]).decode()
        else:
            host = socket.inet_ntop(
                socket.AF_INET6 if kind == 4 else socket.AF_INET, self._read(16 if kind == 4 else 4)
            )
        port = int.from_bytes(self._read(2), "big")
        self.server.asked.append((host, port))
        if self.server.refuse:
            self._write(bytes([5, self.server.refuse, 0, 1, 0, 0, 0, 0, 0, 0]))
            return
        with socket.create_connection((self.server.names.get(host, host), port)) as target:
            self._write(b"\x05\x00\x00\x03\x05proxy\x00\x50")
            pass_on(self.request, target)

    def _read(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            piece = self.request.recv(length - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def _write(self, data: bytes) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in [data[at : at + 1] for at in range(len(data))] if self.server.is_slow else [data]:
            self.request.sendall(piece)


@contextlib.contextmanager
def socks_proxy(
    *, user: tuple[str, str] | None = None, names: Mapping[str, str] | None = None, refuse: int = 0,
    is_slow: bool = False,
) -> Iterator[SocksProxy]:  # fmt: skip
    with running(SocksProxy(user=user, names=names or {}, refuse=refuse, is_slow=is_slow)) as proxy:
        yield proxy
