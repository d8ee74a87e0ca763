"""The HTTP form when the connection breaks: an insert is never sent twice, and the caller is told to look."""

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from kobs.errors import RetryableError
from kobs.storage.clickhouse import Store
from tests.storage.rows import line_rows


class Cutter:
    """A proxy that can read a whole answer of the server and close without passing it on."""

    def __init__(self, server: str) -> None:
        self.cutting = threading.Event()
        self.cut = 0
        self._target = (urlsplit(server).hostname, urlsplit(server).port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        threads = []
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                break
            threads.append(threading.Thread(target=self._pass_on, args=(client,)))
            threads[-1].start()
        for thread in threads:
            thread.join()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server, selectors.DefaultSelector() as ready:
            ready.register(client, selectors.EVENT_READ, server)
            ready.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in ready.select():
                    content = key.fileobj.recv(65536)  # type: ignore[union-attr]  # both are sockets
                    if content and key.fileobj is server and self.cutting.is_set():
                        self.cut += 1
                        return
                    if not content:
                        return
                    key.data.sendall(content)


@contextmanager
def through_cutter(server: str, database: str) -> Iterator[tuple[Store, Store, Cutter]]:
    """Give a store through the proxy and one past it, on the same database."""
    direct = Store(server, database=database)
    cutter = Cutter(server)
    store = Store(cutter.url, database=database, threads=2)
    try:
        yield store, direct, cutter
    finally:
        store.close()
        cutter.close()
        direct.command(f"DROP DATABASE {database} SYNC")
        direct.close()


@pytest.mark.clickhouse
def test_an_insert_whose_answer_is_lost_is_stored_once_and_raised(clickhouse_server: str, database_name: str) -> None:
    """The client's own way is to send it again, which doubles the rows."""
    with through_cutter(clickhouse_server, database_name) as (store, direct, cutter):
        store.insert("logs", line_rows(10))
        cutter.cutting.set()

        with pytest.raises(RetryableError):
            store.insert("logs", line_rows(10, first_offset=10), comment="agent-a:1")

        assert cutter.cut == 1
        rows = direct.select("SELECT count() AS n, uniqExact(offset) AS different FROM logs").to_pylist()
        assert rows == [{"n": 20, "different": 20}]


@pytest.mark.clickhouse
def test_a_store_goes_on_after_its_connection_broke(clickhouse_server: str, database_name: str) -> None:
    with through_cutter(clickhouse_server, database_name) as (store, _, cutter):
        cutter.cutting.set()
        with pytest.raises(RetryableError):
            store.command("ALTER TABLE logs COMMENT COLUMN body 'x'")
        cutter.cutting.clear()

        store.insert("logs", line_rows(5))

        assert store.select("SELECT count() AS n FROM logs")["n"].to_pylist() == [5]


@pytest.mark.clickhouse
def test_a_comment_begins_the_query_id(clickhouse_server: str, database_name: str) -> None:
    """So a server's own logs name who sent a statement."""
    store = Store(clickhouse_server, database=database_name)
    try:
        seen: list[str] = []
        client: Any = store._idle[-1]
        original = client._backend.request

        def spy(data: object, params: dict[str, str], *args: object, **kwargs: object) -> object:
            seen.append(params.get("query_id", ""))
            return original(data, params, *args, **kwargs)

        client._backend.request = spy  # the id is gone once the statement has ended, and this server shows its own
        store.insert("logs", line_rows(1), comment="agent-a:1")
        store.select("SELECT 1", comment="panel:2")

        assert [query_id.rpartition(":")[0] for query_id in seen if query_id] == ["agent-a:1", "panel:2"]
    finally:
        store.command(f"DROP DATABASE {database_name} SYNC")
        store.close()
