"""A point: one value that a part of the machine shows, before it has a time and the machine's own labels."""

from typing import NamedTuple

from kobs.model.samples import Family, MetricType


class Point(NamedTuple):
    """The value of one series; `labels` are without `__name__`, pairs of name and value."""

    name: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()


_HELP = {
    "node_boot_time_seconds": "When the machine started, in Unix time.",
    "node_context_switches_total": "How often CPUs have switched between tasks.",
    "node_cpu_guest_seconds_total": "Time of each CPU in guests; it is part of its user and nice time.",
    "node_cpu_seconds_total": "Time of each CPU by what it did.",
    "node_disk_": "Column {rest} of the disk in /proc/diskstats.",
    "node_filefd_": "File descriptors: {rest}.",
    "node_filesystem_device_error": "1 where the file system did not say how full it is.",
    "node_filesystem_mount_info": "Device numbers of a mount; the value is 1.",
    "node_filesystem_readonly": "1 where the file system is mounted read-only.",
    "node_filesystem_": "The file system's {rest}.",
    "node_forks_total": "Processes and threads made since the start.",
    "node_intr_total": "Interrupts since the start.",
    "node_load": "Tasks that run or wait for CPU or disk, mean over {rest} minutes.",
    "node_memory_": "Line {rest} of /proc/meminfo.",
    "node_network_info": "Address and states of a network device; the value is 1.",
    "node_network_up": "1 where the network device's state is up.",
    "node_network_": "Property {rest} of the network device.",
    "node_procs_": "Tasks that are {rest}.",
    "node_time_seconds": "The machine's clock, in Unix time.",
    "node_uname_info": "Name and kernel of the machine; the value is 1.",
    "up": "1 where the last look at the target succeeded.",
}


def family_of(name: str) -> Family:
    """Return what is said of a metric of the machine."""
    prefix = max((prefix for prefix in _HELP if name.startswith(prefix)), key=len)
    base = name.removesuffix("_total")
    return Family(
        name,
        MetricType.COUNTER if name.endswith("_total") else MetricType.GAUGE,
        next((unit for unit in ("seconds", "bytes") if base.endswith(f"_{unit}")), ""),
        _HELP[prefix].format(rest=base.removeprefix(prefix)),
    )
