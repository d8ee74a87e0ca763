"""Reads the machine's files and gives their points, part by part: what cannot be read leaves out its own part only."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from kobs import telemetry
from kobs.collectors.host import devices, filesystems, kernel
from kobs.collectors.host.filesystems import UsageReader
from kobs.collectors.host.points import Point

_KERNEL_FILES = ("ostype", "hostname", "domainname", "osrelease", "version")

log = telemetry.get_logger(__name__)
_unreadable = telemetry.counter(
    "kobs_agent_host_unreadable_total", "Parts of the machine that could not be read, by part.", ("part",)
)


class HostReader:
    """The machine whose /proc and /sys are at two paths; it remembers CPU times, so that they never step back."""

    def __init__(self, *, proc: Path, sys: Path, usage: UsageReader | None = None) -> None:
        self._proc = proc
        self._sys = sys
        # From a container the host's files are seen through its first process.
        self._root = "" if proc == Path("/proc") else str(proc / "1" / "root")
        self._usage = usage if usage is not None else UsageReader()
        self._cpus: dict[str, tuple[float, ...]] = {}
        self._failing: set[str] = set()
        self._parts: dict[str, Callable[[], list[Point]]] = {
            "cpu": self._read_cpu,
            "stat": lambda: kernel.stat_points(self._read("stat")),
            "memory": lambda: kernel.memory_points(self._read("meminfo")),
            "load": lambda: kernel.load_points(self._read("loadavg")),
            "files": lambda: kernel.file_points(self._read("sys/fs/file-nr")),
            "uname": self._read_uname,
            "disks": lambda: devices.disk_points(self._read("diskstats")),
            "traffic": lambda: devices.traffic_points(self._read("1/net/dev", "net/dev")),
            "interfaces": self._read_interfaces,
            "filesystems": self._read_filesystems,
            "time": lambda: kernel.time_points(time.time()),
        }

    def read(self) -> list[Point]:
        """Return the points of all parts that can be read."""
        points: list[Point] = []
        for part, read in self._parts.items():
            try:
                points += read()
            except (OSError, ValueError, LookupError) as error:
                _unreadable.labels(part).inc()
                if part not in self._failing:
                    log.warning(
                        "A part of the machine cannot be read; its metrics are missing.", part=part, error=error
                    )
                self._failing.add(part)
            else:
                self._failing.discard(part)
        return points

    def _read(self, *names: str) -> bytes:
        """Return the bytes of the first file below /proc that can be read."""
        for name in names[:-1]:
            try:
                return (self._proc / name).read_bytes()
            except OSError:
                continue
        return (self._proc / names[-1]).read_bytes()

    def _read_cpu(self) -> list[Point]:
        self._cpus = kernel.steady(self._cpus, kernel.parse_cpu(self._read("stat")))
        return kernel.cpu_points(self._cpus)

    def _read_uname(self) -> list[Point]:
        files = {name: self._read(f"sys/kernel/{name}") for name in _KERNEL_FILES}
        return kernel.uname_points(files, machine=os.uname().machine)

    def _read_interfaces(self) -> list[Point]:
        points: list[Point] = []
        for folder in sorted((self._sys / "class" / "net").iterdir()):
            if not folder.is_dir() or not devices.is_shown(folder.name):
                continue
            files: dict[str, bytes] = {}
            for name in (*devices.NETWORK_FILES, *devices.NETWORK_TEXTS):
                try:
                    files[name] = (folder / name).read_bytes()
                except OSError:  # a device answers such files as it has
                    continue
            points += devices.interface_points(folder.name, files)
        return points

    def _read_filesystems(self) -> list[Point]:
        mounts = filesystems.parse_mounts(self._read("1/mountinfo", "self/mountinfo"))
        answers = self._usage.read([self._root + mount.mountpoint for mount in mounts])
        return [
            point
            for mount in mounts
            for point in filesystems.mount_points(mount, answers[self._root + mount.mountpoint])
        ]
