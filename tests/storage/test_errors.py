"""The engine's errors as kobs's own: by what the caller does next, and without what users wrote."""

import time
import traceback

import pytest

from kobs.errors import ConfigError, KobsError, LimitError, RetryableError, StorageError
from kobs.storage.clickhouse import Store
from kobs.storage.engine_errors import from_engine, from_opening
from tests.ports import free_port
from tests.storage.rows import line_rows

SLOW = "SELECT sum(sipHash64(number)) AS s FROM numbers(1000000000000)"
BIG = "SELECT uniqExact(number) AS n FROM numbers(100000000)"


@pytest.mark.clickhouse
class TestOfTheEngine:
    def test_a_statement_that_takes_too_long_is_a_limit(self, shared_store: Store) -> None:
        with pytest.raises(LimitError, match=r"storage\.query_timeout_seconds"):
            shared_store.select(SLOW, settings={"max_execution_time": 0.2})

    def test_a_statement_that_takes_too_much_memory_is_a_limit(self, shared_store: Store) -> None:
        with pytest.raises(LimitError, match=r"storage\.max_memory_bytes"):
            shared_store.select(BIG, settings={"max_memory_usage": 50_000_000})

    def test_an_insert_into_too_many_partitions_is_a_limit(self, store: Store) -> None:
        """Trying again would not help: the caller must cut it."""
        store.insert("logs", line_rows(50, step_ms=86_400_000))
        with pytest.raises(LimitError, match="fewer partitions"):
            store.insert("logs", line_rows(51, step_ms=86_400_000))

        assert store.select("SELECT count() AS n FROM logs")["n"].to_pylist() == [50]

    def test_too_many_parts_pass(self, store: Store) -> None:
        store.command(
            "CREATE TABLE crowded (n UInt64) ENGINE = MergeTree ORDER BY n "
            "SETTINGS parts_to_throw_insert = 2, parts_to_delay_insert = 1, max_delay_to_insert = 1"
        )
        store.command("SYSTEM STOP MERGES crowded")

        def crowd() -> None:
            for number in range(5):
                store.command(f"INSERT INTO crowded SELECT {number}")

        with pytest.raises(RetryableError):
            crowd()

    @pytest.mark.parametrize(
        ("sql", "name"),
        [
            ("SELECT nothing FROM logs", "UNKNOWN_IDENTIFIER"),
            ("SELECT 1 FROM nowhere", "UNKNOWN_TABLE"),
            ("SELECT FROM WHERE", "SYNTAX_ERROR"),
            ("SELECT {x:UInt8} AS a", "UNKNOWN_QUERY_PARAMETER"),
        ],
        ids=["column", "table", "syntax", "parameter"],
    )
    def test_a_statement_that_the_engine_refuses_is_a_defect(self, shared_store: Store, sql: str, name: str) -> None:
        with pytest.raises(StorageError) as caught:
            shared_store.select(sql)

        assert caught.value.name == name

    @pytest.mark.parametrize(
        ("sql", "value"),
        [
            ("SELECT toUInt8({x:String})", "s3cret"),
            ("SELECT {x:UInt8}", "s3cret"),
            ("SELECT throwIf(1, {x:String})", "s3cret"),
            ("SELECT {x:String} AS a, nothing", "s3cret"),
            ("SELECT 's3cret' +", "{x:String}"),
            ("SELECT parseDateTime64BestEffort({x:String})", "s3cret"),
            ("SELECT JSONExtractString({x:String}, 1, 's3cret', nothing)", "s3cret"),
        ],
        ids=["cast", "binding", "thrown", "analysis", "syntax", "time", "function"],
    )
    def test_no_message_holds_what_users_wrote(self, shared_store: Store, sql: str, value: str) -> None:
        with pytest.raises(KobsError) as caught:
            shared_store.select(sql, {"x": value} if "{x:" in sql else None)

        assert "s3cret" not in str(caught.value)
        assert len(str(caught.value)) < 500

    @pytest.mark.parametrize(
        "fails",
        [
            "SELECT throwIf(number = 300000) AS n FROM numbers(1000000) SETTINGS max_block_size = 1000",
            f"{SLOW} SETTINGS max_execution_time = 0.2",
            f"{BIG} SETTINGS max_memory_usage = 50000000",
        ],
        ids=["in-a-row", "time", "memory"],
    )
    def test_what_a_failed_statement_had_answered_is_in_no_later_answer(self, shared_store: Store, fails: str) -> None:
        """The engine keeps the beginning of a failed statement's answer on its handle: another reader would get it."""
        for _ in range(2):
            with pytest.raises(KobsError):
                shared_store.select(fails)
            for _ in range(4):
                assert shared_store.select("SELECT 42 AS n").to_pylist() == [{"n": 42}]

    def test_a_failed_insert_leaves_later_ones_whole(self, store: Store) -> None:
        with pytest.raises(LimitError):
            store.insert("logs", line_rows(51, step_ms=86_400_000))

        store.insert("logs", line_rows(3))

        assert store.select("SELECT count() AS n FROM logs")["n"].to_pylist() == [3]

    def test_a_command_cannot_lock_its_client_read_only(self, store: Store) -> None:
        with pytest.raises(StorageError) as caught:
            store.command("SELECT 1", settings={"readonly": 1})

        assert caught.value.name == "READONLY"
        store.insert("logs", line_rows(1))


