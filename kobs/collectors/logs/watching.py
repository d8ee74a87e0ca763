"""Tells when a quiet file has grown, so that it need not be looked at until then.

Each watch tells once and is gone: a file that is written to all the time costs no events. Where a file cannot be
watched (no inotify, too many watches, a file system whose writes happen on other machines too), it has to be polled.
A watch sees no write through a memory map, and events can be lost: a full look of the discovery makes up for both.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from inotify_simple import INotify, flags

from kobs import telemetry

_MOST_WATCHES = Path("/proc/sys/fs/inotify/max_user_watches")
_MOUNTS = Path("/proc/self/mountinfo")
_SHARED_FILE_SYSTEMS = {
    *("9p", "afs", "beegfs", "ceph", "cifs", "gfs2", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs"),
    *("smb3", "smbfs", "vboxsf", "virtiofs"),
}
_OVERFLOW_WATCH = -1

log = telemetry.get_logger(__name__)


class SharedFileSystems:
    """Which devices hold files that other machines may write to, of which no event tells."""

    def __init__(self) -> None:
        self._shared: dict[int, bool] = {}

    def holds(self, device: int) -> bool:
        """Whether a device is such a file system."""
        if device not in self._shared:
            self._shared = dict(_shared_devices())
            self._shared.setdefault(device, False)
        return self._shared[device]


class GrowthWatch:
    """Watches on quiet files, each by a key. Not for use from two threads at once."""

    def __init__(self) -> None:
        self._keys: dict[int, int] = {}
        self._watches: dict[int, int] = {}
        self._most = _most_watches()
        self._shared = SharedFileSystems()
        try:
            self._inotify: INotify | None = INotify(nonblocking=True)
        except OSError as error:
            self._inotify = None
            log.warning("Quiet files are polled, since inotify is not to be had.", error=error)

    def close(self) -> None:
        """Stop watching."""
        if self._inotify is not None:
            self._inotify.close()

    def watch(self, key: int, path: str, *, device: int) -> bool:
        """Tell once of the next write to a file; False where it has to be polled.

        What is written before it returns may go unnoticed: look at the file once more.
        """
        if self._inotify is None or self._shared.holds(device):
            return False
        if key not in self._watches and len(self._watches) >= self._most:
            return False
        try:
            watch = self._inotify.add_watch(path, flags.MODIFY | flags.ONESHOT)
        except OSError:
            return False
        # Two names of one file share a watch: the key before is told of nothing, so it must not rest on it.
        other = self._keys.get(watch)
        if other is not None and other != key:
            return False
        self._keys[watch] = key
        self._watches[key] = watch
        return True

    def read(self) -> tuple[list[int], bool]:
        """Return the keys of files that were written to, and whether others may have been too."""
        if self._inotify is None:
            return [], False
        grown: list[int] = []
        overflow = False
        for event in self._inotify.read(timeout=0):
            if event.wd == _OVERFLOW_WATCH or event.mask & flags.Q_OVERFLOW:
                overflow = True
                continue
            key = self._keys.pop(event.wd, None) if event.mask & flags.IGNORED else self._keys.get(event.wd)
            if key is None:
                continue
            if event.mask & flags.IGNORED:
                self._watches.pop(key, None)
            grown.append(key)
        return grown, overflow


def _most_watches() -> int:
    try:
        return int(_MOST_WATCHES.read_text()) // 2  # other programs of this user have the rest
    except (OSError, ValueError):
        return 4096


def _shared_devices() -> Iterator[tuple[int, bool]]:
    """Yield each mounted device, and whether its files may be written to by other machines.

    Source: proc_pid_mountinfo(5).
    """
    try:
        lines = _MOUNTS.read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        before, _, after = line.partition(" - ")
        major, _, minor = before.split(" ")[2].partition(":")
        kind = after.split(" ")[0]
        shared = kind in _SHARED_FILE_SYSTEMS or kind.startswith("fuse")
        yield os.makedev(int(major), int(minor)), shared
