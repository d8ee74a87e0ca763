"""A process that inserts numbered lines one batch after the other and prints each number once its insert has returned.

`python -m tests.storage.inserting FOLDER FIRST`: batches of 100 lines from FIRST on, until it is killed.
"""

import sys

from kobs.storage.clickhouse import Store
from tests.storage.rows import line_rows


def main() -> None:
    folder, first = sys.argv[1], int(sys.argv[2])
    store = Store(f"chdb://{folder}", threads=2)
    while True:
        store.insert("logs", line_rows(100, first_offset=first))
        first += 100
        sys.stdout.write(f"{first}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
