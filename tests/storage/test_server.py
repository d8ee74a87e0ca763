"""The tests' own ClickHouse server: what it must do for the storage tests by HTTP to mean something."""

import gzip
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

import clickhouse_connect
import lz4.frame
import pytest
import zstandard

from tests.clickhouse_server.coding import UNPACK
from tests.clickhouse_server.statement import DataInsert, Statement, parse
from tests.ports import free_port


def ask(
    server: str, body: bytes, *, headers: dict[str, str] | None = None, **parameters: str
) -> tuple[int, bytes, str]:
    """Return status, body and error code of a request."""
    url = f"{server}/?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body, headers=headers or {})) as answer:
            return answer.status, answer.read(), answer.headers.get("X-ClickHouse-Exception-Code", "")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), error.headers.get("X-ClickHouse-Exception-Code", "")


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("lz4", lz4.frame.compress), ("zstd", zstandard.compress)],
    ids=["gzip", "lz4", "zstd"],
)
def test_all_frames_of_a_body_count(encoding: str, pack: type) -> None:
    assert UNPACK[encoding](pack(b"one ") + pack(b"two ") + pack(b"three")) == b"one two three"


@pytest.mark.parametrize(
    ("query", "body", "expected"),
    [
        (b"", b"INSERT INTO t FORMAT TSV\n\n1\n", DataInsert("INSERT INTO t ", "TSV", b"\n1\n")),
        (b"INSERT INTO t (a) FORMAT Native", b"\x0a\x00", DataInsert("INSERT INTO t (a) ", "Native", b"\x0a\x00")),
        (b"", b"insert into t select 1", Statement("insert into t select 1", None, reads=False)),
        (b"", b"INSERT INTO t FORMAT Values (1)", Statement("INSERT INTO t FORMAT Values (1)", None, reads=False)),
        (b"", b"SELECT 1 FORMAT Native", Statement("SELECT 1 FORMAT Native", "Native", reads=True)),
        (
            b"SELECT 1\nFORMAT CSV SETTINGS a = '(b)'",
            b"",
            Statement("SELECT 1\nFORMAT CSV SETTINGS a = '(b)'", "CSV", reads=True),
        ),
        (b"", b"/* x */ WITH 1 AS a SELECT a", Statement("/* x */ WITH 1 AS a SELECT a", None, reads=True)),
    ],
    ids=["data-in-body", "data-apart", "insert-select", "values", "select", "settings", "with"],
)
def test_a_statement_is_taken_apart(query: bytes, body: bytes, expected: DataInsert | Statement) -> None:
    assert parse(query, body) == expected


@pytest.mark.clickhouse
class TestServer:
    def test_it_listens_on_loopback(self, clickhouse_server: str) -> None:
        assert urllib.parse.urlsplit(clickhouse_server).hostname == "127.0.0.1"
        with urllib.request.urlopen(f"{clickhouse_server}/ping") as answer:
            assert answer.read() == b"Ok.\n"

    def test_an_error_has_its_code(self, clickhouse_server: str) -> None:
        status, text, code = ask(clickhouse_server, b"SELECT * FROM nowhere")

        assert (status, code) == (404, "60")
        assert b"UNKNOWN_TABLE" in text

    def test_parameters_and_settings_count(self, clickhouse_server: str) -> None:
        answer = ask(
            clickhouse_server,
            b"SELECT {x:String}, getSetting('max_block_size') FORMAT TSV",
            param_x="it's",
            max_block_size="77",
        )

        assert answer[:2] == (200, b"it\\'s\t77\n")

    def test_a_get_reads_only(self, clickhouse_server: str) -> None:
        query = urllib.parse.urlencode({"query": "CREATE TABLE default.x (a UInt8) ENGINE = Memory"})

        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{clickhouse_server}/?{query}")

        with caught.value as error:
            assert error.headers["X-ClickHouse-Exception-Code"] == "164"

    def test_a_refused_insert_is_an_error(self, clickhouse_server: str) -> None:
        ask(clickhouse_server, b"CREATE DATABASE IF NOT EXISTS apart ENGINE = Atomic")
        ask(clickhouse_server, b"CREATE TABLE apart.t (a UInt64) ENGINE = MergeTree ORDER BY a PARTITION BY a")
        rows = b"".join(b"%d\n" % number for number in range(20))

        refused = ask(
            clickhouse_server, b"INSERT INTO apart.t FORMAT TSV\n" + rows, max_partitions_per_insert_block="10"
        )
        taken = ask(clickhouse_server, b"INSERT INTO apart.t FORMAT TSV\n" + rows)

        assert refused[2] == "252"
        assert taken[0] == 200
        assert ask(clickhouse_server, b"SELECT count() FROM apart.t")[1] == b"20\n"
        ask(clickhouse_server, b"DROP DATABASE apart SYNC")

    def test_a_session_keeps_its_temporary_tables(self, clickhouse_server: str) -> None:
        session = str(uuid.uuid4())
        ask(clickhouse_server, b"CREATE TEMPORARY TABLE mine (a UInt8)", session_id=session)
        ask(clickhouse_server, b"INSERT INTO mine VALUES (5)", session_id=session)

        assert ask(clickhouse_server, b"SELECT a FROM mine", session_id=session)[1] == b"5\n"
        assert ask(clickhouse_server, b"SELECT a FROM mine")[2] == "60"

    def test_a_query_id_runs_once_at_a_time(self, clickhouse_server: str) -> None:
        query_id = str(uuid.uuid4())
        answers: list[tuple[int, bytes, str]] = []
        slow = threading.Thread(
            target=lambda: answers.append(
                ask(clickhouse_server, b"SELECT sleep(2)", query_id=query_id, log_comment=query_id)
            )
        )
        slow.start()
        running = f"SELECT count() FROM system.processes WHERE Settings['log_comment'] = '{query_id}'".encode()
        while ask(clickhouse_server, running)[1] != b"1\n":
            time.sleep(0.01)

        assert ask(clickhouse_server, b"SELECT 1", query_id=query_id)[2] == "216"
        slow.join()
        assert answers[0][0] == 200
        assert ask(clickhouse_server, b"SELECT 1", query_id=query_id)[1] == b"1\n"

    def test_the_ordinary_client_reads_and_writes_its_native_blocks(self, clickhouse_server: str) -> None:
        """More rows than one frame of its compression holds."""
        address = urllib.parse.urlsplit(clickhouse_server)
        for compress in ("lz4", "zstd", "gzip", False):
            client = clickhouse_connect.get_client(host=address.hostname, port=address.port, compress=compress)
            client.command("CREATE TEMPORARY TABLE many (n UInt64, s String)")
            client.insert("many", [[n, str(n)] for n in range(150_000)], column_names=["n", "s"])

            answer = client.query("SELECT count(), sum(n), uniqExact(s) FROM many").result_rows
            rows = client.query("SELECT n FROM many ORDER BY n DESC LIMIT 2").result_rows
            client.close()

            assert answer == [(150_000, 150_000 * 149_999 // 2, 150_000)]
            assert rows == [(149_999,), (149_998,)]


def test_a_free_port_can_be_bound() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as listener:
        assert listener.getsockname()[1] > 0
