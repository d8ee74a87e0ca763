"""Files in memory that are used again: each time they hold what was written last, and nothing of what was before."""

import threading
from pathlib import Path

from kobs.storage import insert_files
from kobs.storage.insert_files import InsertFiles


def test_a_file_holds_what_was_written_last_and_is_used_again() -> None:
    files = InsertFiles()
    paths = set()
    for size in (10_000, 3, 0, 500_000, 1):
        content = bytes([size % 251]) * size
        with files.holding(memoryview(content)) as path:
            assert Path(path).read_bytes() == content
            paths.add(path)
    assert len(paths) == 1
    files.close()
    assert not Path(path).exists()


def test_files_that_are_lent_at_once_are_different_and_few_are_kept() -> None:
    files = InsertFiles()
    everybody = threading.Barrier(5)
    seen: list[tuple[str, bytes]] = []

    def hold(number: int) -> None:
        with files.holding(memoryview(b"%d" % number)) as path:
            everybody.wait(10)
            seen.append((path, Path(path).read_bytes()))
            everybody.wait(10)

    threads = [threading.Thread(target=hold, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(content for _, content in seen) == [b"%d" % number for number in range(5)]
    assert len({path for path, _ in seen}) == 5
    assert len(files._idle) == 2
    files.close()


def test_a_large_file_is_not_kept_nor_one_that_comes_back_late() -> None:
    files = InsertFiles()
    with files.holding(memoryview(bytes(insert_files._MOST_KEPT_BYTES + 1))) as path:
        pass
    assert not Path(path).exists()
    with files.holding(memoryview(b"late")) as path:
        files.close()
        assert Path(path).read_bytes() == b"late"
    assert not Path(path).exists()
