"""Files whose first line is not complete yet, so that nobody can tell which segment they are.

A new file is tried again at once, one that stays empty for long is only looked at for a change of its size.
"""

import os
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

from kobs.collectors.logs.discovery import Found

_NEW_SECONDS = 5.0
_PAUSE_SECONDS = 1.0


@dataclass(slots=True)
class _Waiting:
    found: Found
    since: float
    next_try: float


class Unidentified:
    """The files without a first line, by path. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._files: dict[Path, _Waiting] = {}
        self._next_try = float("inf")

    def __iter__(self) -> Iterator[Found]:
        """Yield the files as they were found."""
        for waiting in self._files.values():
            yield waiting.found

    def add(self, found: Found, *, now: float) -> None:
        """Take note of a file that was tried just now."""
        before = self._files.get(found.path)
        since = before.since if before is not None and before.found.inode == found.inode else now
        pause = 0.0 if now - since < _NEW_SECONDS else _PAUSE_SECONDS
        self._files[found.path] = _Waiting(found, since, now + pause)
        self._next_try = min(self._next_try, now + pause)

    def remove(self, path: Path) -> None:
        """A file is identified, or gone."""
        self._files.pop(path, None)

    def due(self, now: float, *, unreadable: Container[str]) -> list[Found]:
        """Return the files to be tried now: those that may have a first line, and those that could not be read."""
        if now < self._next_try:
            return []
        due = []
        for path, waiting in self._files.items():
            if now < waiting.next_try:
                continue
            is_old = now - waiting.since >= _NEW_SECONDS
            if is_old and str(path) not in unreadable and _has_size(path, waiting.found.size):
                waiting.next_try = now + _PAUSE_SECONDS
            else:
                due.append(waiting.found)
        self._next_try = min((waiting.next_try for waiting in self._files.values()), default=float("inf"))
        return due


def _has_size(path: Path, size: int) -> bool:
    try:
        return os.stat(path).st_size == size  # noqa: PTH116 - many files, and Path.stat takes three times as long
    except OSError:
        return False
