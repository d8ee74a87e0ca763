"""CPU, memory, load and the system as a whole: bytes of /proc arrive, points leave. Nothing here reads a file.

Source: proc(5); node_exporter 1.12 `collector/` (names and units).
"""

import math
import re
from collections.abc import Mapping, Sequence

from kobs.collectors.host.points import Point

CLOCK_TICKS = 100.0
"""Ticks a second in /proc/stat: USER_HZ, which is 100 on all that kobs runs on."""

CPU_MODES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_JUMP_SECONDS = 3.0

_MEMORY_FIELDS = re.compile(
    r"Mem(?:Total|Free|Available)|Buffers|Cached|Swap(?:Cached|Total|Free)|(?:Ina|A)ctive(?:\((?:anon|file)\))?"
    r"|Unevictable|Mlocked|Zswap(?:ped)?|Dirty|Writeback(?:Tmp)?|AnonPages|Mapped|Shmem(?:HugePages|PmdMapped)?|Slab"
    r"|SReclaimable|SUnreclaim|KernelStack|PageTables|NFS_Unstable|Bounce|CommitLimit|Committed_AS"
    r"|Vmalloc(?:Total|Used|Chunk)|Percpu|HardwareCorrupted|AnonHugePages|Cma(?:Total|Free)"
    r"|HugePages_(?:Total|Free|Rsvd|Surp)|Hugepagesize|DirectMap(?:4k|2M|1G)"
)
"""The lines of /proc/meminfo that node_exporter knows."""

CpuSeconds = Mapping[str, Sequence[float]]
"""By the number of the CPU: seconds in each of CPU_MODES, then as guest, then as niced guest."""


def parse_cpu(stat: bytes) -> dict[str, tuple[float, ...]]:
    """Return the seconds of each CPU, from /proc/stat."""
    cpus = {}
    for line in stat.splitlines():
        name, *ticks = line.split()
        if name.startswith(b"cpu") and name != b"cpu":
            seconds = [int(count) / CLOCK_TICKS for count in ticks]
            seconds += [0.0] * (10 - len(seconds))
            cpus[name[3:].decode()] = tuple(seconds[:10])
    return cpus


def steady(previous: CpuSeconds, current: CpuSeconds) -> dict[str, tuple[float, ...]]:
    """Return `current` without the small steps back that the kernel makes, which would look like a counter's reset.

    A CPU whose idle time goes back by more than 3 s was taken out and put in again: it begins anew.
    """
    result = {}
    for cpu, seconds in current.items():
        before = previous.get(cpu)
        if before is None or before[CPU_MODES.index("idle")] - seconds[CPU_MODES.index("idle")] > _JUMP_SECONDS:
            result[cpu] = tuple(seconds)
        else:
            result[cpu] = tuple(map(max, before, seconds))
    return result


def cpu_points(cpus: CpuSeconds) -> list[Point]:
    """Return the points of the seconds of each CPU."""
    points = []
    for cpu, seconds in cpus.items():
        points += [
            Point("node_cpu_seconds_total", value, (("cpu", cpu), ("mode", mode)))
            for mode, value in zip(CPU_MODES, seconds, strict=False)
        ]
        points += [
            Point("node_cpu_guest_seconds_total", value, (("cpu", cpu), ("mode", mode)))
            for mode, value in zip(("user", "nice"), seconds[8:], strict=True)
        ]
    return points


_STAT_NAMES = {
    b"intr": "node_intr_total",
    b"ctxt": "node_context_switches_total",
    b"processes": "node_forks_total",
    b"btime": "node_boot_time_seconds",
    b"procs_running": "node_procs_running",
    b"procs_blocked": "node_procs_blocked",
}


def stat_points(stat: bytes) -> list[Point]:
    """Return what /proc/stat says of the system as a whole."""
    points = []
    for line in stat.splitlines():
        name, _, rest = line.partition(b" ")
        if name in _STAT_NAMES:
            points.append(Point(_STAT_NAMES[name], float(rest.split(maxsplit=1)[0])))
    return points


def memory_points(meminfo: bytes) -> list[Point]:
    """Return the points of /proc/meminfo."""
    points = []
    for line in meminfo.decode("ascii").splitlines():
        name, _, rest = line.partition(":")
        if _MEMORY_FIELDS.fullmatch(name) is None:
            continue
        number, *unit = rest.split()
        suffix, factor = ("_bytes", 1024) if unit else ("", 1)
        field = name.replace("(", "_").replace(")", "")
        points.append(Point(f"node_memory_{field}{suffix}", float(int(number) * factor)))
    return points


def load_points(loadavg: bytes) -> list[Point]:
    """Return the points of /proc/loadavg."""
    loads = loadavg.split()[:3]
    return [Point(f"node_load{minutes}", float(load)) for minutes, load in zip((1, 5, 15), loads, strict=True)]


def file_points(file_nr: bytes) -> list[Point]:
    """Return the points of /proc/sys/fs/file-nr."""
    allocated, _, maximum = file_nr.split()
    return [Point("node_filefd_allocated", float(allocated)), Point("node_filefd_maximum", float(maximum))]


def uname_points(kernel: Mapping[str, bytes], *, machine: str) -> list[Point]:
    """Return the points of the files ostype, hostname, domainname, osrelease and version of /proc/sys/kernel."""
    labels = {
        "domainname": kernel["domainname"],
        "nodename": kernel["hostname"],
        "release": kernel["osrelease"],
        "sysname": kernel["ostype"],
        "version": kernel["version"],
    }
    told = {name: value.decode(errors="replace").strip() for name, value in labels.items()}
    return [Point("node_uname_info", 1.0, tuple(sorted({**told, "machine": machine}.items())))]


def time_points(now_seconds: float) -> list[Point]:
    """Return the point of the machine's own clock."""
    if not math.isfinite(now_seconds):
        raise ValueError(f"time {now_seconds}: expected a finite number")
    return [Point("node_time_seconds", now_seconds)]
