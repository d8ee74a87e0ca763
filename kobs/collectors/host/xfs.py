"""XFS file systems: what each has done with extents, directories, inodes.

Source: Linux `Documentation/admin-guide/xfs.rst`, /sys/fs/xfs/DEVICE/stats/stats as fs/xfs/xfs_stats.c writes it;
node_exporter 1.12 (names).
"""

from kobs.collectors.host.points import Point
from kobs.collectors.host.roots import Roots, names, text

_LINES = {
    "extent_alloc": (
        *("extent_allocation_extents_allocated", "extent_allocation_blocks_allocated"),
        *("extent_allocation_extents_freed", "extent_allocation_blocks_freed"),
    ),
    "abt": (
        *("allocation_btree_lookups", "allocation_btree_compares"),
        *("allocation_btree_records_inserted", "allocation_btree_records_deleted"),
    ),
    "blk_map": (
        *("block_mapping_reads", "block_mapping_writes", "block_mapping_unmaps"),
        *("block_mapping_extent_list_insertions", "block_mapping_extent_list_deletions"),
        *("block_mapping_extent_list_lookups", "block_mapping_extent_list_compares"),
    ),
    "bmbt": (
        *("block_map_btree_lookups", "block_map_btree_compares"),
        *("block_map_btree_records_inserted", "block_map_btree_records_deleted"),
    ),
    "dir": (
        *("directory_operation_lookup", "directory_operation_create"),
        *("directory_operation_remove", "directory_operation_getdents"),
    ),
    "ig": (
        *("inode_operation_attempts", "inode_operation_found", "inode_operation_recycled", "inode_operation_missed"),
        *("inode_operation_duplicates", "inode_operation_reclaims", "inode_operation_attribute_changes"),
    ),
    "rw": ("write_calls", "read_calls"),
    "vnodes": (
        *("vnode_active", "vnode_allocate", "vnode_get", "vnode_hold"),
        *("vnode_release", "vnode_reclaim", "vnode_remove"),
    ),
}
"""Metrics of each line's numbers, by the line's first word; newer kernels have more lines and numbers."""


def xfs_points(device: str, stats: str) -> list[Point]:
    """Return the points of a file system's statistics."""
    points = []
    for line in stats.splitlines():
        word, *counts = line.split()
        points += [
            Point(f"node_xfs_{name}_total", float(count), (("device", device),))
            for name, count in zip(_LINES.get(word, ()), counts, strict=False)
        ]
    return points


def collect_xfs(roots: Roots) -> list[Point]:
    """Return the points of all XFS file systems; none where there are none."""
    folder = f"{roots.sys}/fs/xfs"
    return [
        point
        for device in names(folder)
        if "stats" in names(f"{folder}/{device}/stats")
        for point in xfs_points(device, text(f"{folder}/{device}/stats/stats"))
    ]
