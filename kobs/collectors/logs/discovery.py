"""Finds log files: what is there, under which source, and whether under its live name or a rotated one.

Folders are watched with inotify, so that a new file is found at once; where that fails (no more watches, another file
system) they are read every `agent.discovery_ms`. A full look every 30 s makes up for events that were lost.
"""

import fnmatch
import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import re2
from inotify_simple import INotify, flags

from kobs import telemetry
from kobs.collectors.logs.identity import container_source, file_source, is_rotation_of
from kobs.config import AgentSettings, Multiline
from kobs.model.logs import LogSource
from kobs.wire.ship import LineFormat, Stream

_FULL_LOOK_SECONDS = 30.0
_WATCHED = flags.CREATE | flags.MOVED_TO | flags.MOVED_FROM | flags.DELETE | flags.ONLYDIR

log = telemetry.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """A log file as a look found it. `live` is its source's path for new lines."""

    path: Path
    live: Path
    stream: Stream
    inode: int
    size: int
    modified_ns: int

    @property
    def is_live(self) -> bool:
        """Whether new lines go to this file."""
        return self.path == self.live


@dataclass(frozen=True, slots=True)
class Look:
    """What a look found, and the folders that it read: a file of theirs that is not in `found` is gone.

    After a `full` look, a folder that was not read is gone too.
    """

    found: list[Found]
    folders: set[Path]
    full: bool


