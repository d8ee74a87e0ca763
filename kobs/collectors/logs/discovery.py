"""Finds log files: what is there, under which source, and whether under its live name or a rotated one.

Folders are watched, so that a new file is found at once, and only folders in which something came or went are read
again. A full look every 30 s makes up for events that were lost.
"""

import fnmatch
import functools
import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import re2

from kobs.collectors.logs.folder_watching import FolderWatch
from kobs.collectors.logs.identity import container_source, file_source, is_rotation_of
from kobs.config import AgentSettings, Multiline
from kobs.model.logs import LogSource
from kobs.wire.ship import LineFormat, Stream

_FULL_LOOK_SECONDS = 30.0
_SECOND_LOOK_SECONDS = 1.0


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
        self._watch = FolderWatch(poll_seconds=settings.discovery_ms / 1000)
        self._streams: dict[Path, Stream | None] = {}
        self._wanted: dict[Path, bool] = {}
        self.problems: dict[str, str] = {}

    def close(self) -> None:
        """Stop watching."""
        self._watch.close()

    def look(self, now: float) -> Look | None:
        """Look again where something may have changed; None if nothing has. `now` is monotonic, in seconds."""
        changes = self._watch.changes(now)
        if changes.everywhere or now >= self._next_full:
            # What came while the watches were first set up is found by a second look.
            self._next_full = now + (_SECOND_LOOK_SECONDS if self._next_full == 0.0 else _FULL_LOOK_SECONDS)
            return self._look_everywhere()
        look = Look([], set(), full=False)
        for folder in changes.folders:
            if self._may_hold_logs(folder):
                look.folders.add(folder)
                look.found.extend(self._look_into(folder))
        return look if look.folders else None

    def _look_everywhere(self) -> Look:
        self.problems.clear()
        look = Look([], set(), full=True)
        for folder in self._folders():
            look.folders.add(folder)
            look.found.extend(self._look_into(folder))
        gone = self._watch.keep_only(look.folders | self._roots())
        if gone:
            self._streams = {live: stream for live, stream in self._streams.items() if live.parent not in gone}
            self._wanted = {path: wanted for path, wanted in self._wanted.items() if path.parent not in gone}
        return look

    def _folders(self) -> Iterator[Path]:
        """Yield every folder that holds or may hold log files."""
        root = self._settings.pod_logs
        for place in self._roots():
            self._watch.watch(place, leaf=False)
        if root is not None and root.is_dir():
            for pod in _folders_in(root):
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
        """Return the folders in which a new folder may be one that holds log files."""
        roots = {place for pattern in self._settings.files for place in _places_before(os.path.dirname(pattern))}  # noqa: PTH120
        root = self._settings.pod_logs
        if root is not None:
            roots |= {root} | set(_folders_in(root))
        return roots

    def _may_hold_logs(self, folder: Path) -> bool:
        root = self._settings.pod_logs
        if root is not None and folder.is_relative_to(root):
            return len(folder.relative_to(root).parts) == 2
        parent = str(folder)
        return any(_matches(parent, os.path.dirname(pattern)) for pattern in self._settings.files)  # noqa: PTH120

    def _look_into(self, folder: Path) -> Iterator[Found]:
        root = self._settings.pod_logs
        in_pods = root is not None and folder.is_relative_to(root)
        self._watch.watch(folder, leaf=in_pods)
        try:
            entries = {entry.name: entry for entry in os.scandir(folder) if entry.is_file(follow_symlinks=True)}
        except OSError as error:
            if not isinstance(error, FileNotFoundError | NotADirectoryError):
                self.problems[str(folder)] = f"{folder}: {error.strerror}"
            return
        names = self._container_files(folder, entries) if in_pods else self._plain_files(folder, entries)
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
        known = self._wanted.get(path)
        if known is None:
            known = self._wanted[path] = self._matches_settings(path)
        return known

    def _matches_settings(self, path: Path) -> bool:
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


def _places_before(pattern: str) -> Iterator[Path]:
    """Yield the folders in which the next part of a folder's pattern is looked for.

    The nearest folder that is there stands for one that is not there yet.
    """
    parts = Path(pattern).parts
    for end in range(1, len(parts)):
        before = str(Path(*parts[:end]))
        is_open = glob.has_magic(parts[end]) or not Path(*parts[: end + 1]).is_dir()
        if is_open:
            found = glob.iglob(before) if glob.has_magic(before) else [before]  # noqa: PTH207 - a pattern is no path
            yield from (Path(each) for each in found if Path(each).is_dir())


@functools.lru_cache(maxsize=20_000)
def _stems(name: str) -> tuple[str, ...]:
    """Return the live names that a name could be a rotation of, longest first."""
    ends = (end for end in range(len(name) - 1, 0, -1) if name[end] in ".-")
    return tuple(name[:end] for end in ends if is_rotation_of(name, name[:end]))


def _matches(path: str, pattern: str) -> bool:
    """Match as a shell does: `*` stays within one folder."""
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(
        fnmatch.fnmatchcase(part, want) and (not part.startswith(".") or want.startswith("."))
        for part, want in zip(parts, wanted, strict=True)
    )
