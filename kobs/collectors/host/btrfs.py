"""Btrfs file systems: space by kind and layout, commits, devices.

Source: Linux `Documentation/filesystems/btrfs.rst`, btrfs(5) on /sys/fs/btrfs; node_exporter 1.12 (names and units).
"""

from kobs.collectors.host.points import Point, labelled
from kobs.collectors.host.roots import Roots, is_folder, names, number, some_number, some_text

_SECTOR_BYTES = 512
_GROUPS = ("data", "metadata", "system")
_COPIES = {"single": 1.0, "raid0": 1.0, "dup": 2.0, "raid1": 2.0, "raid10": 2.0, "raid1c3": 3.0, "raid1c4": 4.0}
_PARITIES = {"raid5": 1, "raid6": 2}


def collect_btrfs(roots: Roots) -> list[Point]:
    """Return the points of all Btrfs file systems that are mounted; none where there are none."""
    folder = f"{roots.sys}/fs/btrfs"
    return [point for name in names(folder, r".*-.*") for point in _points(f"{folder}/{name}", name)]


def _points(path: str, name: str) -> list[Point]:
    uuid = some_text(f"{path}/metadata_uuid") or name
    place = (("uuid", uuid),)
    commits = dict(line.split() for line in (some_text(f"{path}/commit_stats") or "").splitlines())
    devices = names(f"{path}/devices")
    points = [
        Point("node_btrfs_info", 1.0, labelled(uuid=uuid, label=some_text(f"{path}/label") or "")),
        Point("node_btrfs_global_rsv_size_bytes", float(number(f"{path}/allocation/global_rsv_size")), place),
        Point("node_btrfs_commits_total", float(commits.get("commits", 0)), place),
        Point("node_btrfs_last_commit_seconds", int(commits.get("last_commit_ms", 0)) / 1000, place),
        Point("node_btrfs_max_commit_seconds", int(commits.get("max_commit_ms", 0)) / 1000, place),
        Point("node_btrfs_commit_seconds_total", int(commits.get("total_commit_ms", 0)) / 1000, place),
    ]
    for group in _GROUPS:
        points += _group_points(f"{path}/allocation/{group}", uuid, group, len(devices))
    for device in devices:
        size = some_number(f"{path}/devices/{device}/size")
        if size is not None:
            labels = labelled(uuid=uuid, device=device)
            points.append(Point("node_btrfs_device_size_bytes", float(size * _SECTOR_BYTES), labels))
    return points


def _group_points(path: str, uuid: str, group: str, devices: int) -> list[Point]:
    reserved = some_number(f"{path}/bytes_reserved")
    if reserved is None:
        return []
    place = {"uuid": uuid, "block_group_type": group}
    points = [Point("node_btrfs_reserved_bytes", float(reserved), labelled(**place))]
    for layout in names(path):
        if not is_folder(f"{path}/{layout}"):
            continue
        labels = labelled(**place, mode=layout)
        points += [
            Point("node_btrfs_used_bytes", float(number(f"{path}/{layout}/used_bytes")), labels),
            Point("node_btrfs_size_bytes", float(number(f"{path}/{layout}/total_bytes")), labels),
            Point("node_btrfs_allocation_ratio", allocation_ratio(layout, devices), labels),
        ]
    return points


def allocation_ratio(layout: str, devices: int) -> float:
    """Return how many bytes of disk one byte takes; 0 where the layout is not known."""
    if layout in _PARITIES and devices > _PARITIES[layout]:
        return devices / (devices - _PARITIES[layout])
    return _COPIES.get(layout, 0.0)
