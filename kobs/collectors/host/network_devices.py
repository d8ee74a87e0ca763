"""Network devices: traffic, state, properties, and bonds of several.

Source: Linux `Documentation/ABI/testing/sysfs-class-net`, `Documentation/networking/bonding.rst`; node_exporter 1.12
(names and units).
"""

import re
from collections.abc import Mapping

from kobs.collectors.host.points import Point
from kobs.collectors.host.roots import Roots, is_folder, names, read, read_or_absent

_IGNORED_NETWORK = re.compile(r"veth.*|[a-f0-9]{15}")
"""One end of each container's network: kube-prometheus leaves them out too."""

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
    "tx_queue_len": "transmit_queue_length",
    "type": "protocol_type",
}
"""Files of a device below /sys/class/net and the metric that their number is; a device lacks some of them."""
NETWORK_TEXTS = ("address", "broadcast", "duplex", "ifalias", "operstate")
"""Files of a device whose text is a label."""

_INTERFACE_UP = 1
_MEGABIT_BYTES = 125_000


def traffic_points(net_dev: bytes) -> list[Point]:
    """Return the points of /proc/net/dev."""
    points: list[Point] = []
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


def collect_netdev(roots: Roots) -> list[Point]:
    """Return the points of traffic."""
    points = traffic_points(read(f"{roots.net}/dev"))
    folder = f"{roots.sys}/class/net"
    for device in _devices(folder):
        # The kernel's table lacks this one.
        try:
            count = int(read(f"{folder}/{device}/statistics/rx_nohandler"))
        except OSError:
            continue
        points.append(Point("node_network_receive_nohandler_total", float(count), (("device", device),)))
    return points


def collect_netclass(roots: Roots) -> list[Point]:
    """Return the points of states and properties."""
    points: list[Point] = []
    folder = f"{roots.sys}/class/net"
    for device in _devices(folder):
        files: dict[str, bytes] = {}
        for name in (*NETWORK_FILES, *NETWORK_TEXTS):
            try:
                files[name] = read(f"{folder}/{device}/{name}")
            except OSError:  # a device answers such files as it has
                continue
        points += interface_points(device, files)
    return points


def _devices(folder: str) -> list[str]:
    return [name for name in names(folder) if is_shown(name) and is_folder(f"{folder}/{name}")]


def collect_bonding(roots: Roots) -> list[Point]:
    """Return how many devices each bond has and how many of their links are up.

    Raises: AbsentError where the kernel has no bonds.
    """
    folder = f"{roots.sys}/class/net"
    points = []
    for bond in read_or_absent(f"{folder}/bonding_masters").decode().split():
        members = read(f"{folder}/{bond}/bonding/slaves").decode().split()
        states = [_member_state(f"{folder}/{bond}", member) for member in members]
        labels = (("master", bond),)
        points += [
            Point("node_bonding_slaves", float(len(states)), labels),
            Point("node_bonding_active", float(states.count("up")), labels),
        ]
    return points


def _member_state(bond: str, member: str) -> str:
    try:
        state = read(f"{bond}/lower_{member}/bonding_slave/mii_status")
    except FileNotFoundError:  # older kernels name it so
        state = read(f"{bond}/slave_{member}/bonding_slave/mii_status")
    return state.decode().strip()
