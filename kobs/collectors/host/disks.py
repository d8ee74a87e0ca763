"""Disks: what the kernel counts of them, and what udev knows of them.

Source: Linux `Documentation/admin-guide/iostats.rst`; udev's data below /run/udev/data (lines `E:NAME=value`);
node_exporter 1.12 (names, units, which disks are left out).
"""

import re
from collections.abc import Mapping

from kobs.collectors.host.points import Point, labelled
from kobs.collectors.host.roots import Roots, read, some_number, some_text

_IGNORED_DISKS = re.compile(r"(?:z?ram|loop|fd|(?:h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+")
"""Memory, loops, and partitions beside their disks."""

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


_SERIAL_NAMES = ("SCSI_IDENT_SERIAL", "ID_SERIAL_SHORT", "ID_SERIAL")
"""Where udev keeps a disk's serial number; the first that is there."""
_ATA_NAMES = {
    "ID_ATA_WRITE_CACHE": "node_disk_ata_write_cache",
    "ID_ATA_WRITE_CACHE_ENABLED": "node_disk_ata_write_cache_enabled",
    "ID_ATA_ROTATION_RATE_RPM": "node_disk_ata_rotation_rate_rpm",
}


def disk_points(diskstats: bytes) -> list[Point]:
    """Return the points of /proc/diskstats; older kernels have fewer columns."""
    points = []
    for line in diskstats.decode().splitlines():
        _, _, device, *numbers = line.split()
        if is_shown(device):
            points += _column_points(device, numbers)
    return points


def is_shown(device: str) -> bool:
    """Tell whether a disk is shown."""
    return _IGNORED_DISKS.fullmatch(device) is None


def _column_points(device: str, numbers: list[str]) -> list[Point]:
    labels = (("device", device),)
    points = []
    for (name, unit), number in zip(_DISK_COLUMNS, numbers, strict=False):
        value = int(number) / 1000 if unit == 0.001 else int(number) * unit
        points.append(Point(f"node_disk_{name}", float(value), labels))
    return points


def collect_diskstats(roots: Roots) -> list[Point]:
    """Return the points of all disks that are shown."""
    points = []
    for line in read(f"{roots.proc}/diskstats").decode().splitlines():
        major, minor, device, *numbers = line.split()
        if not is_shown(device):
            continue
        udev = some_text(f"{roots.udev}/b{major}:{minor}") if roots.udev is not None else None
        rotational = some_number(f"{roots.sys}/block/{device}/queue/rotational")
        points += udev_points(device, major, minor, parse_udev(udev or ""), is_rotational=rotational == 1)
        points += _column_points(device, numbers)
    return points


def parse_udev(data: str) -> dict[str, str]:
    """Return the properties of a device in udev's data."""
    pairs = (line[2:].partition("=") for line in data.splitlines() if line.startswith("E:"))
    return {name: value for name, _, value in pairs}


def udev_points(device: str, major: str, minor: str, udev: Mapping[str, str], *, is_rotational: bool) -> list[Point]:
    """Return the points of what udev knows of a disk; with nothing known they say which disk it is."""
    info = {
        "device": device,
        "major": major,
        "minor": minor,
        "path": udev.get("ID_PATH", ""),
        "wwn": udev.get("ID_WWN", ""),
        "model": udev.get("ID_MODEL", ""),
        "serial": next((udev[name] for name in _SERIAL_NAMES if udev.get(name)), ""),
        "revision": udev.get("ID_REVISION", ""),
        "rotational": "1" if is_rotational else "0",
    }
    points = [Point("node_disk_info", 1.0, labelled(**info))]
    if fstype := udev.get("ID_FS_TYPE"):
        labels = labelled(
            device=device,
            type=fstype,
            usage=udev.get("ID_FS_USAGE", ""),
            uuid=udev.get("ID_FS_UUID", ""),
            version=udev.get("ID_FS_VERSION", ""),
        )
        points.append(Point("node_disk_filesystem_info", 1.0, labels))
    if name := udev.get("DM_NAME"):
        labels = labelled(
            device=device,
            name=name,
            uuid=udev.get("DM_UUID", ""),
            vg_name=udev.get("DM_VG_NAME", ""),
            lv_name=udev.get("DM_LV_NAME", ""),
            lv_layer=udev.get("DM_LV_LAYER", ""),
        )
        points.append(Point("node_disk_device_mapper_info", 1.0, labels))
    if udev.get("ID_ATA"):
        points += [
            Point(metric, float(udev[name]), (("device", device),))
            for name, metric in _ATA_NAMES.items()
            if re.fullmatch(r"\d+(?:\.\d+)?", udev.get(name, ""))
        ]
    return points
