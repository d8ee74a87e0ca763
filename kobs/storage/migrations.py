"""The schema's numbered files, applied in order and on record.

Each file of the schema folder (`0001_logs.sql`) is one version. What has been applied stands in the table
`schema_versions`, with the checksum of the file. A file that has been applied never changes: a change of the schema is
a new file. A store that a newer kobs has opened, or whose record differs from the files, is refused.

A file is not applied in one transaction. After a crash in the middle it is applied again from its first statement, so
each statement must be repeatable: a table that exists already counts as made, a TTL that is not there as removed, other
statements say IF EXISTS or IF NOT EXISTS themselves. The same holds for two servers that open a new store at once.
"""

import datetime as dt
import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import pyarrow as pa

from kobs.errors import ConfigError, StorageError

SCHEMA = Path(__file__).parent / "schema"
"""The folder of the numbered files."""

_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_TABLE_ALREADY_EXISTS = 57
_NO_TTL = (36, "doesn't have any table TTL")
_TOKEN = re.compile(
    r"""'(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*" | `(?:[^`\\]|\\.|``)*` | --[^\n]* | /\*.*?\*/ | ;""",
    re.VERBOSE | re.DOTALL,
)


class Migration(NamedTuple):
    """One numbered file: `text` still has `{database}` in it, `checksum` is the SHA-256 of its bytes."""

    version: int
    name: str
    text: str
    checksum: str


class _Target(Protocol):
    """What is migrated: a Store, of which this module needs only this."""

    database: str

    def command(self, sql: str) -> None: ...
    def insert(self, table: str, rows: pa.Table) -> None: ...
    def select(self, sql: str) -> pa.Table: ...


def read_migrations(folder: Path = SCHEMA) -> list[Migration]:
    """Return the files of `folder` in the order of their numbers.

    Raises: ConfigError if a file's name has another form or two files share a number.
    """
    migrations: list[Migration] = []
    for path in sorted(folder.glob("*.sql")):
        found = _FILE_NAME.fullmatch(path.name)
        if found is None:
            raise ConfigError(f"schema file {path.name}: expected a name such as 0001_logs.sql")
        content = path.read_bytes()
        migrations.append(
            Migration(int(found[1]), found[2], content.decode(), hashlib.sha256(content).hexdigest()),
        )
        if len(migrations) > 1 and migrations[-2].version == migrations[-1].version:
            raise ConfigError(f"schema file {path.name}: another file has the number {found[1]} too")
    return migrations


def split_statements(text: str) -> list[str]:
    """Return the statements of `text`, which `;` ends, except in quotes and comments; comments are left out."""
    statements: list[str] = []
    current: list[str] = []
    at = 0
    for token in _TOKEN.finditer(text):
        current.append(text[at : token.start()])
        at = token.end()
        if token[0] == ";":
            statements.append("".join(current).strip())
            current = []
        elif token[0].startswith(("--", "/*")):
            current.append(" ")
        else:
            current.append(token[0])
    statements.append(("".join(current) + text[at:]).strip())
    return [statement for statement in statements if statement]


def apply_schema(target: _Target, migrations: Sequence[Migration] | None = None) -> list[int]:
    """Bring the store to the newest version and return the versions that were applied now.

    Raises: ConfigError if the store is newer than these files or has applied files that differ from them;
        StorageError if the engine refuses a statement.
    """
    known = read_migrations() if migrations is None else migrations
    table = f"{target.database}.schema_versions"
    target.command(
        f"CREATE TABLE IF NOT EXISTS {table} (version UInt32, name String, checksum String, "
        "applied DateTime64(3, 'UTC')) ENGINE = ReplacingMergeTree(applied) ORDER BY version "
        "SETTINGS non_replicated_deduplication_window = 0"
    )
    recorded = target.select(f"SELECT version, name, checksum FROM {table} FINAL ORDER BY version").to_pylist()
    _check_recorded(recorded, known, database=target.database)
    done = {row["version"] for row in recorded}
    applied: list[int] = []
    for migration in known:
        if migration.version in done:
            continue
        _apply(target.command, migration, database=target.database)
        target.insert("schema_versions", _record(migration))
        applied.append(migration.version)
    return applied


def _check_recorded(recorded: list[dict[str, object]], known: Sequence[Migration], *, database: str) -> None:
    """Refuse a store that these files did not make."""
    by_version = {migration.version: migration for migration in known}
    newest = max(by_version, default=0)
    for row in recorded:
        version, name = row["version"], row["name"]
        if not isinstance(version, int) or version > newest:
            raise ConfigError(
                f"database {database} has schema version {version} ({name}), this kobs knows up to {newest}: "
                "a newer kobs has opened it; start that one, or choose another storage.url"
            )
        migration = by_version.get(version)
        if migration is None or migration.checksum != row["checksum"]:
            raise ConfigError(
                f"database {database} was made with another schema file {version:04}_{name}.sql than this kobs has: "
                "start the kobs that made it, or choose another storage.url"
            )


def _apply(command: Callable[[str], None], migration: Migration, *, database: str) -> None:
    """Run the statements of one file; what an interrupted run has done already counts as done."""
    for statement in split_statements(migration.text.replace("{database}", database)):
        try:
            command(statement)
        except StorageError as error:
            code, text = _NO_TTL
            without_ttl = statement.endswith("REMOVE TTL") and error.code == code and text in str(error)
            if error.code != _TABLE_ALREADY_EXISTS and not without_ttl:
                raise


def _record(migration: Migration) -> pa.Table:
    """Return the row that says the file has been applied."""
    now = dt.datetime.now(tz=dt.UTC)
    return pa.table(
        {
            "version": pa.array([migration.version], pa.uint32()),
            "name": [migration.name],
            "checksum": [migration.checksum],
            "applied": pa.array([now], pa.timestamp("ms", "UTC")),
        }
    )
