"""The store in both forms: what goes in comes out, byte for byte, and the engine is used as measured."""

import asyncio
import datetime as dt
import threading

import pyarrow as pa
import pytest

from kobs.errors import ConfigError, StorageError
from kobs.storage.clickhouse import Store

TIME_NS = 1_767_323_045_678_901_234


def log_rows(bodies: list[bytes], *, first_ns: int = TIME_NS, step_ns: int = 1) -> pa.Table:
    """Return rows of the table logs with these bodies, in the columns that have no usable default."""
    count = len(bodies)
    return pa.table(
        {
            "ts": pa.array([first_ns + i * step_ns for i in range(count)], pa.timestamp("ns", "UTC")),
            "received": pa.array([TIME_NS // 1_000_000] * count, pa.timestamp("ms", "UTC")),
            "cluster": pa.array(["east"] * count).dictionary_encode(),
            "namespace": pa.array(["shop"] * count).dictionary_encode(),
            "stream": pa.array([2**64 - 1] * count, pa.uint64()),
            "body": pa.array(bodies, pa.binary()),
            "attrs": pa.array([[("k", "v"), ("é", "")]] * count, pa.map_(pa.string(), pa.string())),
            "segment": pa.array([-1] * count, pa.int64()),
            "offset": pa.array(range(count), pa.uint64()),
            "keep_days": pa.array([7] * count, pa.uint16()),
        }
    )


@pytest.mark.clickhouse
class TestRows:
    def test_bytes_that_are_no_text_come_back_as_they_were(self, store: Store) -> None:
        bodies = [
            b"plain",
            b"\xff\xfe\x00zero",
            "é \u2028 \U0001f600".encode(),
            b"",
            b"'\\\"`\n\t\r",
            bytes(range(256)),
        ]

        store.insert("logs", log_rows(bodies))

        rows = store.select("SELECT body FROM logs ORDER BY offset", binary=True)
        assert rows.schema.field("body").type == pa.binary()
        assert rows["body"].to_pylist() == bodies

    def test_every_kind_of_column_comes_back(self, store: Store) -> None:
        store.insert("logs", log_rows([b"one"]))

        (row,) = store.select(
            "SELECT toUnixTimestamp64Nano(ts) AS ns, received, cluster, stream, attrs, segment, size, "
            "toDate(ts) AS day FROM logs"
        ).to_pylist()
        assert row == {
            "ns": TIME_NS,
            "received": dt.datetime.fromtimestamp(TIME_NS // 1_000_000 / 1000, tz=dt.UTC),
            "cluster": "east",
            "stream": 2**64 - 1,
            "attrs": [("k", "v"), ("é", "")],
            "segment": -1,
            "size": 0,
            "day": dt.date(2026, 1, 2),
        }

    @pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
    def test_a_timestamp_keeps_its_instant_whatever_its_unit(self, store: Store, unit: str) -> None:
        ticks = {"s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}[unit]
        store.command("CREATE TABLE times (three DateTime64(3, 'UTC'), nine DateTime64(9, 'UTC')) ENGINE = Memory")
        column = pa.array([1_700_000_000 * ticks], pa.timestamp(unit, "UTC"))

        store.insert("times", pa.table({"three": column, "nine": column}))

        answer = store.select("SELECT toUnixTimestamp(three) AS three, toUnixTimestamp(nine) AS nine FROM times")
        assert answer.to_pylist() == [{"three": 1_700_000_000, "nine": 1_700_000_000}]

    @pytest.mark.parametrize(
        "column",
        [
            pa.array([TIME_NS], pa.int64()),
            pa.array([1], pa.uint32()),
            pa.array([1.5], pa.float64()),
            pa.array([TIME_NS], pa.int64()).dictionary_encode(),
        ],
        ids=["int64", "uint32", "float64", "dictionary"],
    )
    def test_a_number_for_a_time_is_refused(self, store: Store, column: pa.Array) -> None:
        with pytest.raises(StorageError, match="takes timestamps") as caught:
            store.insert("logs", pa.table({"ts": column, "body": ["x"]}))

        assert caught.value.name == "TYPE_MISMATCH"
        assert store.select("SELECT count() AS n FROM logs")["n"].to_pylist() == [0]

    def test_the_engine_still_reads_such_a_number_as_seconds(self, store: Store) -> None:
        """The reason of the refusal: milliseconds saturate in silence."""
        answer = store.select("SELECT toYear(CAST(1767323045678 AS DateTime64(3, 'UTC'))) > 2200 AS absurd")

        assert answer["absurd"].to_pylist() == [1]

    def test_a_column_that_the_table_lacks_is_refused(self, store: Store) -> None:
        with pytest.raises(StorageError, match="no column colour"):
            store.insert("logs", pa.table({"colour": ["red"]}))

    def test_a_table_that_is_not_there_is_refused(self, store: Store) -> None:
        with pytest.raises(StorageError, match="no table nowhere"):
            store.insert("nowhere", pa.table({"a": [1]}))

    def test_no_rows_are_no_insert(self, store: Store) -> None:
        store.insert("logs", log_rows([]))

        assert store.select("SELECT count() AS n FROM logs")["n"].to_pylist() == [0]

    def test_chunked_dictionaries_arrive_as_one_block(self, store: Store) -> None:
        """Chunks with different dictionaries are one stream and one part."""
        rows = pa.concat_tables(
            [log_rows([b"a"]), log_rows([b"b"]).set_column(3, "namespace", [pa.array(["bank"]).dictionary_encode()])]
        )

        store.insert("logs", rows)

        assert store.select("SELECT namespace FROM logs ORDER BY body")["namespace"].to_pylist() == ["shop", "bank"]
        parts = store.select(
            "SELECT count() AS n FROM system.parts WHERE database = currentDatabase() AND table = 'logs'"
        )
        assert parts["n"].to_pylist() == [1]

    def test_a_large_insert_arrives_whole(self, store: Store) -> None:
        """More than one frame and more than one block of the protocol."""
        count = 300_000
        numbers = pa.array(range(count), pa.uint64())
        store.command("CREATE TABLE numbers_in (n UInt64, s String) ENGINE = MergeTree ORDER BY n")

        store.insert("numbers_in", pa.table({"n": numbers, "s": numbers.cast(pa.string())}))

        answer = store.select(
            "SELECT count() AS rows, sum(n) AS total, countIf(s = toString(n)) AS same FROM numbers_in"
        )
        assert answer.to_pylist() == [{"rows": count, "total": count * (count - 1) // 2, "same": count}]
        assert store.select("SELECT n FROM numbers_in ORDER BY n")["n"].to_pylist() == list(range(count))

    def test_no_rows_are_an_empty_table_with_its_columns(self, store: Store) -> None:
        answer = store.select("SELECT body, ts FROM logs")

        assert answer.num_rows == 0
        assert answer.column_names == ["body", "ts"]

    def test_the_size_on_disk_grows_with_the_rows(self, store: Store) -> None:
        before = store.tables_bytes()

        store.insert("logs", log_rows([b"x" * 1000] * 100))

        assert store.tables_bytes() > before


@pytest.mark.clickhouse
class TestStatements:
    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            ("String", 'it\'s "q" \\ \n\t\x00 é {x:String} %s'),
            ("UInt64", 2**64 - 1),
            ("Int64", -(2**63)),
            ("Float64", -0.1),
            ("Bool", True),
            ("UInt8", 1),
            ("Array(String)", ["a'b", "", "c\\"]),
            ("Array(UInt64)", []),
            ("Nullable(String)", None),
        ],
        ids=["text", "uint64", "int64", "float", "bool", "bool-as-int", "texts", "empty", "null"],
    )
    def test_a_parameter_is_bound_by_the_engine(self, shared_store: Store, kind: str, value: object) -> None:
        assert shared_store.select(f"SELECT {{x:{kind}}} AS x", {"x": value})["x"].to_pylist() == [value]

    def test_a_time_is_bound_with_its_fraction(self, shared_store: Store) -> None:
        moment = dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=dt.timezone(dt.timedelta(hours=2)))

        answer = shared_store.select("SELECT toUnixTimestamp64Micro({x:DateTime64(6, 'UTC')}) AS us", {"x": moment})

        assert answer["us"].to_pylist() == [1_767_315_845_678_901]

    def test_a_large_parameter_is_bound(self, shared_store: Store) -> None:
        values = [f"value-{i}" for i in range(20_000)]

        answer = shared_store.select(
            "SELECT length({x:Array(String)}) AS n, {x:Array(String)}[-1] AS last", {"x": values}
        )

        assert answer.to_pylist() == [{"n": 20_000, "last": "value-19999"}]

    @pytest.mark.parametrize(
        ("sql", "value"),
        [
            ("SELECT {x:Map(String, String)}", {"a": "b"}),
            ("SELECT {x:String}", b"\xff"),
            ("SELECT {x:DateTime64(3, 'UTC')}", dt.datetime(2026, 1, 2)),  # noqa: DTZ001  # the fault under test
            ("SELECT %(x)s", "text"),
            ("SELECT {y:String}", "text"),
        ],
        ids=["map", "bytes", "time-without-zone", "written-into-the-text", "no-place"],
    )
    def test_a_parameter_that_cannot_be_bound_is_refused(self, shared_store: Store, sql: str, value: object) -> None:
        with pytest.raises(StorageError, match="parameter x"):
            shared_store.select(sql, {"x": value})

    def test_two_arrays_stand_for_a_map(self, shared_store: Store) -> None:
        answer = shared_store.select(
            "SELECT mapFromArrays({k:Array(String)}, {v:Array(String)})['b'] AS b", {"k": ["a", "b"], "v": ["1", "2"]}
        )

        assert answer["b"].to_pylist() == ["2"]

    @pytest.mark.parametrize(
        "sql",
        [
            "SELECT 1 AS a;",
            "SELECT 1 AS a -- note",
            "SELECT 1 AS a SETTINGS max_threads = 1",
            "WITH 1 AS x SELECT x AS a UNION ALL SELECT 2 AS a WHERE 0",
        ],
        ids=["semicolon", "comment", "own-settings", "union"],
    )
    def test_statements_may_end_as_they_like(self, shared_store: Store, sql: str) -> None:
        answer = shared_store.select(sql, settings={"max_block_size": 100}, comment="it's \\ a (comment)")

        assert answer["a"].to_pylist() == [1]

    def test_a_setting_of_a_call_ends_with_the_call(self, shared_store: Store) -> None:
        sql = "SELECT getSetting('max_block_size') AS n"
        before = shared_store.select(sql)["n"].to_pylist()

        assert shared_store.select(sql, settings={"max_block_size": 77})["n"].to_pylist() == [77]
        shared_store.command("SELECT 1", settings={"max_block_size": 78}, comment="c")
        assert shared_store.select(sql)["n"].to_pylist() == before

    def test_many_threads_share_the_clients(self, shared_store: Store) -> None:
        wrong: list[object] = []

        def work(number: int) -> None:
            for i in range(20):
                answer = shared_store.select("SELECT {x:UInt64} AS x", {"x": number * 1000 + i})["x"].to_pylist()
                if answer != [number * 1000 + i]:
                    wrong.append(answer)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert wrong == []
        assert len(shared_store._opened) <= 4

    def test_run_works_off_the_event_loop(self, shared_store: Store) -> None:
        async def both() -> tuple[pa.Table, str]:
            rows = await shared_store.run(shared_store.select, "SELECT 1 AS a", comment="c")
            return rows, await shared_store.run(lambda: threading.current_thread().name)

        rows, thread = asyncio.run(both())

        assert rows["a"].to_pylist() == [1]
        assert thread.startswith("store")


@pytest.mark.clickhouse
class TestOpening:
    def test_the_settings_of_the_session_are_set(self, shared_store: Store) -> None:
        wanted = {
            "use_top_k_dynamic_filtering": "0",
            "allow_experimental_time_series_aggregate_functions": "1",
            "max_execution_time": "30",
            "max_memory_usage": str(1024**3),
            "date_time_input_format": "best_effort",
            "async_insert": "0",
        }

        rows = shared_store.select(
            "SELECT name, value FROM system.settings WHERE name IN {n:Array(String)}", {"n": list(wanted)}
        )

        assert dict(zip(rows["name"].to_pylist(), rows["value"].to_pylist(), strict=True)) == wanted

    def test_the_database_is_atomic(self, shared_store: Store) -> None:
        rows = shared_store.select("SELECT engine FROM system.databases WHERE name = currentDatabase()")

        assert rows["engine"].to_pylist() == ["Atomic"]

    def test_a_closed_store_says_so(self, store_url: str, database_name: str) -> None:
        opened = Store(store_url, database=database_name)
        opened.command(f"DROP DATABASE {database_name} SYNC")
        opened.close()

        with pytest.raises(StorageError, match="closed"):
            opened.select("SELECT 1")
        with pytest.raises(StorageError, match="closed"):
            opened.kill("x")

    def test_rows_are_there_after_reopening(self, store_url: str, database_name: str) -> None:
        first = Store(store_url, database=database_name)
        first.insert("logs", log_rows([b"kept"]))
        first.close()

        second = Store(store_url, database=database_name)
        try:
            assert second.select("SELECT body FROM logs")["body"].to_pylist() == ["kept"]
        finally:
            second.command(f"DROP DATABASE {database_name} SYNC")
            second.close()

    def test_a_path_in_the_url_names_the_database(self, clickhouse_server: str, database_name: str) -> None:
        opened = Store(f"{clickhouse_server}/{database_name}")
        try:
            assert opened.database == database_name
            assert opened.select("SELECT currentDatabase() AS d")["d"].to_pylist() == [database_name]
        finally:
            opened.command(f"DROP DATABASE {database_name} SYNC")
            opened.close()

    @pytest.mark.parametrize(
        ("url", "database", "message"),
        [
            ("ftp://host", "kobs", "chdb:///folder"),
            ("chdb://relative/folder", "kobs", "absolute"),
            ("chdb://", "kobs", "absolute"),
            ("http://", "kobs", "no host"),
            ("http://host:99999", "kobs", "port"),
            ("http://host/a-b", "kobs", "a-b"),
            ("http://host", "x; DROP", "storage.database"),
            ("chdb:///proc/no", "kobs", "cannot be written"),
        ],
        ids=["scheme", "relative", "no-folder", "no-host", "port", "database-in-url", "database", "folder"],
    )
    def test_a_wrong_address_is_refused(self, url: str, database: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            Store(url, database=database)


@pytest.mark.clickhouse
def test_changes_of_a_table_are_told_where_nobody_else_makes_any(store: Store) -> None:
    """The number is another one after an insert, a failed one too, and after a command; others' tables do not count."""
    if not store.embedded:
        assert store.changes("logs") is None
        return
    seen = [store.changes("logs")]
    store.insert("logs", log_rows([b"a"]))
    seen.append(store.changes("logs"))
    with pytest.raises(StorageError):
        store.insert("logs", log_rows([b"a"]), settings={"no_such_setting": 1})
    seen.append(store.changes("logs"))
    store.command("TRUNCATE TABLE logs")
    seen.append(store.changes("logs"))
    assert len(set(seen)) == 4
    store.select("SELECT 1")
    assert store.changes("logs") == seen[-1]
    other = store.changes("log_streams")
    store.insert("logs", log_rows([b"a"]))
    assert store.changes("log_streams") == other


def test_an_unmarked_test_cannot_open_a_store() -> None:
    with pytest.raises(pytest.fail.Exception, match="clickhouse"):
        Store("chdb:///nowhere")
