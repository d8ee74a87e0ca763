"""Drives beyond /proc/diskstats: NVMe controllers, tapes, multipath devices and software RAID.

Source: Linux `Documentation/ABI/testing/sysfs-nvme`, `Documentation/scsi/st.rst`, `Documentation/admin-guide/md.rst`,
/proc/mdstat as drivers/md/md.c writes it; node_exporter 1.12 (names and units).
"""

import re

from kobs.collectors.host.points import Point, labelled
from kobs.collectors.host.roots import (
    Roots,
    names,
    names_or_absent,
    number,
    read_or_absent,
    some_number,
    some_text,
    text,
)

_SECTOR_BYTES = 512


def collect_nvme(roots: Roots) -> list[Point]:
    """Return the points of NVMe controllers and their namespaces.

    Raises: AbsentError where the machine has none.
    """
    folder = f"{roots.sys}/class/nvme"
    points = []
    for device in names_or_absent(folder):
        path = f"{folder}/{device}"
        info = labelled(
            device=device,
            firmware_revision=text(f"{path}/firmware_rev"),
            model=text(f"{path}/model"),
            serial=text(f"{path}/serial"),
            state=text(f"{path}/state"),
            cntlid=text(f"{path}/cntlid"),
        )
        points.append(Point("node_nvme_info", 1.0, info))
        for namespace in names(path, r"nvme\d+(?:c\d+)?n\d+"):
            points += _namespace_points(f"{path}/{namespace}", device, namespace.rpartition("n")[2])
    return points


def _namespace_points(path: str, device: str, nsid: str) -> list[Point]:
    labels = labelled(device=device, nsid=nsid)
    block = number(f"{path}/queue/logical_block_size")
    size, used = number(f"{path}/size") * block, number(f"{path}/nuse") * block
    state = some_text(f"{path}/ana_state") or "unknown"
    return [
        Point("node_nvme_namespace_info", 1.0, labelled(device=device, nsid=nsid, ana_state=state)),
        Point("node_nvme_namespace_capacity_bytes", float(size), labels),
        Point("node_nvme_namespace_size_bytes", float(size), labels),
        Point("node_nvme_namespace_used_bytes", float(used), labels),
        Point("node_nvme_namespace_logical_block_size_bytes", float(block), labels),
    ]


_TAPE_FILES = {
    "in_flight": ("io_now", 1.0),
    "io_ns": ("io_time_seconds_total", 1e-9),
    "other_cnt": ("io_others_total", 1.0),
    "read_byte_cnt": ("read_bytes_total", 1.0),
    "read_cnt": ("reads_completed_total", 1.0),
    "read_ns": ("read_time_seconds_total", 1e-9),
    "resid_cnt": ("residual_total", 1.0),
    "write_byte_cnt": ("written_bytes_total", 1.0),
    "write_cnt": ("writes_completed_total", 1.0),
    "write_ns": ("write_time_seconds_total", 1e-9),
}


def collect_tapes(roots: Roots) -> list[Point]:
    """Return the points of tape drives; of a drive's several device names the plain one is shown.

    Raises: AbsentError where the machine has none.
    """
    folder = f"{roots.sys}/class/scsi_tape"
    return [
        Point(f"node_tape_{name}", number(f"{folder}/{tape}/stats/{file}") * unit, (("device", tape),))
        for tape in names_or_absent(folder, r"st\d+")
        for file, (name, unit) in _TAPE_FILES.items()
    ]


