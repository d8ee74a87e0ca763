"""File systems: the bytes of mountinfo and what statvfs says arrive, points leave.

A file system that does not answer (a network disk whose server is gone) holds the thread that asks it for ever. So the
asking is done in a thread of its own, and a mount that has held it for long is shown with an error and not asked until
it has answered.

Source: proc(5) on mountinfo; node_exporter 1.12 `collector/filesystem_linux.go` (names, which mounts are left out).
"""

import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass

from kobs.collectors.host.points import Point
from kobs.collectors.host.roots import Roots, read

_IGNORED_MOUNTS = re.compile(
    r"/(?:dev|proc|run/credentials/.+|run/k3s/containerd/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+"
    r"|var/lib/kubelet/pods/.+)(?:$|/.*)"
)
"""node_exporter's default and what kube-prometheus adds: the volumes of each Pod."""
_IGNORED_TYPES = re.compile(
    r"autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|erofs|fusectl|hugetlbfs|iso9660|mqueue|nsfs"
    r"|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|sysfs|tracefs"
)
_READONLY = frozenset({"ro", "emergency_ro"})
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system that is shown."""

    device: str
    mountpoint: str
    fstype: str
    major: str
    minor: str
    is_readonly: bool


@dataclass(frozen=True, slots=True)
class Usage:
    """How full a file system is."""

    size_bytes: float
    free_bytes: float
    avail_bytes: float
    files: float
    files_free: float
    is_readonly: bool


def parse_mounts(mountinfo: bytes, *, root: str = "") -> list[Mount]:
    """Return the mounts of /proc/PID/mountinfo that are shown, each place once (the last mount hides those before).

    `root` is where the host's / is mounted for the reader; it is taken off the places.
    """
    mounts: dict[tuple[str, str], Mount] = {}
    for line in mountinfo.decode(errors="surrogateescape").splitlines():
        fields = line.split(" ")
        rest = fields[fields.index("-") + 1 :]
        fstype, device, super_options = rest[0], rest[1], rest[2] if len(rest) > 2 else ""
        mountpoint = _OCTAL.sub(lambda found: chr(int(found[1], 8)), fields[4])
        if root and (mountpoint == root or mountpoint.startswith(root + "/")):
            mountpoint = mountpoint.removeprefix(root) or "/"
        if _IGNORED_TYPES.fullmatch(fstype) or _IGNORED_MOUNTS.fullmatch(mountpoint):
            continue
        major, _, minor = fields[2].partition(":")
        is_readonly = "ro" in fields[5].split(",") or not _READONLY.isdisjoint(super_options.split(","))
        mounts[device, mountpoint] = Mount(device, mountpoint, fstype, major, minor, is_readonly)
    return list(mounts.values())


def ask(path: str) -> Usage:
    """Return how full the file system at a path is.

    Raises: OSError.
    """
    said = os.statvfs(path)
    return Usage(
        float(said.f_blocks * said.f_frsize),
        float(said.f_bfree * said.f_frsize),
        float(said.f_bavail * said.f_frsize),
        float(said.f_files),
        float(said.f_ffree),
        bool(said.f_flag & os.ST_RDONLY),
    )


def mount_points(mount: Mount, usage: Usage | str) -> list[Point]:
    """Return the points of a mount; `usage` is a text where the file system gave an error instead."""
    error = usage if isinstance(usage, str) else ""
    place = {"device": mount.device, "mountpoint": mount.mountpoint}
    labels = _labels(place, fstype=mount.fstype, device_error=error)
    is_readonly = mount.is_readonly or (isinstance(usage, Usage) and usage.is_readonly)
    points = [
        Point("node_filesystem_device_error", float(bool(error)), labels),
        Point("node_filesystem_readonly", float(is_readonly), labels),
    ]
    if isinstance(usage, str):
        return points
    return [
        *points,
        Point("node_filesystem_size_bytes", usage.size_bytes, labels),
        Point("node_filesystem_free_bytes", usage.free_bytes, labels),
        Point("node_filesystem_avail_bytes", usage.avail_bytes, labels),
        Point("node_filesystem_files", usage.files, labels),
        Point("node_filesystem_files_free", usage.files_free, labels),
        Point("node_filesystem_purgeable_bytes", 0.0, labels),
        Point("node_filesystem_mount_info", 1.0, _labels(place, major=mount.major, minor=mount.minor)),
    ]


def _labels(place: dict[str, str], **more: str) -> tuple[tuple[str, str], ...]:
    shown = {name: value.encode(errors="surrogateescape").decode(errors="replace") for name, value in place.items()}
    return tuple(sorted({**shown, **more}.items()))


class UsageReader:
    """Asks file systems in a thread that may get stuck."""

    def __init__(self, *, wait_seconds: float = 5.0, ask: Callable[[str], Usage] = ask) -> None:
        self._wait_seconds = wait_seconds
        self._ask = ask
        self._stuck: dict[str, threading.Thread] = {}

    def read(self, paths: list[str]) -> dict[str, Usage | str]:
        """Return the usage of the file systems at paths, or the text of what is wrong."""
        self._stuck = {path: thread for path, thread in self._stuck.items() if thread.is_alive()}
        answers: dict[str, Usage | str] = dict.fromkeys(self._stuck, "mountpoint timeout")
        left = [path for path in paths if path not in self._stuck]
        while left:
            asking = _Asking(left, self._ask)
            asking.thread.join(self._wait_seconds)
            answers |= dict(asking.answers)
            left = [path for path in left if path not in answers]
            if left:
                self._stuck[left[0]] = asking.thread
                answers[left.pop(0)] = "mountpoint timeout"
        return answers


class _Asking:
    """One thread that asks some paths in order."""

    def __init__(self, paths: list[str], ask: Callable[[str], Usage]) -> None:
        self.answers: dict[str, Usage | str] = {}
        self._paths = paths
        self._ask = ask
        self.thread = threading.Thread(target=self._run, name="statvfs", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        for path in self._paths:
            try:
                self.answers[path] = self._ask(path)
            except OSError as error:
                self.answers[path] = (error.strerror or type(error).__name__).lower()


class FilesystemCollector:
    """Shows all file systems of the machine, asking each how full it is."""

    def __init__(self, usage: UsageReader | None = None) -> None:
        self._usage = usage if usage is not None else UsageReader()

    def collect(self, roots: Roots) -> list[Point]:
        """Return the points of all mounts that are shown."""
        try:
            mountinfo = read(f"{roots.proc}/1/mountinfo")
        except OSError:  # only root may read it
            mountinfo = read(f"{roots.proc}/self/mountinfo")
        mounts = parse_mounts(mountinfo, root=roots.root)
        answers = self._usage.read([roots.root + mount.mountpoint for mount in mounts])
        return [point for mount in mounts for point in mount_points(mount, answers[roots.root + mount.mountpoint])]