class Discovery:
    """Looks for log files. Not for use from two threads at once."""

    def __init__(self, settings: AgentSettings, *, cluster: str, node: str) -> None:
        self._settings = settings
        self._cluster = cluster
        self._node = node
        self._next_full = 0.0
        self._changed: set[Path] = set()
        self._paths: dict[int, Path] = {}
        self._watched: dict[Path, int] = {}
        self._watch_failed = False
        self._streams: dict[Path, Stream | None] = {}
        self.problems: dict[str, str] = {}
        try:
            self._inotify: INotify | None = INotify(nonblocking=True)
        except OSError as error:
            self._inotify = None
            log.warning("New files are found by polling, since inotify is not to be had.", error=error)

    def close(self) -> None:
        """Stop watching."""
        if self._inotify is not None:
            self._inotify.close()

    def look(self, now: float) -> Look | None:
        """Look again where something may have changed; None if nothing has. `now` is monotonic, in seconds."""
        self._read_events()
        if now >= self._next_full:
            polling = self._inotify is None or self._watch_failed
            self._next_full = now + (self._settings.discovery_ms / 1000 if polling else _FULL_LOOK_SECONDS)
            self._changed.clear()
            return self._look_everywhere()
        if not self._changed:
            return None
        changed, self._changed = self._changed, set()
        if any(not self._is_leaf(folder) for folder in changed):
            return self._look_everywhere()
        look = Look([], set(), full=False)
        for folder in changed:
            look.folders.add(folder)
            look.found.extend(self._look_into(folder))
        return look

    def _look_everywhere(self) -> Look:
        self.problems.clear()
        look = Look([], set(), full=True)
        for folder in self._folders():
            look.folders.add(folder)
            look.found.extend(self._look_into(folder))
        for gone in set(self._watched) - look.folders - self._roots():
            self._forget(gone)
        return look

    def _folders(self) -> Iterator[Path]:
        """Yield every folder that holds or may hold log files."""
        root = self._settings.pod_logs
        if root is not None and root.is_dir():
            self._watch(root)
            for pod in _folders_in(root):
                self._watch(pod)
                yield from _folders_in(pod)
        seen: set[Path] = set()
        for pattern in self._settings.files:
            parent = os.path.dirname(pattern)  # noqa: PTH120 - a pattern is no path
            for text in glob.iglob(parent) if glob.has_magic(parent) else [parent]:  # noqa: PTH207 - a pattern is no path
                folder = Path(text)
                if folder not in seen and folder.is_dir():
                    seen.add(folder)
                    yield folder

    def _roots(self) -> set[Path]:
        root = self._settings.pod_logs
        if root is None:
            return set()
        return {root} | set(_folders_in(root))

    def _is_leaf(self, folder: Path) -> bool:
        """Whether only files matter in a folder: a new folder in any other needs a full look."""
        root = self._settings.pod_logs
        if root is not None and folder.is_relative_to(root):
            return len(folder.relative_to(root).parts) == 2
        return not any(glob.has_magic(os.path.dirname(pattern)) for pattern in self._settings.files)  # noqa: PTH120

    def _look_into(self, folder: Path) -> Iterator[Found]:
        self._watch(folder)
        try:
            entries = {entry.name: entry for entry in os.scandir(folder) if entry.is_file(follow_symlinks=True)}
        except OSError as error:
            if not isinstance(error, FileNotFoundError | NotADirectoryError):
                self.problems[str(folder)] = f"{folder}: {error.strerror}"
            return
        root = self._settings.pod_logs
        if root is not None and folder.is_relative_to(root):
            names = self._container_files(folder, entries)
        else:
            names = self._plain_files(folder, entries)
        for name, live in names:
            stream = self._stream(live)
            if stream is None:
                continue
            try:
                state = entries[name].stat()
            except OSError:
                continue  # gone in between: the next event tells
            yield Found(folder / name, live, stream, state.st_ino, state.st_size, state.st_mtime_ns)

    def _container_files(self, folder: Path, names: Iterable[str]) -> Iterator[tuple[str, Path]]:
        for name in names:
            restart, mark, _ = name.partition(".log")
            if mark and restart.isdigit():
                live = folder / f"{restart}.log"
                is_log = name == live.name or is_rotation_of(name, live.name)
                if is_log and not self._is_excluded(live):
                    yield name, live

    def _plain_files(self, folder: Path, names: Iterable[str]) -> Iterator[tuple[str, Path]]:
        live_names = {name for name in names if not name.endswith(".gz") and self._is_wanted(folder / name)}
        for name in names:
            # app.log-20261122 may match a pattern by itself: it still belongs to app.log.
            live = next((live for live in _stems(name) if live in live_names), None)
            if live is None and name in live_names:
                live = name
            if live is not None:
                yield name, folder / live

    def _is_wanted(self, path: Path) -> bool:
        text = str(path)
        if self._settings.pod_logs is not None and path.is_relative_to(self._settings.pod_logs):
            return False
        return any(_matches(text, pattern) for pattern in self._settings.files) and not self._is_excluded(path)

    def _is_excluded(self, live: Path) -> bool:
        return any(_matches(str(live), pattern) for pattern in self._settings.exclude)

    def _stream(self, live: Path) -> Stream | None:
        if live not in self._streams:
            self._streams[live] = self._new_stream(live)
        return self._streams[live]

    def _new_stream(self, live: Path) -> Stream | None:
        root = self._settings.pod_logs
        if root is not None and live.is_relative_to(root):
            source = container_source(root, live, cluster=self._cluster, node=self._node)
            line_format = LineFormat.CRI
        else:
            source = file_source(live, cluster=self._cluster, node=self._node)
            line_format = LineFormat.PLAIN
        if source is None:
            return None
        return Stream(source=source, format=line_format, start_pattern=start_pattern(self._settings.multiline, source))

    def _watch(self, folder: Path) -> None:
        if self._inotify is None or folder in self._watched:
            return
        try:
            watch = self._inotify.add_watch(folder, _WATCHED)
        except OSError as error:
            if isinstance(error, FileNotFoundError | NotADirectoryError):
                return
            if not self._watch_failed:
                log.warning("Some folders are polled, since they cannot be watched.", folder=folder, error=error)
            self._watch_failed = True
            return
        self._watched[folder] = watch
        self._paths[watch] = folder

    def _forget(self, folder: Path) -> None:
        watch = self._watched.pop(folder)
        self._paths.pop(watch, None)
        self._streams = {live: stream for live, stream in self._streams.items() if live.parent != folder}
        if self._inotify is not None and folder.is_dir():
            self._inotify.rm_watch(watch)

    def _read_events(self) -> None:
        if self._inotify is None:
            return
        for event in self._inotify.read(timeout=0):
            if event.mask & flags.Q_OVERFLOW:
                self._next_full = 0.0
            folder = self._paths.get(event.wd)
            if folder is None:
                continue
            if event.mask & flags.IGNORED:
                self._watched.pop(folder, None)
                self._paths.pop(event.wd, None)
            self._changed.add(folder)


def start_pattern(rules: Iterable[Multiline], source: LogSource) -> str:
    """Return the pattern that starts a source's entries by the first rule that matches it; empty where none does."""
    for rule in rules:
        wanted = (
            (rule.namespace, source.namespace),
            (rule.pod, source.pod),
            (rule.container, source.container),
            (rule.path, source.path),
        )
        if all(pattern is None or re2.fullmatch(pattern, _text(value)) is not None for pattern, value in wanted):
            return rule.start
    return ""


def _text(value: str) -> str:
    """Return a file name as text: names need not be UTF-8."""
    return value.encode("utf-8", "replace").decode()


def _folders_in(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=True):
                    yield folder / entry.name
    except OSError:
        return  # gone, or not readable: reported where its files are looked for


def _stems(name: str) -> Iterator[str]:
    """Yield the live names that a name could be a rotation of, longest first."""
    for end in range(len(name) - 1, 0, -1):
        if name[end] in ".-" and is_rotation_of(name, name[:end]):
            yield name[:end]


def _matches(path: str, pattern: str) -> bool:
    """Match as a shell does: `*` stays within one folder."""
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(
        fnmatch.fnmatchcase(part, want) and (not part.startswith(".") or want.startswith("."))
        for part, want in zip(parts, wanted, strict=True)
    )