def collect_multipath(roots: Roots) -> list[Point]:
    """Return the points of multipath devices and their paths; none where the machine has none.

    Raises: AbsentError where the kernel has no block devices.
    """
    folder = f"{roots.sys}/block"
    points = []
    for disk in names_or_absent(folder, r"dm-\d+"):
        uuid = some_text(f"{folder}/{disk}/dm/uuid") or ""
        if not uuid.startswith("mpath-"):
            continue
        name = text(f"{folder}/{disk}/dm/name")
        labels = labelled(device=name, sysfs_name=disk)
        paths = names(f"{folder}/{disk}/slaves")
        states = [text(f"{folder}/{path}/device/state") for path in paths]
        active = sum(state in ("running", "live") for state in states)
        values = {
            "active": number(f"{folder}/{disk}/dm/suspended") != 1,
            "size_bytes": number(f"{folder}/{disk}/size") * _SECTOR_BYTES,
            "paths": len(paths),
            "paths_active": active,
            "paths_failed": len(paths) - active,
        }
        points.append(Point("node_dmmultipath_device_info", 1.0, labelled(device=name, sysfs_name=disk, uuid=uuid)))
        points += [Point(f"node_dmmultipath_device_{key}", float(value), labels) for key, value in values.items()]
        points += [
            Point("node_dmmultipath_path_state", 1.0, labelled(device=name, path=path, state=state))
            for path, state in zip(paths, states, strict=True)
        ]
    return points


_RAID = re.compile(r"(\d+) blocks.*\[(\d+)/(\d+)\] \[[U_]+\]")
_PROGRESS = re.compile(r"(recovery|resync|reshape|check)\s*=(?:.*\((\d+)/\d+\))?")
_RAID_STATES = {"recovery": "recovering", "resync": "resync", "reshape": "reshape", "check": "check"}
_SHOWN_STATES = ("active", "inactive", "recovering", "resync", "check")


def raid_points(mdstat: str) -> list[Point]:
    """Return the points of /proc/mdstat: a device has a line with its disks, one with its size, some of progress.

    Raises: ValueError where a device's lines are other ones.
    """
    points: list[Point] = []
    for paragraph in re.split(r"\n(?=\S)", mdstat):
        heading, *lines = paragraph.splitlines() or [""]
        found = re.fullmatch(r"(\S+) : (\S+)(.*)", heading)
        if found is None or found[1] in ("Personalities", "unused"):
            continue
        points += _raid_device_points(found[1], found[2], found[3], lines)
    return points


def _raid_device_points(device: str, state: str, disks: str, lines: list[str]) -> list[Point]:
    size = re.match(r"\s*(\d+) blocks", lines[0]) if lines else None
    if size is None:
        raise ValueError(f"mdstat: {device}: expected a line with its blocks")
    blocks = synced = int(size[1])
    total = active = 0
    if re.search(r"\b(?:raid0|linear)\b", disks):
        total = active = disks.count("[")
    elif state != "inactive":
        counts = _RAID.search(lines[0])
        if counts is None:
            raise ValueError(f"mdstat: {device}: expected its number of disks, got {lines[0].strip()[:100]!r}")
        total, active = int(counts[2]), int(counts[3])
    for line in lines[1:]:
        if (progress := _PROGRESS.search(line)) is not None:
            # It is delayed or pending where no number of blocks is told.
            state, synced = _RAID_STATES[progress[1]], int(progress[2] or 0)
            break
    labels = (("device", device),)
    return [
        Point("node_md_disks_required", float(total), labels),
        *(
            Point("node_md_disks", float(count), (*labels, ("state", kind)))
            for kind, count in (("active", active), ("failed", disks.count("(F)")), ("spare", disks.count("(S)")))
        ),
        *(Point("node_md_state", float(state == each), (*labels, ("state", each))) for each in _SHOWN_STATES),
        Point("node_md_blocks", float(blocks), labels),
        Point("node_md_blocks_synced", float(synced), labels),
    ]


def collect_raid(roots: Roots) -> list[Point]:
    """Return the points of software RAID.

    Raises: AbsentError where the kernel has none.
    """
    points = raid_points(read_or_absent(f"{roots.proc}/mdstat").decode())
    folder = f"{roots.sys}/block"
    for device in names(folder, r"md\d.*|md_.*"):
        labels = (("device", device),)
        # While a RAID changes its shape the file has two numbers: the new one, then the old one in brackets.
        disks = (some_text(f"{folder}/{device}/md/raid_disks") or "").split()
        if disks:
            points.append(Point("node_md_raid_disks", float(disks[0]), labels))
        if some_text(f"{folder}/{device}/md/level") is not None:
            degraded = some_number(f"{folder}/{device}/md/degraded") or 0
            points.append(Point("node_md_degraded", float(degraded), labels))
    return points
