"""Real files and real inotify events: growth is told once, new names at once."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kobs.collectors.logs import watching
from kobs.collectors.logs.discovery import Discovery, Look
from kobs.collectors.logs.folder_watching import FolderWatch
from kobs.collectors.logs.watching import GrowthWatch
from kobs.config import load


@pytest.fixture
def growth() -> Iterator[GrowthWatch]:
    """Watches of growth."""
    watch = GrowthWatch()
    yield watch
    watch.close()


def _watch(growth: GrowthWatch, key: int, path: Path) -> bool:
    return growth.watch(key, str(path), device=path.stat().st_dev)


def _append(path: Path, content: bytes = b"x\n") -> None:
    with path.open("ab") as file:
        file.write(content)


def test_the_next_write_is_told_once_and_then_no_more(tmp_path: Path, growth: GrowthWatch) -> None:
    path = tmp_path / "a.log"
    path.touch()
    assert _watch(growth, 7, path)
    assert growth.read() == ([], False)
    _append(path)
    grown, overflow = growth.read()
    assert set(grown) == {7}
    assert not overflow
    _append(path)
    assert growth.read() == ([], False)
    assert _watch(growth, 7, path)
    _append(path)
    assert set(growth.read()[0]) == {7}


def test_a_write_through_a_link_or_after_a_rename_or_deletion_is_told(tmp_path: Path, growth: GrowthWatch) -> None:
    path = tmp_path / "a.log"
    with path.open("ab", buffering=0) as writer:
        (tmp_path / "link.log").symlink_to(path)
        assert _watch(growth, 1, tmp_path / "link.log")
        path.rename(tmp_path / "a.log.1")
        (tmp_path / "a.log.1").unlink()
        writer.write(b"x")
        assert 1 in growth.read()[0]


def test_truncation_is_told(tmp_path: Path, growth: GrowthWatch) -> None:
    path = tmp_path / "a.log"
    _append(path)
    assert _watch(growth, 1, path)
    os.truncate(path, 0)
    assert set(growth.read()[0]) == {1}


def test_two_names_of_one_file_have_no_watch_in_common(tmp_path: Path, growth: GrowthWatch) -> None:
    """The second is polled: an event has one key."""
    path = tmp_path / "a.log"
    path.touch()
    (tmp_path / "b.log").hardlink_to(path)
    assert _watch(growth, 1, path)
    assert not _watch(growth, 2, tmp_path / "b.log")
    _append(path)
    assert set(growth.read()[0]) == {1}


def test_a_file_that_other_machines_may_write_to_is_not_watched(
    tmp_path: Path, growth: GrowthWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    # no file system of that kind can be mounted in a test
    mounts = tmp_path / "mountinfo"
    device = tmp_path.stat().st_dev
    mounts.write_text(f"36 35 {os.major(device)}:{os.minor(device)} / /mnt rw - nfs4 server:/export rw\n")
    monkeypatch.setattr(watching, "_MOUNTS", mounts)
    path = tmp_path / "a.log"
    path.touch()
    assert not _watch(growth, 1, path)
    folders = FolderWatch(poll_seconds=0.5)
    folders.watch(tmp_path, leaf=True)
    os.utime(tmp_path, (1, 1))
    assert folders.changes(0.0).folders == {tmp_path}
    assert folders.changes(0.6).folders == set()
    (tmp_path / "new.log").touch()
    assert folders.changes(0.7).folders == set(), "it was polled too soon"
    assert folders.changes(1.2).folders == {tmp_path}
    folders.close()


def test_watches_end_at_half_of_the_users_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "max_user_watches"
    limit.write_text("4\n")
    monkeypatch.setattr(watching, "_MOST_WATCHES", limit)
    growth = GrowthWatch()
    paths = [tmp_path / f"{number}.log" for number in range(3)]
    for path in paths:
        path.touch()
    assert [_watch(growth, number, path) for number, path in enumerate(paths)] == [True, True, False]
    _append(paths[0])
    assert set(growth.read()[0]) == {0}
    assert _watch(growth, 2, paths[2]), "the watch that has told was not given back"
    growth.close()


def _names(look: Look | None) -> set[str]:
    return set() if look is None else {found.path.name for found in look.found}


@pytest.fixture
def discover(tmp_path: Path) -> Iterator[Callable[[float], Look | None]]:
    """Look at a pattern over two levels of folders, of which the upper one does not exist yet."""
    settings = load(None, overrides={"agent.files": (f"{tmp_path}/top/*/*.log",), "agent.pod_logs": tmp_path / "pods"})
    discovery = Discovery(settings.agent, cluster="", node="n1")
    yield discovery.look
    discovery.close()


def test_files_in_folders_that_are_new_are_found_by_their_events(
    tmp_path: Path, discover: Callable[[float], Look | None]
) -> None:
    """Time hardly goes on, so that no full look comes by itself."""
    assert _names(discover(0.1)) == set()
    (tmp_path / "top").mkdir()
    discover(0.2)
    (tmp_path / "top" / "app").mkdir()
    discover(0.3)
    (tmp_path / "top" / "app" / "a.log").touch()
    assert _names(discover(0.4)) == {"a.log"}
    assert discover(0.5) is None
    (tmp_path / "top" / "app" / "notes.txt").touch()
    (tmp_path / "top" / "app" / "b.log").touch()
    assert _names(discover(0.6)) == {"a.log", "b.log"}
    (tmp_path / "top" / "app" / "a.log").unlink()
    look = discover(0.7)
    assert look is not None
    assert not look.full
    assert _names(look) == {"b.log"}
