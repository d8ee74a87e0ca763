"""ClickHouse through one class, embedded in this process or by HTTP.

Arrow tables arrive and leave, parameters are bound by the engine, errors are kobs's own. Statements of one caller run
in the order of the calls; those of different callers run side by side, at most `threads` of them. An insert that
returned is in the store. One that raised may be there or not, or in part of its partitions: it is never sent a second
time from here, because only the caller can tell which of its rows are missing.
"""

import asyncio
import contextlib
import functools
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar
from urllib.parse import unquote, urlsplit

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error as EngineError

from kobs.errors import ConfigError, KobsError, StorageError
from kobs.storage import arrow, binding, embedded, engine_errors, migrations
from kobs.storage.changes import ANY_TABLE, ANY_TIME, Changes
from kobs.storage.insert_files import InsertFiles

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_MAX_MEMORY_BYTES = 2 * 1024**3

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_HTTP_MARGIN_SECONDS = 10.0
_ACCESS_ERRORS = frozenset(
    {192, 193, 194, 516}
)  # unknown user, wrong password, required password, authentication failed


class Store:
    """A ClickHouse database: `chdb:///folder` for the engine in this process, `http(s)://user:password@host:8123`.

    Opening makes the database and brings its schema to the newest version. A path in an http URL names the database.
    All methods may be called from any thread; with the embedded engine not from a server's main thread, whose signals
    would wait for the statement. Of `max_memory_bytes` the embedded engine takes no more in all, and a statement half.

    Raises: ConfigError if the URL is wrong, another process has the folder open or the schema is not this kobs's;
        RetryableError if the server cannot be reached.
    """

    def __init__(
        self,
        url: str,
        *,
        database: str = "kobs",
        threads: int = 8,
        max_memory_bytes: int = DEFAULT_MAX_MEMORY_BYTES,
        query_timeout_seconds: float = 30.0,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("chdb", "http", "https"):
            raise ConfigError(f"storage.url: expected chdb:///folder or http(s)://host:8123, got {parts.scheme}://")
        self.embedded = parts.scheme == "chdb"
        if not self.embedded and parts.path.strip("/"):
            database = unquote(parts.path.strip("/"))
        if _IDENTIFIER.fullmatch(database) is None:
            raise ConfigError(f"storage.database: expected letters, digits and _, got {database!r}")
        self.database = database
        self._settings: dict[str, str] = {
            "use_top_k_dynamic_filtering": "0",
            "allow_experimental_time_series_aggregate_functions": "1",
            "max_execution_time": str(query_timeout_seconds),
            "max_threads_min_free_memory_per_thread": "0",
            "max_memory_usage": str(max_memory_bytes // 2),
            "date_time_input_format": "best_effort",
            "async_insert": "0",
            "max_partitions_per_insert_block": "50",
            "output_format_arrow_compression_method": "none",
            "output_format_arrow_string_as_string": "1",
        }
        if self.embedded:
            self._connect = _embedded_opener(parts.netloc, parts.path, max_memory_bytes=max_memory_bytes)
        else:
            self._connect = _http_opener(url, answer_seconds=query_timeout_seconds + _HTTP_MARGIN_SECONDS)
        self._idle: list[Client] = []
        self._opened: list[Client] = []
        self._free = threading.BoundedSemaphore(threads)
        self._lock = threading.Lock()
        self._closed = False
        self._killing = threading.Lock()
        self._columns: dict[str, dict[str, str]] = {}
        self._changes = Changes()
        self._insert_files = InsertFiles()
        # it also keeps the embedded engine open while the pool has no handle
        self._killer = self._make_database()
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="store")
        try:
            migrations.apply_schema(self)
        except BaseException:
            self.close()
            raise

    def select(
        self,
        sql: str,
        parameters: Mapping[str, object] | None = None,
        *,
        settings: Mapping[str, object] | None = None,
        comment: str = "",
        binary: bool = False,
    ) -> pa.Table:
        """Return the rows of a statement that answers rows.

        `{name:Type}` in the text takes its value from `parameters`. `binary=True` returns String columns as
        `pa.binary()`, for those that may hold any bytes. `comment` marks the running statement for `kill`; a server's
        logs show it too, at the beginning of the query id. `settings` go before those of the store.

        Shape: the engine's columns in Arrow's types: DateTime64 as timestamp, Date as date32, String and
        LowCardinality(String) as string, Map as map; DateTime comes as uint32 seconds.
        Raises: LimitError at the limit of time or memory; RetryableError for passing faults; StorageError else.
        """
        of_statement = dict(settings or {})
        if binary:
            of_statement["output_format_arrow_string_as_string"] = 0
        clause = binding.settings_clause(binding.with_comment(of_statement, comment))
        text = f"{sql.rstrip().rstrip(';')}\nFORMAT ArrowStream{clause}"
        bound = binding.checked_parameters(sql, parameters)
        with self._client() as client, _mapped("select"):
            return arrow.read(client.raw_query(text, parameters=bound, settings=self._query_id(comment)))

    def insert(
        self,
        table: str,
        rows: pa.Table,
        *,
        settings: Mapping[str, object] | None = None,
        comment: str = "",
        earliest_ms: int = ANY_TIME,
    ) -> None:
        """Insert `rows` into a table of this database; columns that they lack take their defaults.

        When it returns, the rows are in the store. `rows` should lie in at most 50 partitions. `earliest_ms` is the
        earliest time of theirs, for `unchanged_before_ms`.

        Raises: StorageError if the rows do not fit the table; LimitError, RetryableError as `select`.
        """
        if _IDENTIFIER.fullmatch(table) is None:
            raise StorageError(f"insert: {table!r} is no table name", code=60, name="UNKNOWN_TABLE")
        if rows.num_rows == 0:
            return
        arrow.check(table, rows, self._columns_of(table))
        with self._changes.changing(table, earliest_ms=earliest_ms):
            self._insert(table, rows, settings=settings, comment=comment)

    def changes(self, table: str) -> int | None:
        """Return a number that is another one after each change of a table from here; None where others change it too.

        It changes before and after an insert: what was read between two equal numbers is what there is.
        """
        return self._changes.number(table) if self.embedded else None

    def unchanged_before_ms(self, table: str, number: int) -> int:
        """Return the time before which a table's rows are what they were when `changes` returned a number."""
        return self._changes.unchanged_before_ms(table, number)

    def _insert(self, table: str, rows: pa.Table, *, settings: Mapping[str, object] | None, comment: str) -> None:
        """Insert rows that fit the table."""
        of_statement = binding.with_comment(settings, comment)
        columns = ", ".join("`" + name.replace("`", "``") + "`" for name in rows.column_names)
        content = arrow.write(rows, compress=not self.embedded)
        with self._client() as client, _mapped(f"insert into {table}"):
            if self.embedded and self._insert_files.are_there():
                with self._insert_files.holding(memoryview(content)) as path:
                    client.command(
                        f"INSERT INTO {self.database}.{table} ({columns}) FROM INFILE '{path}'"
                        f"{binding.settings_clause(of_statement)} FORMAT ArrowStream"
                    )
                return
            client.raw_insert(
                f"{self.database}.{table}",
                column_names=rows.column_names,
                # a buffer, because the client sends bytes a second time when the connection breaks: doubled rows
                insert_block=memoryview(content),  # type: ignore[arg-type]  # it takes any buffer
                fmt="ArrowStream",
                settings={**of_statement, **self._query_id(comment), "wait_end_of_query": "1"},
            )

    def command(
        self,
        sql: str,
        parameters: Mapping[str, object] | None = None,
        *,
        settings: Mapping[str, object] | None = None,
        comment: str = "",
    ) -> None:
        """Run a statement that answers nothing.

        Raises: as `select`.
        """
        of_statement = binding.with_comment(settings, comment)
        if "readonly" in of_statement:
            # a handle of the embedded engine stays read-only for ever: the way back is refused too
            raise StorageError("command: the setting readonly cannot be given", code=164, name="READONLY")
        bound = binding.checked_parameters(sql, parameters)
        with self._changes.changing(ANY_TABLE), self._client() as client, _mapped("command"):
            client.command(sql, parameters=bound, settings={**of_statement, **self._query_id(comment)})
        self._columns.clear()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a synchronous function that uses this store in the store's threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, functools.partial(function, *args, **kwargs))

    def kill(self, comment_prefix: str) -> None:
        """Stop the running statements whose comment begins with `comment_prefix`, and return when they have ended.

        Their callers get a StorageError with the name QUERY_WAS_CANCELLED. It has a connection of its own, so that it
        works while all others are busy.
        """
        if not comment_prefix:
            raise StorageError("kill: an empty prefix would stop every statement", code=36, name="BAD_ARGUMENTS")
        with self._killing, _mapped("kill"):
            if self._closed:
                raise _closed()
            self._killer.command(
                "KILL QUERY WHERE user = currentUser() AND startsWith(Settings['log_comment'], {prefix:String}) SYNC",
                parameters={"prefix": comment_prefix},
            )

    def knows_setting(self, name: str) -> bool:
        """Tell whether the engine has a setting: older servers lack some, and refuse a statement that names one."""
        return name in self._killer.server_settings

    def tables_bytes(self) -> int:
        """Return the bytes that the tables' parts take on the store's disks, those soon deleted included."""
        answer = self.select(
            "SELECT sum(bytes_on_disk) AS bytes FROM system.parts WHERE database = {database:String}",
            {"database": self.database},
        )
        return int(answer["bytes"][0].as_py())

    def close(self) -> None:
        """Wait for running statements and close; later calls raise."""
        with self._lock:
            self._closed = True
        self._executor.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            clients, self._opened, self._idle = self._opened, [], []
        for client in clients:
            client.close()
        with self._killing:
            self._killer.close()
        self._insert_files.close()

    def _make_database(self) -> Client:
        """Make the database where it is missing, and return the first client.

        It must be Atomic: the engine's own default database lacks renames and refreshable views.
        """
        try:
            with _mapped("open the store"):
                client = self._connect()
        except StorageError as error:
            if error.code in _ACCESS_ERRORS:
                raise ConfigError(f"storage.url: the server refuses user or password ({error.name})") from error
            raise
        try:
            with _mapped(f"create database {self.database}"):
                client.command(f"CREATE DATABASE IF NOT EXISTS {self.database} ENGINE = Atomic")
            self._prepare(client)
        except BaseException:
            client.close()
            raise
        return client

    def _prepare(self, client: Client) -> None:
        """Give a new client the database and the settings that its engine knows."""
        client.database = self.database
        for name, value in self._settings.items():
            if name in client.server_settings:
                client.set_client_setting(name, value)

    def _open_client(self) -> Client:
        client = self._connect()
        try:
            self._prepare(client)
        except BaseException:
            client.close()
            raise
        with self._lock:
            self._opened.append(client)
        return client

    @contextlib.contextmanager
    def _client(self) -> Iterator[Client]:
        """Lend a client to one statement: a handle runs one at a time."""
        with self._free:
            with self._lock:
                if self._closed:
                    raise _closed()
                client = self._idle.pop() if self._idle else None
            if client is None:
                with _mapped("connect"):
                    client = self._open_client()
            whole = not self.embedded
            try:
                yield client
                whole = True
            finally:
                with self._lock:
                    if whole:
                        self._idle.append(client)
                    elif client in self._opened:
                        self._opened.remove(client)
                if not whole:
                    # what a failed statement had answered so far would begin the answer of the handle's next one
                    client.close()

    def _query_id(self, comment: str) -> dict[str, str]:
        """Return the setting that shows a marked statement in a server's logs; the embedded engine makes its own."""
        return {"query_id": f"{comment}:{uuid.uuid4().hex}"} if comment and not self.embedded else {}

    def _columns_of(self, table: str) -> dict[str, str]:
        """Return the types of a table's columns by name, kept until the next command."""
        columns = self._columns.get(table)
        if columns is None:
            rows = self.select(
                "SELECT name, type FROM system.columns WHERE database = {database:String} AND table = {table:String}",
                {"database": self.database, "table": table},
            )
            columns = dict(zip(rows["name"].to_pylist(), rows["type"].to_pylist(), strict=True))
            if columns:
                self._columns[table] = columns
        return columns


def _embedded_opener(netloc: str, path: str, *, max_memory_bytes: int) -> Callable[[], Client]:
    """Return what opens a handle of the engine on a folder."""
    if netloc or not path.startswith("/") or path == "/":
        raise ConfigError(f"storage.url: expected chdb:///absolute/folder, got chdb://{netloc}{path}")
    folder = Path(unquote(path))
    config = embedded.write_config(folder, max_memory_bytes=max_memory_bytes)

    def connect() -> Client:
        try:
            return clickhouse_connect.get_client(
                interface="chdb", path=str(folder), chdb_options={"config-file": str(config)}
            )
        except ImportError as error:
            raise ConfigError(
                "storage.url: the embedded engine is not installed: pip install kobs[embedded]"
            ) from error
        except EngineError as error:
            raise engine_errors.from_opening(
                str(error), folder=str(folder), locked=embedded.is_locked(folder)
            ) from error

    return connect


def _http_opener(url: str, *, answer_seconds: float) -> Callable[[], Client]:
    """Return what opens a client of a server."""
    parts = urlsplit(url)
    try:
        port = parts.port or (8443 if parts.scheme == "https" else 8123)
    except ValueError as error:
        raise ConfigError(f"storage.url: wrong port in the address of {parts.hostname}") from error
    if not parts.hostname:
        raise ConfigError("storage.url: expected http(s)://host:8123, got no host")
    return functools.partial(
        clickhouse_connect.get_client,
        interface=parts.scheme,
        host=parts.hostname,
        port=port,
        username=unquote(parts.username or "default"),
        password=unquote(parts.password or ""),
        autogenerate_session_id=False,
        dedicated_pool=True,  # so that close() closes its connection
        query_retries=0,
        connect_timeout=5,
        send_receive_timeout=int(answer_seconds),
    )


@contextlib.contextmanager
def _mapped(doing: str) -> Iterator[None]:
    """Turn the client's errors into kobs's; `doing` begins their message."""
    try:
        yield
    except KobsError:
        raise
    except EngineError as error:
        raise engine_errors.from_engine(str(error), code=error.code, name=error.name, doing=doing) from error
    except OSError as error:
        raise engine_errors.from_engine(str(error), code=None, name=None, doing=doing) from error


def _closed() -> StorageError:
    return StorageError("the store is closed", code=0, name="CLOSED")
