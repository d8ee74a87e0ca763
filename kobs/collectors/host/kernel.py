"""Memory, load, pressure and the system as a whole.

Source: proc(5), Linux `Documentation/accounting/psi.rst`, `Documentation/scheduler/sched-stats.rst`; node_exporter 1.12
(names and units).
"""

import errno
import re

from kobs.collectors.host.points import Point
from kobs.collectors.host.roots import AbsentError, Roots, is_folder, names, number, read, read_or_absent, some_text

_MEMORY_FIELDS = re.compile(
    r"Mem(?:Total|Free|Available)|Buffers|Cached|Swap(?:Cached|Total|Free)|(?:Ina|A)ctive(?:\((?:anon|file)\))?"
    r"|Unevictable|Mlocked|Zswap(?:ped)?|Dirty|Writeback(?:Tmp)?|AnonPages|Mapped|Shmem(?:HugePages|PmdMapped)?|Slab"
    r"|SReclaimable|SUnreclaim|KernelStack|PageTables|NFS_Unstable|Bounce|CommitLimit|Committed_AS"
    r"|Vmalloc(?:Total|Used|Chunk)|Percpu|HardwareCorrupted|AnonHugePages|Cma(?:Total|Free)"
    r"|HugePages_(?:Total|Free|Rsvd|Surp)|Hugepagesize|DirectMap(?:4k|2M|1G)"
)
"""The lines of /proc/meminfo that node_exporter knows."""

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


def collect_stat(roots: Roots) -> list[Point]:
    """Return the points of the system as a whole."""
    return stat_points(read(f"{roots.proc}/stat"))


def collect_meminfo(roots: Roots) -> list[Point]:
    """Return the points of memory."""
    return memory_points(read(f"{roots.proc}/meminfo"))


def collect_loadavg(roots: Roots) -> list[Point]:
    """Return the points of load."""
    return load_points(read(f"{roots.proc}/loadavg"))


def collect_filefd(roots: Roots) -> list[Point]:
    """Return the points of file descriptors."""
    return file_points(read(f"{roots.proc}/sys/fs/file-nr"))


_VMSTAT_FIELDS = re.compile(rb"(?:oom_kill|pgpg|pswp|pg.*fault).*")


def collect_vmstat(roots: Roots) -> list[Point]:
    """Return the points of paging and of processes killed for memory, from /proc/vmstat."""
    points = []
    for line in read(f"{roots.proc}/vmstat").splitlines():
        name, _, value = line.partition(b" ")
        if _VMSTAT_FIELDS.fullmatch(name):
            points.append(Point(f"node_vmstat_{name.decode()}", float(value)))
    return points


_PRESSURES = {
    "cpu": {b"some": "cpu_waiting"},
    "io": {b"some": "io_waiting", b"full": "io_stalled"},
    "memory": {b"some": "memory_waiting", b"full": "memory_stalled"},
    "irq": {b"full": "irq_stalled"},
}


def collect_pressure(roots: Roots) -> list[Point]:
    """Return the points of the time in which tasks waited for CPU, disks and memory.

    Raises: AbsentError where the kernel does not measure it.
    """
    points = []
    for resource, shown in _PRESSURES.items():
        try:
            lines = read(f"{roots.proc}/pressure/{resource}").splitlines()
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.ENOTSUP):
                raise AbsentError("pressure is not measured; the kernel's parameter psi=1 turns it on") from error
            raise
        totals = {line.split(maxsplit=1)[0]: int(line.rpartition(b"total=")[2]) for line in lines}
        points += [
            Point(f"node_pressure_{name}_seconds_total", totals[kind] / 1_000_000) for kind, name in shown.items()
        ]
    if not points:
        raise AbsentError(f"no {roots.proc}/pressure")
    return points


def collect_entropy(roots: Roots) -> list[Point]:
    """Return the points of the kernel's pool of random bits."""
    folder = f"{roots.proc}/sys/kernel/random"
    return [
        Point("node_entropy_available_bits", float(number(f"{folder}/entropy_avail"))),
        Point("node_entropy_pool_size_bits", float(number(f"{folder}/poolsize"))),
    ]


def collect_kernel_hung(roots: Roots) -> list[Point]:
    """Return the point of tasks that the kernel found hanging.

    Raises: AbsentError where the kernel does not count them.
    """
    count = read_or_absent(f"{roots.proc}/sys/kernel/hung_task_detect_count")
    return [Point("node_kernel_hung_tasks_total", float(int(count)))]


def collect_schedstat(roots: Roots) -> list[Point]:
    """Return the points of how long each CPU ran tasks and let them wait.

    Raises: AbsentError where the kernel does not count it.
    """
    points = []
    for line in read_or_absent(f"{roots.proc}/schedstat").decode().splitlines():
        fields = line.split()
        if fields and fields[0].startswith("cpu"):
            labels = (("cpu", fields[0][3:]),)
            running, waiting, slices = (int(field) for field in fields[7:10])
            points += [
                Point("node_schedstat_running_seconds_total", running / 1e9, labels),
                Point("node_schedstat_waiting_seconds_total", waiting / 1e9, labels),
                Point("node_schedstat_timeslices_total", float(slices), labels),
            ]
    return points


_SELINUX_MODES = {"enforcing": 1.0, "permissive": 0.0, "disabled": -1.0}


def collect_selinux(roots: Roots) -> list[Point]:
    """Return the points of SELinux: whether it is there, how it is set and how it runs."""
    folder = f"{roots.sys}/fs/selinux"
    if not is_folder(folder) or "enforce" not in names(folder):
        return [Point("node_selinux_enabled", 0.0)]
    config = some_text(f"{roots.root}/etc/selinux/config") or ""
    configured = re.search(r"^SELINUX=(\w+)", config, re.M)
    return [
        Point("node_selinux_enabled", 1.0),
        Point("node_selinux_config_mode", _SELINUX_MODES.get(configured[1].lower() if configured else "", -1.0)),
        Point("node_selinux_current_mode", float(number(f"{folder}/enforce"))),
    ]
