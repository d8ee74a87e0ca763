"""Properties of the engine that kobs's tables and settings count on: each was a trap once."""

import datetime as dt
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kobs.errors import ConfigError
from kobs.storage.clickhouse import Store
from kobs.storage.embedded import FILE_NAME
from kobs.storage.migrations import read_migrations
from tests.storage.rows import TIME_MS, line_rows, sample_rows


def granules(store: Store, sql: str) -> tuple[int, int]:
    """Return how many granules of how many the primary key leaves of a select, by the engine's own word."""
    lines = store.select(f"EXPLAIN indexes = 1 {sql}")["explain"].to_pylist()
    at = next(i for i, line in enumerate(lines) if line.strip() == "PrimaryKey")
    found = next(re.search(r"Granules: (\d+)/(\d+)", line) for line in lines[at:] if "Granules:" in line)
    assert found is not None
    return int(found[1]), int(found[2])


@pytest.mark.clickhouse
class TestTables:
    def test_the_key_of_samples_prunes_by_time(self, store: Store) -> None:
        store.insert("metric_samples", sample_rows(160_000, step_ms=500))

        left, whole = granules(
            store,
            "SELECT value FROM metric_samples WHERE metric = 'up' "
            f"AND ts >= fromUnixTimestamp64Milli({TIME_MS + 3_600_000}) "
            f"AND ts < fromUnixTimestamp64Milli({TIME_MS + 7_200_000})",
        )

        assert whole >= 15
        assert left <= 3

    def test_the_key_of_logs_prunes_by_time(self, store: Store) -> None:
        store.insert("logs", line_rows(160_000, step_ms=500))

        left, whole = granules(
            store,
            f"SELECT body FROM logs WHERE ts >= fromUnixTimestamp64Milli({TIME_MS + 3_600_000}) "
            f"AND ts < fromUnixTimestamp64Milli({TIME_MS + 4_200_000})",
        )

        assert whole >= 15
        assert left <= 3

    def test_no_key_has_the_time_itself_behind_its_bucket(self) -> None:
        """Such a key cannot be searched by time at all."""
        keys = [key for one in read_migrations() for key in re.findall(r"PRIMARY KEY \((.*)\)", one.text)]

        assert keys
        for key in keys:
            bare = re.sub(r"\w+\([^()]*\)", "", key)
            assert "ts" not in re.findall(r"\w+", bare), key

    def test_equal_blocks_are_both_kept(self, store: Store) -> None:
        """The engine's own deduplication would drop rows that only look alike."""
        for _ in range(3):
            store.insert("metric_samples", sample_rows(10))
            store.insert("logs", line_rows(10))

        assert store.select("SELECT count() AS n FROM metric_samples")["n"].to_pylist() == [30]
        assert store.select("SELECT count() AS n FROM logs")["n"].to_pylist() == [30]

    def test_the_top_k_filter_is_off_where_a_search_ends_early(self, store: Store) -> None:
        sql = "SELECT body FROM logs WHERE body LIKE '%line 7%' ORDER BY ts DESC LIMIT 5"
        store.insert("logs", line_rows(1000))

        plan = "\n".join(store.select(f"EXPLAIN actions = 1 {sql}")["explain"].to_pylist())

        assert "__topKFilter" not in plan
        assert store.select("SELECT getSetting('use_top_k_dynamic_filtering') AS s")["s"].to_pylist() == [False]

    def test_the_grid_functions_are_there(self, store: Store) -> None:
        store.insert("metric_samples", sample_rows(20))
        moment = dt.datetime.fromtimestamp(TIME_MS / 1000, tz=dt.UTC) + dt.timedelta(minutes=3)

        answer = store.select(
            "SELECT timeSeriesRateToGrid({start:DateTime64(3, 'UTC')}, {end:DateTime64(3, 'UTC')}, 60, 120)(ts, value) "
            "AS grid FROM metric_samples",
            {"start": moment, "end": moment + dt.timedelta(minutes=1)},
        )

        assert answer["grid"].to_pylist() == [[pytest.approx(1 / 15), pytest.approx(1 / 15)]]

    def test_an_insert_shows_at_once(self, store: Store) -> None:
        """Inserts are not queued by the engine, on any server."""
        assert store.select("SELECT getSetting('async_insert') AS s")["s"].to_pylist() == [False]
        store.insert("logs", line_rows(1))
        assert store.select("SELECT count() AS n FROM logs")["n"].to_pylist() == [1]


