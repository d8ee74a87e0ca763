"""Tells in which folders names have come or gone.

Folders are watched with inotify. Where that fails (no more watches, a file system that other machines write to), the
folder's own time is looked at instead, which costs one call a folder.
"""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from inotify_simple import INotify, flags

from kobs import telemetry
from kobs.collectors.logs.watching import SharedFileSystems

_WATCHED = flags.CREATE | flags.MOVED_TO | flags.MOVED_FROM | flags.DELETE | flags.ONLYDIR
_SAME_TICK_NS = 2_000_000_000
"""A folder that changed so lately may change again without getting another time."""

log = telemetry.get_logger(__name__)


@dataclass(slots=True)
class FolderChanges:
    """Folders in which files have come or gone; `everywhere`: folders have, or nobody knows what."""

    folders: set[Path] = field(default_factory=set)
    everywhere: bool = False


@dataclass(slots=True)
class _Polled:
    leaf: bool
    modified_ns: int


class FolderWatch:
    """Watches folders. Not for use from two threads at once. Times are monotonic seconds."""

    def __init__(self, *, poll_seconds: float) -> None:
        self._poll_seconds = poll_seconds
        self._next_poll = 0.0
        self._folders: dict[int, Path] = {}
        self._watches: dict[Path, tuple[int, bool]] = {}
        self._polled: dict[Path, _Polled] = {}
        self._shared = SharedFileSystems()
        self._warned = False
        try:
            self._inotify: INotify | None = INotify(nonblocking=True)
        except OSError as error:
            self._inotify = None
            self._warn(error)

    def close(self) -> None:
        """Stop watching."""
        if self._inotify is not None:
            self._inotify.close()

    def watch(self, folder: Path, *, leaf: bool) -> None:
        """Watch a folder from now on, if it is not watched; in a `leaf` only files matter."""
        if folder in self._watches or folder in self._polled:
            return
        try:
            state = folder.stat()
        except OSError:
            return
        if self._inotify is not None and not self._shared.holds(state.st_dev):
            try:
                watch = self._inotify.add_watch(folder, _WATCHED)
            except OSError as error:
                if isinstance(error, FileNotFoundError | NotADirectoryError):
                    return
                self._warn(error)
            else:
                self._watches[folder] = (watch, leaf)
                self._folders[watch] = folder
                return
        self._polled[folder] = _Polled(leaf, state.st_mtime_ns)

    def keep_only(self, folders: set[Path]) -> set[Path]:
        """Stop watching all other folders, and return which these were."""
        gone = (self._watches.keys() | self._polled.keys()) - folders
        for folder in gone:
            self._polled.pop(folder, None)
            watch, _ = self._watches.pop(folder, (None, False))
            if watch is not None:
                self._folders.pop(watch, None)
                if self._inotify is not None and folder.is_dir():
                    self._inotify.rm_watch(watch)
        return gone

    def changes(self, now: float) -> FolderChanges:
        """Return what has changed since the last call."""
        changes = FolderChanges()
        self._read_events(changes)
        if self._polled and now >= self._next_poll:
            self._next_poll = now + self._poll_seconds
            self._poll(changes)
        return changes

    def _read_events(self, changes: FolderChanges) -> None:
        if self._inotify is None:
            return
        for event in self._inotify.read(timeout=0):
            if event.mask & flags.Q_OVERFLOW:
                changes.everywhere = True
            folder = self._folders.get(event.wd)
            if folder is None:
                continue
            leaf = self._watches[folder][1]
            if event.mask & flags.IGNORED:
                self._watches.pop(folder, None)
                self._folders.pop(event.wd, None)
            changes.folders.add(folder)
            changes.everywhere |= bool(event.mask & flags.ISDIR) and not leaf

    def _poll(self, changes: FolderChanges) -> None:
        lately = time.time_ns() - _SAME_TICK_NS
        for folder, polled in list(self._polled.items()):
            try:
                modified_ns = os.stat(folder).st_mtime_ns  # noqa: PTH116 - many, and Path.stat takes three times as long
            except OSError:
                modified_ns = 0
            if modified_ns != polled.modified_ns or modified_ns > lately:
                polled.modified_ns = modified_ns
                changes.folders.add(folder)
                changes.everywhere |= not polled.leaf
            if modified_ns == 0:
                del self._polled[folder]

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            log.warning("Some folders are polled, since they cannot be watched with inotify.", error=error)
        self._warned = True
