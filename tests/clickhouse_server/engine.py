"""Statements run on the embedded engine: a connection a request, or a session's own.

A connection is thrown away after each request without a session and after each error: what a failed statement had
answered so far would begin the answer of the connection's next one.
"""

import re
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import chdb

from tests.clickhouse_server import statement

# parameters of the protocol, as opposed to settings of the engine
_OF_PROTOCOL = frozenset(
    {
        "add_http_cors_header",
        "buffer_size",
        "client_protocol_version",
        "compress",
        "database",
        "decompress",
        "default_format",
        "enable_http_compression",
        "http_headers_progress_interval_ms",
        "password",
        "query",
        "query_id",
        "quota_key",
        "role",
        "send_progress_in_http_headers",
        "session_check",
        "session_id",
        "session_timeout",
        "stacktrace",
        "user",
        "wait_end_of_query",
    }
)
_SETTING = re.compile(r"[A-Za-z_]\w*")
# clients that name a protocol version expect this before each block of Native
_BLOCK_INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"


class EngineError(Exception):
    """The engine refused a statement; `code` is ClickHouse's."""

    def __init__(self, text: str) -> None:
        begin = text.find("Code: ")
        super().__init__(text[max(begin, 0) :])
        found = re.match(r"Code: (\d+)", text[begin:]) if begin >= 0 else None
        self.code = int(found[1]) if found is not None else 1002


@dataclass(frozen=True, slots=True)
class Answer:
    """Bytes, their format and the counts of X-ClickHouse-Summary."""

    content: bytes
    format: str
    summary: dict[str, str]


class Engine:
    """The engine on one folder; requests may run side by side in threads."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._keep_open = _connect(path)
        self._lock = threading.Lock()
        self._sessions: dict[str, tuple[Any, threading.Lock]] = {}
        self._running: set[str] = set()
        self.version: str = self._text("SELECT version()")
        self.timezone: str = self._text("SELECT timezone()")

    def run(
        self, query: bytes, body: bytes, parameters: Mapping[str, str], *, default_format: str, get: bool
    ) -> Answer:
        """Run one request.

        Raises: EngineError with the engine's code.
        """
        with self._query_id(parameters.get("query_id")), self._connection(parameters.get("session_id")) as connection:
            try:
                _prepare(connection, parameters, get=get)
                parsed = statement.parse(query, body)
                if isinstance(parsed, statement.DataInsert):
                    return _insert(connection, parsed)
                return _execute(connection, parsed, parameters, default_format=default_format)
            except RuntimeError as error:  # chdb's own error class derives from it
                raise EngineError(str(error)) from error

    def _text(self, sql: str) -> str:
        return str(self._keep_open.query(sql, "TabSeparated").bytes().decode().strip())

    @contextmanager
    def _query_id(self, query_id: str | None) -> Iterator[None]:
        """Let an id run once at a time, as a server does."""
        if query_id is None:
            yield
            return
        with self._lock:
            if query_id in self._running:
                raise EngineError(
                    f"Code: 216. DB::Exception: Query with id = {query_id} is already running. "
                    "(QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING)"
                )
            self._running.add(query_id)
        try:
            yield
        finally:
            with self._lock:
                self._running.remove(query_id)

    @contextmanager
    def _connection(self, session_id: str | None) -> Iterator[Any]:
        if session_id is None:
            connection = _connect(self._path)
            try:
                yield connection
            finally:
                connection.close()
            return
        with self._lock:
            if session_id not in self._sessions:
                self._sessions[session_id] = (_connect(self._path), threading.Lock())
            connection, alone = self._sessions[session_id]
        with alone:
            try:
                yield connection
            except EngineError:
                with self._lock:
                    self._sessions.pop(session_id, None)
                connection.close()
                raise


def _connect(path: str) -> Any:
    return chdb.connect(path)  # type: ignore[no-untyped-call]  # the package has no types


def _prepare(connection: Any, parameters: Mapping[str, str], *, get: bool) -> None:
    """Choose the database and apply the request's settings."""
    if database := parameters.get("database"):
        connection.query("USE `{}`".format(database.replace("`", "\\`")), "TabSeparated")
    settings = {
        name: value
        for name, value in parameters.items()
        if name not in _OF_PROTOCOL and not name.startswith("param_") and _SETTING.fullmatch(name)
    }
    if get:
        settings.setdefault("readonly", "2")
    if settings:
        pairs = ", ".join(f"{name} = {_quoted(value)}" for name, value in settings.items())
        connection.query(f"SET {pairs}", "TabSeparated")


def _insert(connection: Any, parsed: statement.DataInsert) -> Answer:
    """Insert from a file: the engine's streaming insert reports success for inserts that it has refused."""
    with tempfile.NamedTemporaryFile(suffix=".insert") as file:
        file.write(parsed.data)
        file.flush()
        head, _, settings = parsed.head.partition(" SETTINGS ")
        clause = f" SETTINGS {settings}" if settings else ""
        sql = f"{head} FROM INFILE {_quoted(file.name)}{clause} FORMAT {parsed.format}"
        result = connection.query(sql, "TabSeparated")
    summary = {"written_rows": str(result.rows_read()), "written_bytes": str(result.bytes_read())}
    return Answer(b"", "Native", summary)


def _execute(
    connection: Any, parsed: statement.Statement, parameters: Mapping[str, str], *, default_format: str
) -> Answer:
    bound = {name.removeprefix("param_"): value for name, value in parameters.items() if name.startswith("param_")}
    output_format = parsed.format or parameters.get("default_format") or default_format
    if output_format == "Native" and int(parameters.get("client_protocol_version") or 0) > 0:
        send = connection.send_query if parsed.reads else connection.query
        answer = send(parsed.text, "Native", params=bound)
        chunks = [chunk.bytes() for chunk in (answer if parsed.reads else [answer])]
        return Answer(b"".join(_BLOCK_INFO + chunk for chunk in chunks if chunk), "Native", {})
    result = connection.query(parsed.text, output_format, params=bound)
    summary = {"read_rows": str(result.rows_read()), "read_bytes": str(result.bytes_read())}
    return Answer(result.bytes() or b"", output_format, summary)


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
