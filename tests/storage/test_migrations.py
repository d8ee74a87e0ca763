"""The numbered files: applied in order and once, refused when the store is newer or made by other files."""

import threading
from pathlib import Path

import pytest

from kobs.errors import ConfigError, StorageError
from kobs.storage import migrations
from kobs.storage.clickhouse import Store
from kobs.storage.migrations import apply_schema, read_migrations, split_statements


def write(folder: Path, **files: str) -> list[migrations.Migration]:
    """Write files such as `_0001_a="CREATE ..."` and read them as migrations."""
    for name, text in files.items():
        (folder / f"{name.lstrip('_')}.sql").write_text(text)
    return read_migrations(folder)


def tables(store: Store) -> set[str]:
    rows = store.select("SELECT name FROM system.tables WHERE database = currentDatabase()")
    return set(rows["name"].to_pylist())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A; B;", ["A", "B"]),
        ("A", ["A"]),
        ("", []),
        (" ;; ;", []),
        ("A 'x;y' ; B", ["A 'x;y'", "B"]),
        (r"A 'it\'s; one' ; B", [r"A 'it\'s; one'", "B"]),
        ("A 'it''s; one'; B", ["A 'it''s; one'", "B"]),
        ('A "x;y" `p;q`; B', ['A "x;y" `p;q`', "B"]),
        ("A -- no; end\n; B", ["A", "B"]),
        ("A /* no;\nend */ x; B", ["A   x", "B"]),
        ("A '-- text; ' ; B", ["A '-- text; '", "B"]),
        ("-- it's; a note\nA;", ["A"]),
    ],
    ids=[
        "two",
        "no-end",
        "nothing",
        "empty",
        "quote",
        "escape",
        "doubled",
        "names",
        "note",
        "block",
        "dashes",
        "apostrophe",
    ],
)
def test_statements_end_at_semicolons_outside_of_quotes_and_notes(text: str, expected: list[str]) -> None:
    assert split_statements(text) == expected


def test_the_projects_own_files_are_in_the_order_of_their_numbers() -> None:
    versions = [one.version for one in read_migrations()]

    assert versions[0] == 1
    assert versions == sorted(set(versions))


@pytest.mark.parametrize("name", ["1_a.sql", "0001-a.sql", "a.sql"])
def test_a_file_with_another_name_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("SELECT 1")

    with pytest.raises(ConfigError, match="expected a name"):
        read_migrations(tmp_path)


def test_two_files_with_one_number_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the number 0001 too"):
        write(tmp_path, _0001_a="SELECT 1", _0001_b="SELECT 2")


@pytest.mark.clickhouse
class TestApplying:
    def test_opening_records_each_file_once(self, store: Store) -> None:
        expected = [(one.version, one.name, one.checksum) for one in read_migrations()]

        assert apply_schema(store) == []

        rows = store.select("SELECT version, name, checksum FROM schema_versions ORDER BY version").to_pylist()
        assert [(row["version"], row["name"], row["checksum"]) for row in rows] == expected

    def test_a_new_file_is_applied_in_order(self, store: Store, tmp_path: Path) -> None:
        more = write(
            tmp_path,
            _0998_add="CREATE TABLE {database}.extra (a UInt8) ENGINE = Memory; ",
            _0999_change="ALTER TABLE {database}.extra ADD COLUMN IF NOT EXISTS b String DEFAULT ';'",
        )

        assert apply_schema(store, [*read_migrations(), *more]) == [998, 999]

        assert store.select("SELECT a, b FROM extra").column_names == ["a", "b"]
        assert apply_schema(store, [*read_migrations(), *more]) == []

    def test_a_store_of_a_newer_kobs_is_refused(self, store: Store, tmp_path: Path) -> None:
        more = write(tmp_path, _0999_later="CREATE TABLE {database}.later (a UInt8) ENGINE = Memory")
        apply_schema(store, [*read_migrations(), *more])

        with pytest.raises(ConfigError, match=r"schema version 999 .* a newer kobs"):
            apply_schema(store)

    def test_a_file_that_changed_after_it_was_applied_is_refused(self, store: Store) -> None:
        first, *others = read_migrations()
        changed = first._replace(text=first.text + " ", checksum="0" * 64)

        with pytest.raises(ConfigError, match=r"another schema file 0001_logs\.sql"):
            apply_schema(store, [changed, *others])

    def test_an_interrupted_file_is_finished_at_the_next_start(self, store: Store, tmp_path: Path) -> None:
        """The file is applied from its beginning; the table that is there already counts as made."""
        text = "CREATE TABLE {database}.one (a UInt8) ENGINE = Memory; CREATE TABLE {database}.two (a UInt8) ENGINE = "
        broken = write(tmp_path, _0999_pair=text + "NoSuchEngine")
        with pytest.raises(StorageError):
            apply_schema(store, [*read_migrations(), *broken])
        assert "one" in tables(store)
        assert "two" not in tables(store)

        whole = write(tmp_path, _0999_pair=text + "Memory")
        assert apply_schema(store, [*read_migrations(), *whole]) == [999]

        assert {"one", "two"} <= tables(store)

    def test_two_servers_may_open_a_new_store_at_once(self, store_url: str, database_name: str) -> None:
        opened: list[Store] = []
        threads = [
            threading.Thread(target=lambda: opened.append(Store(store_url, database=database_name))) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(opened) == 3
        rows = opened[0].select("SELECT uniqExact(version) AS n FROM schema_versions")
        assert rows["n"].to_pylist() == [len(read_migrations())]
        opened[0].command(f"DROP DATABASE {database_name} SYNC")
        for one in opened:
            one.close()
