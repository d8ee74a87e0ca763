"""Disks and network devices: bytes of /proc and /sys arrive, points leave. Nothing here reads a file.

Source: Linux `Documentation/admin-guide/iostats.rst`, `Documentation/ABI/testing/sysfs-class-net`; node_exporter 1.12
`collector/diskstats_linux.go`, `netdev_common.go`, `netclass_linux.go` (names and units).
"""

import re
from collections.abc import Mapping

from kobs.collectors.host.points import Point

_IGNORED_DISKS = re.compile(r"(?:z?ram|loop|fd|(?:h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+")
"""Memory, loops, and partitions beside their disks."""
_IGNORED_NETWORK = re.compile(r"veth.*|[a-f0-9]{15}")
"""One end of each container's network: kube-prometheus leaves them out too."""

_SECTOR_BYTES = 512
_DISK_COLUMNS: tuple[tuple[str, float], ...] = (
    ("reads_completed_total", 1),
    ("reads_merged_total", 1),
    ("read_bytes_total", _SECTOR_BYTES),
    ("read_time_seconds_total", 0.001),
    ("writes_completed_total", 1),
    ("writes_merged_total", 1),
    ("written_bytes_total", _SECTOR_BYTES),
    ("write_time_seconds_total", 0.001),
    ("io_now", 1),
    ("io_time_seconds_total", 0.001),
    ("io_time_weighted_seconds_total", 0.001),
    ("discards_completed_total", 1),
    ("discards_merged_total", 1),
    ("discarded_sectors_total", 1),
    ("discard_time_seconds_total", 0.001),
    ("flush_requests_total", 1),
    ("flush_requests_time_seconds_total", 0.001),
)
"""Columns of /proc/diskstats after the name, and what one of them is in the metric's unit."""

_NETWORK_COLUMNS = tuple(
    f"{direction}_{column}_total"
    for direction, columns in (
        ("receive", "bytes packets errs drop fifo frame compressed multicast"),
        ("transmit", "bytes packets errs drop fifo colls carrier compressed"),
    )
    for column in columns.split()
)
"""Columns of /proc/net/dev."""

NETWORK_FILES: Mapping[str, str] = {
    "addr_assign_type": "address_assign_type",
    "carrier": "carrier",
    "carrier_changes": "carrier_changes_total",
    "carrier_down_count": "carrier_down_changes_total",
    "carrier_up_count": "carrier_up_changes_total",
    "dev_id": "device_id",
    "dormant": "dormant",
    "flags": "flags",
    "ifindex": "iface_id",
    "iflink": "iface_link",
    "link_mode": "iface_link_mode",
    "mtu": "mtu_bytes",
    "name_assign_type": "name_assign_type",
    "netdev_group": "net_dev_group",
    "speed": "speed_bytes",
    "statistics/rx_nohandler": "receive_nohandler_total",
    "tx_queue_len": "transmit_queue_length",
    "type": "protocol_type",
}
"""Files of a device below /sys/class/net and the metric that their number is; a device lacks some of them."""
NETWORK_TEXTS = ("address", "broadcast", "duplex", "ifalias", "operstate")
"""Files of a device whose text is a label."""

_INTERFACE_UP = 1
_MEGABIT_BYTES = 125_000


def disk_points(diskstats: bytes) -> list[Point]:
    """Return the points of /proc/diskstats; older kernels have fewer columns."""
    points = []
    for line in diskstats.decode().splitlines():
        _, _, device, *numbers = line.split()
        if _IGNORED_DISKS.fullmatch(device):
            continue
        labels = (("device", device),)
        for (name, unit), number in zip(_DISK_COLUMNS, numbers, strict=False):
            value = int(number) / 1000 if unit == 0.001 else int(number) * unit
            points.append(Point(f"node_disk_{name}", float(value), labels))
    return points


def traffic_points(net_dev: bytes) -> list[Point]:
    """Return the points of /proc/net/dev."""
    points = []
    for line in net_dev.decode().splitlines()[2:]:
        device, _, rest = line.strip().rpartition(":")
        if not is_shown(device):
            continue
        for name, number in zip(_NETWORK_COLUMNS, rest.split(), strict=True):
            points.append(Point(f"node_network_{name}", float(number), (("device", device),)))
    return points


def is_shown(device: str) -> bool:
    """Tell whether a network device is shown."""
    return _IGNORED_NETWORK.fullmatch(device) is None


def interface_points(device: str, files: Mapping[str, bytes]) -> list[Point]:
    """Return the points of a device's files below /sys/class/net, given by name, as far as they can be read."""
    labels = (("device", device),)
    points = []
    for file, name in NETWORK_FILES.items():
        if file in files:
            number = int(files[file], 0)
            value = number * _MEGABIT_BYTES if file == "speed" else number
            points.append(Point(f"node_network_{name}", float(value), labels))
    texts = {name: files.get(name, b"").decode(errors="replace").strip() for name in NETWORK_TEXTS}
    points.append(Point("node_network_up", float(texts["operstate"] == "up"), labels))
    if "flags" in files:
        texts["adminstate"] = "up" if int(files["flags"], 0) & _INTERFACE_UP else "down"
    points.append(Point("node_network_info", 1.0, tuple(sorted({**texts, "device": device}.items()))))
    return points
