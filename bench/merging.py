"""A process that merges a table of a store and tells its bytes: `python -m bench.merging FOLDER [TABLE]`."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kobs.storage.clickhouse import Store


def main() -> None:
    """Print the bytes of the merged table, then those of each column."""
    folder = Path(sys.argv[1]).absolute()
    with ThreadPoolExecutor(1) as thread:  # the engine is never called from the main thread
        print(thread.submit(_merged, folder, sys.argv[2] if len(sys.argv) > 2 else "logs").result())


def _merged(folder: Path, table: str) -> str:
    store = Store(f"chdb://{folder}", query_timeout_seconds=600)
    try:
        store.command(f"OPTIMIZE TABLE {table} FINAL")
        total = store.select(
            "SELECT sum(bytes_on_disk) AS bytes, sum(rows) AS rows FROM system.parts "
            f"WHERE database = currentDatabase() AND table = '{table}' AND active"
        )
        columns = store.select(
            "SELECT column, sum(column_data_compressed_bytes + column_marks_bytes) AS bytes FROM system.parts_columns "
            f"WHERE database = currentDatabase() AND table = '{table}' AND active GROUP BY column ORDER BY bytes DESC"
        )
        told = [f"{total['bytes'][0].as_py()}", f"rows {total['rows'][0].as_py()}"]
        told += [
            f"{name} {size}" for name, size in zip(*(column.to_pylist() for column in columns.columns), strict=True)
        ]
        return "\n".join(told)
    finally:
        store.close()


if __name__ == "__main__":
    main()