@pytest.mark.clickhouse
class TestEmbedded:
    def test_the_configuration_beside_the_data_is_read(self, tmp_path: Path) -> None:
        """The option is spelled with a hyphen, another spelling is ignored in silence."""
        answer = run_python(
            f"""
            from kobs.storage.clickhouse import Store
            store = Store("chdb://{tmp_path}", max_memory_bytes=700 * 2**20)
            names = ["max_server_memory_usage", "mark_cache_size", "background_schedule_pool_size"]
            sql = "SELECT value FROM system.server_settings WHERE name IN {{n:Array(String)}} ORDER BY name"
            print(store.select(sql, {{"n": names}})["value"].to_pylist())
            print(store.select("SELECT getSetting('max_memory_usage') AS m")["m"].to_pylist())
            store.close()
            """
        )

        assert answer == f"['4', '{700 * 2**20 // 32}', '{700 * 2**20}']\n[{350 * 2**20}]"
        assert (tmp_path / FILE_NAME).exists()

    def test_a_second_process_on_the_folder_is_told_so(self, tmp_path: Path) -> None:
        answer = run_python(
            f"""
            import subprocess, sys, textwrap
            from kobs.storage.clickhouse import Store
            store = Store("chdb://{tmp_path}")
            second = '''
            from kobs.errors import ConfigError
            from kobs.storage.clickhouse import Store
            try:
                Store("chdb://{tmp_path}")
            except ConfigError as error:
                print(error)
            '''
            command = [sys.executable, "-c", textwrap.dedent(second)]
            print(subprocess.run(command, capture_output=True, text=True).stdout)
            print(store.select("SELECT 1 AS a")["a"].to_pylist())
            store.close()
            """
        )

        assert f"another kobs runs on the folder {tmp_path}" in answer
        assert answer.endswith("[1]")

    def test_a_second_folder_in_one_process_is_told_so(self, engine_folder: Path, tmp_path: Path) -> None:
        first = Store(f"chdb://{engine_folder}", database="held")
        try:
            with pytest.raises(ConfigError, match="on another folder"):
                Store(f"chdb://{tmp_path}")
        finally:
            first.command("DROP DATABASE held SYNC")
            first.close()

    def test_a_folder_with_blanks_and_letters_opens(self, tmp_path: Path) -> None:
        answer = run_python(
            f"""
            from kobs.storage.clickhouse import Store
            store = Store("chdb://{tmp_path}/a%20b%C3%A9")
            print(store.select("SELECT 1 AS a")["a"].to_pylist())
            store.close()
            """
        )

        assert answer == "[1]"
        assert (tmp_path / "a bé" / "store").is_dir()

    def test_an_insert_leaves_no_files_beside_the_store(self, tmp_path: Path) -> None:
        answer = run_python(
            f"""
            import tempfile
            tempfile.tempdir = "{tmp_path}/nowhere"  # a system without a folder for temporary files
            from kobs.storage.clickhouse import Store
            from tests.storage.rows import line_rows
            store = Store("chdb://{tmp_path}/data")
            store.insert("logs", line_rows(100_000))
            print(store.select("SELECT count() AS n FROM logs")["n"].to_pylist())
            store.close()
            """
        )

        assert answer == "[100000]"


def run_python(code: str) -> str:
    """Run code in a fresh process, as an engine's folder is a process's choice for good, and return what it prints."""
    lines = code.split("\n")
    indent = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    text = "\n".join(line[indent:] for line in lines)
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.clickhouse
def test_a_small_memory_limit_leaves_queries_all_their_threads(store: Store) -> None:
    """The engine would take one thread only, as there is less than 1 GiB for each."""
    sql = "EXPLAIN PIPELINE SELECT sum(number) FROM numbers_mt(10000000) SETTINGS max_threads = 4"
    plan = "\n".join(store.select(sql)["explain"].to_pylist())
    assert re.search(r"AggregatingTransform \W 4$", plan, re.MULTILINE)
