"""What the tests' proxies share: a socket server in a thread, and bytes passed both ways until one side ends."""

import contextlib
import select
import socket
import socketserver
import threading
from collections.abc import Iterator
from typing import TypeVar

ServerT = TypeVar("ServerT", bound=socketserver.BaseServer)


@contextlib.contextmanager
def running(server: ServerT) -> Iterator[ServerT]:
    """Serve in a thread while the block runs."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def pass_on(one: socket.socket, other: socket.socket) -> None:
    """Pass bytes between two sockets until one of them ends."""
    ways = {one.fileno(): (one, other), other.fileno(): (other, one)}
    # select() takes no descriptor from 1,024 on, and a run of all tests has more.
    waiting = select.poll()
    for descriptor in ways:
        waiting.register(descriptor, select.POLLIN)
    while True:
        for descriptor, _ in waiting.poll():
            source, target = ways[descriptor]
            data = source.recv(65536)
            if not data:
                return
            target.sendall(data)
