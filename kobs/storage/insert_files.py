"""Files in memory from which the embedded engine reads inserts: bytes are written, a path is lent for one statement.

They cost no disk and are gone when the process dies. One is used again and again, because to get its pages from the
kernel each time takes longer than to fill them.
"""

import contextlib
import os
import threading
from collections.abc import Iterator

_MOST_IDLE = 2
"""Logs and samples are inserted at the same time; more inserts at once are rare."""
_MOST_KEPT_BYTES = 8 * 1024 * 1024


class InsertFiles:
    """The files of one store."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[int] = []
        self._is_closed = False

    @staticmethod
    def are_there() -> bool:
        """Tell whether this system has files in memory."""
        return hasattr(os, "memfd_create")

    @contextlib.contextmanager
    def holding(self, content: memoryview) -> Iterator[str]:
        """Lend the path of a file with this content."""
        with self._lock:
            file = self._idle.pop() if self._idle else None
        if file is None:
            file = os.memfd_create("insert")
        try:
            _write(file, content)
            yield f"/proc/self/fd/{file}"
        finally:
            self._take_back(file, len(content))

    def close(self) -> None:
        """Close the files; one that is lent is closed when it comes back."""
        with self._lock:
            self._is_closed = True
            for file in self._idle:
                os.close(file)
            self._idle.clear()

    def _take_back(self, file: int, size: int) -> None:
        with self._lock:
            if self._is_closed or size > _MOST_KEPT_BYTES or len(self._idle) >= _MOST_IDLE:
                os.close(file)
            else:
                self._idle.append(file)


def _write(file: int, content: memoryview) -> None:
    os.lseek(file, 0, os.SEEK_SET)
    left = content
    while left:
        left = left[os.write(file, left) :]
    os.ftruncate(file, len(content))
