"""Block caches (bcache): hits, dirty data, write-back.

Source: Linux `Documentation/admin-guide/bcache.rst`; the short form of sizes as drivers/md/bcache/util.c writes it;
node_exporter 1.12 (names and units).
"""

import re

from kobs.collectors.host.points import Point, labelled
from kobs.collectors.host.roots import Roots, names, some_text

_SIZE = re.compile(r"(-?)(\d+)(?:\.(\d+))?([kMGTPEZY]?)")
_UNITS = " kMGTPEZY"

_SET_FILES = {
    "average_key_size": ("average_key_size_sectors", 1.0),
    "btree_cache_size": ("btree_cache_size_bytes", 1.0),
    "cache_available_percent": ("cache_available_percent", 1.0),
    "congested": ("congested", 1.0),
    "root_usage_percent": ("root_usage_percent", 1.0),
    "tree_depth": ("tree_depth", 1.0),
    "internal/active_journal_entries": ("active_journal_entries", 1.0),
    "internal/btree_nodes": ("btree_nodes", 1.0),
    # The name says us, node_exporter takes it for ns; what is compared must be equal.
    "internal/btree_read_average_duration_us": ("btree_read_average_duration_seconds", 1e-9),
    "internal/cache_read_races": ("cache_read_races_total", 1.0),
}
_BACKING_FILES = {
    "dirty_data": "dirty_data_bytes",
    "stats_total/bypassed": "bypassed_bytes_total",
    "stats_total/cache_hits": "cache_hits_total",
    "stats_total/cache_misses": "cache_misses_total",
    "stats_total/cache_bypass_hits": "cache_bypass_hits_total",
    "stats_total/cache_bypass_misses": "cache_bypass_misses_total",
    "stats_total/cache_miss_collisions": "cache_miss_collisions_total",
}
_READAHEADS = "stats_total/cache_readaheads"
_WRITEBACK_LINES = {
    "rate": "writeback_rate",
    "target": "dirty_target_bytes",
    "proportional": "writeback_rate_proportional_term",
    "integral": "writeback_rate_integral_term",
    "change": "writeback_change",
}
_CACHE_FILES = {
    "io_errors": "io_errors",
    "metadata_written": "metadata_written_bytes_total",
    "written": "written_bytes_total",
}


def parse_size(text: str) -> float:
    """Return the number that the kernel has shortened, such as 20.4G.

    The digit behind the point is a whole number of hundreds of the next smaller unit, of which there are 1024.

    Raises: ValueError.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError(f"expected a size such as 20.4G, got {text[:100]!r}")
    whole = int(found[2]) + int(found[3] or 0) * 100 / 1024
    value = whole * 1024.0 ** _UNITS.index(found[4] or " ")
    return -value if found[1] else value


def collect_bcache(roots: Roots) -> list[Point]:
    """Return the points of all caches; none where there are none."""
    folder = f"{roots.sys}/fs/bcache"
    return [point for uuid in names(folder, r".*-.*") for point in _set_points(f"{folder}/{uuid}", uuid)]


def _set_points(path: str, uuid: str) -> list[Point]:
    place = labelled(uuid=uuid)
    points = []
    for file, (name, unit) in _SET_FILES.items():
        if (text := some_text(f"{path}/{file}")) is not None:
            points.append(Point(f"node_bcache_{name}", parse_size(text) * unit, place))
    for device in names(path, r"bdev\d+"):
        points += _backing_points(f"{path}/{device}", labelled(uuid=uuid, backing_device=device))
    for device in names(path, r"cache\d+"):
        labels = labelled(uuid=uuid, cache_device=device)
        for file, name in _CACHE_FILES.items():
            if (text := some_text(f"{path}/{device}/{file}")) is not None:
                points.append(Point(f"node_bcache_{name}", parse_size(text), labels))
    return points


def _backing_points(path: str, labels: tuple[tuple[str, str], ...]) -> list[Point]:
    points = []
    for file, name in _BACKING_FILES.items():
        if (text := some_text(f"{path}/{file}")) is not None:
            points.append(Point(f"node_bcache_{name}", parse_size(text), labels))
    # Newer kernels do not count them; a 0 is shown by none.
    readaheads = parse_size(some_text(f"{path}/{_READAHEADS}") or "0")
    if readaheads:
        points.append(Point("node_bcache_cache_readaheads_total", readaheads, labels))
    for line in (some_text(f"{path}/writeback_rate_debug") or "").splitlines():
        key, _, value = line.partition(":")
        if key in _WRITEBACK_LINES:
            size = parse_size(value.strip().removesuffix("/sec"))
            points.append(Point(f"node_bcache_{_WRITEBACK_LINES[key]}", size, labels))
    return points