@pytest.mark.clickhouse
def test_a_server_that_is_not_there_passes() -> None:
    begun = time.monotonic()

    with pytest.raises(RetryableError):
        Store(f"http://127.0.0.1:{free_port()}")

    assert time.monotonic() - begun < 60


@pytest.mark.parametrize(
    ("code", "name", "text", "kind"),
    [
        (241, "MEMORY_LIMIT_EXCEEDED", "(total) memory limit exceeded: would use 702.91 MiB", RetryableError),
        (243, "NOT_ENOUGH_SPACE", "Cannot reserve 1.00 MiB, not enough space", RetryableError),
        (1001, "STD_EXCEPTION", "std::exception. write failed: No space left on device", RetryableError),
        (75, "CANNOT_WRITE_TO_FILE_DESCRIPTOR", "Cannot write to file, errno: 28, strerror: x", RetryableError),
        (202, "TOO_MANY_SIMULTANEOUS_QUERIES", "Too many simultaneous queries", RetryableError),
        (252, "TOO_MANY_PARTS", "Too many parts (300). Merges are processing significantly slower", RetryableError),
        (252, "TOO_MANY_PARTS", "Too many partitions for single INSERT block (more than 50)", LimitError),
        (None, None, "Connection refused", RetryableError),
        (60, "UNKNOWN_TABLE", "Table x does not exist", StorageError),
    ],
    ids=["whole-memory", "space", "disk-full-std", "disk-full", "queries", "parts", "partitions", "network", "other"],
)
def test_each_code_has_its_branch(code: int | None, name: str | None, text: str, kind: type[KobsError]) -> None:
    error = from_engine(f"Code: {code}. DB::Exception: {text}. ({name})", code=code, name=name, doing="insert")

    assert type(error) is kind
    assert str(error).startswith("insert: ")


def test_a_storage_error_carries_code_and_name() -> None:
    error = from_engine("Code: 60. DB::Exception: Gone. (UNKNOWN_TABLE)", code=60, name="UNKNOWN_TABLE", doing="select")

    assert isinstance(error, StorageError)
    assert (error.code, error.name) == (60, "UNKNOWN_TABLE")
    assert "select: Gone (UNKNOWN_TABLE, code 60)" in "".join(traceback.format_exception_only(error))


@pytest.mark.parametrize(
    ("text", "locked", "message"),
    [
        ("Code: 36. DB::Exception: Error initializing EmbeddedServer: .", True, "another kobs runs on the folder"),
        ("Code: 36. EmbeddedServer already initialized with path /other", False, "on another folder than"),
    ],
    ids=["other-process", "other-folder"],
)
def test_a_folder_in_use_is_a_setting_to_change(text: str, locked: bool, message: str) -> None:  # noqa: FBT001  # a case
    error = from_opening(text, folder="/data", locked=locked)

    assert isinstance(error, ConfigError)
    assert message in str(error)
