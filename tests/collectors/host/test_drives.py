"""RAID, NVMe, tapes, multipath and file systems' own counters, from files in the kernel's form."""

from pathlib import Path

import pytest

from kobs.collectors.host import bcache, bcachefs, btrfs, drives, xfs, zfs
from kobs.collectors.host.points import Point
from kobs.collectors.host.roots import AbsentError, Roots
from tests.collectors.host.machine import MDSTAT, rich_machine


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    return rich_machine(tmp_path)


def by_labels(points: list[Point]) -> dict[tuple[str, ...], float]:
    return {(point.name, *(value for _, value in point.labels)): point.value for point in points}


@pytest.mark.parametrize(
    ("device", "disks", "state", "blocks"),
    [
        ("md0", (2, 2, 0, 0), "active", (248896, 248896)),
        ("md1", (5, 4, 1, 1), "recovering", (195310144, 16775552)),
        ("md2", (2, 2, 0, 0), "active", (314159265, 314159265)),
        ("md3", (0, 0, 0, 1), "inactive", (4883648, 4883648)),
        ("md4", (3, 3, 0, 0), "resync", (7813735424, 0)),
        ("md5", (2, 2, 0, 0), "check", (100, 10)),
    ],
    ids=["healthy", "recovering", "striped", "inactive", "pending", "checking"],
)
def test_software_raid(device: str, disks: tuple[int, ...], state: str, blocks: tuple[int, int]) -> None:
    """Disks: required, active, failed, spare; blocks: all, in step."""
    values = by_labels(drives.raid_points(MDSTAT))
    kinds = [values["node_md_disks", device, kind] for kind in ("active", "failed", "spare")]
    assert (values["node_md_disks_required", device], *kinds) == disks
    assert {key[2] for key, value in values.items() if key[:2] == ("node_md_state", device) and value} == {state}
    assert (values["node_md_blocks", device], values["node_md_blocks_synced", device]) == blocks


def test_raid_of_the_block_devices(roots: Roots) -> None:
    values = by_labels(drives.collect_raid(roots))
    assert values["node_md_raid_disks", "md1"] == 5.0
    assert values["node_md_degraded", "md1"] == 1.0
    assert values["node_md_degraded", "md0"] == 0.0


def test_raid_in_another_form_is_an_error() -> None:
    with pytest.raises(ValueError, match="md0: expected its number of disks"):
        drives.raid_points("md0 : active raid1 sdb1[1]\n      248896 blocks\n")
    with pytest.raises(ValueError, match="md0: expected a line with its blocks"):
        drives.raid_points("md0 : active raid1 sdb1[1]\n")


def test_nvme_controllers_and_namespaces(roots: Roots) -> None:
    values = by_labels(drives.collect_nvme(roots))
    assert values["node_nvme_info", "5", "nvme0", "1B2QEXP7", "ACME SSD 512GB", "S0042", "live"] == 1.0
    assert values["node_nvme_namespace_info", "unknown", "nvme0", "1"] == 1.0
    assert values["node_nvme_namespace_info", "optimized", "nvme0", "2"] == 1.0
    assert values["node_nvme_namespace_size_bytes", "nvme0", "1"] == 1000215216 * 512
    assert values["node_nvme_namespace_used_bytes", "nvme0", "2"] == 10 * 4096


def test_a_tape_drive_is_shown_once(roots: Roots) -> None:
    values = by_labels(drives.collect_tapes(roots))
    assert {key[1] for key in values} == {"st0"}
    assert values["node_tape_written_bytes_total", "st0"] == 1496246784000.0
    assert values["node_tape_read_time_seconds_total", "st0"] == pytest.approx(33.788355744)
    assert values["node_tape_io_now", "st0"] == 1.0


def test_multipath_devices_and_their_paths(roots: Roots) -> None:
    assert by_labels(drives.collect_multipath(roots)) == {
        ("node_dmmultipath_device_info", "mpathA", "dm-5", "mpath-3600508b1001c0001"): 1.0,
        ("node_dmmultipath_device_active", "mpathA", "dm-5"): 1.0,
        ("node_dmmultipath_device_size_bytes", "mpathA", "dm-5"): 1048576.0,
        ("node_dmmultipath_device_paths", "mpathA", "dm-5"): 2.0,
        ("node_dmmultipath_device_paths_active", "mpathA", "dm-5"): 1.0,
        ("node_dmmultipath_device_paths_failed", "mpathA", "dm-5"): 1.0,
        ("node_dmmultipath_path_state", "mpathA", "sdi", "running"): 1.0,
        ("node_dmmultipath_path_state", "mpathA", "sdj", "offline"): 1.0,
    }


def test_xfs_of_each_device(roots: Roots) -> None:
    values = by_labels(xfs.collect_xfs(roots))
    assert {key[1] for key in values} == {"sda1"}
    for name, value in {
        "extent_allocation_blocks_allocated": 872,
        "allocation_btree_records_deleted": 7,
        "block_mapping_extent_list_lookups": 91,
        "block_map_btree_compares": 13,
        "directory_operation_getdents": 52,
        "inode_operation_attribute_changes": 19,
        "write_calls": 28,
        "read_calls": 20,
        "vnode_remove": 26,
    }.items():
        assert values[f"node_xfs_{name}_total", "sda1"] == value, name


def test_btrfs_by_kind_and_layout(roots: Roots) -> None:
    uuid = "0abb23a9-579b-43e6-ad30-227ef47fcb9d"
    values = by_labels(btrfs.collect_btrfs(roots))
    assert values["node_btrfs_info", "data", uuid] == 1.0
    assert values["node_btrfs_commit_seconds_total", uuid] == 47836.09
    assert values["node_btrfs_used_bytes", "data", "raid0", uuid] == 808189952.0
    assert values["node_btrfs_allocation_ratio", "metadata", "raid5", uuid] == 1.5
    assert values["node_btrfs_allocation_ratio", "system", "raid1", uuid] == 2.0
    assert values["node_btrfs_device_size_bytes", "loop1", uuid] == 20971520 * 512


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("546", 546), ("1.5M", (1 + 500 / 1024) * 2**20), ("-321.5k", -(321 + 500 / 1024) * 2**10)],
    ids=["zero", "whole", "mega", "negative"],
)
def test_sizes_that_the_kernel_has_shortened(text: str, value: float) -> None:
    assert bcache.parse_size(text) == value


def test_other_sizes_are_an_error() -> None:
    with pytest.raises(ValueError, match="expected a size such as"):
        bcache.parse_size("many")


def test_block_caches(roots: Roots) -> None:
    uuid = "deaddd54-c735-46d5-868e-f331c5fd7c74"
    values = by_labels(bcache.collect_bcache(roots))
    assert values["node_bcache_btree_read_average_duration_seconds", uuid] == pytest.approx(1.305e-06)
    assert values["node_bcache_cache_hits_total", "bdev0", uuid] == 546.0
    assert values["node_bcache_cache_readaheads_total", "bdev0", uuid] == 13.0
    assert values["node_bcache_dirty_data_bytes", "bdev0", uuid] == 2048.0
    assert values["node_bcache_dirty_target_bytes", "bdev0", uuid] == (20 + 400 / 1024) * 2**30
    assert values["node_bcache_writeback_change", "bdev0", uuid] == -(321 + 500 / 1024) * 1024
    assert values["node_bcache_metadata_written_bytes_total", "cache0", uuid] == 512.0


def test_bcachefs_and_its_devices(roots: Roots) -> None:
    uuid = "deadbeef-1234-5678-9012-abcdefabcdef"
    values = by_labels(bcachefs.collect_bcachefs(roots))
    assert values["node_bcachefs_btree_cache_size_bytes", uuid] == int(2.05 * 2**30)
    assert values["node_bcachefs_io_read_total", uuid] == 1.5 * 2**20
    assert values["node_bcachefs_btree_node_read_total", uuid] == 17.0
    assert values["node_bcachefs_compression_uncompressed_bytes", "lz4", uuid] == int(71.2 * 2**30)
    assert values["node_bcachefs_btree_writes_total", "cache_reclaim", uuid] == 14401.0
    assert values["node_bcachefs_btree_write_average_size_bytes", "initial", uuid] == 102400.0
    assert values["node_bcachefs_errors_total", "fs_usage_data_wrong", uuid] == 3.0
    assert values["node_bcachefs_device_info", "4", "hdd.1", "[rw] ro evacuating spare", uuid] == 1.0
    assert values["node_bcachefs_device_bucket_size_bytes", "4", uuid] == 2097152.0
    assert values["node_bcachefs_device_buckets", "4", uuid] == 7629824.0
    assert values["node_bcachefs_device_io_done_bytes_total", "btree", "4", "write", uuid] == 589824.0
    assert values["node_bcachefs_device_io_errors_total", "4", "read", uuid] == 5.0


def test_a_counter_of_bcachefs_in_another_form_is_an_error(roots: Roots) -> None:
    (roots.sys / "fs/bcachefs/deadbeef-1234-5678-9012-abcdefabcdef/counters/io_read").write_text("17\n")
    with pytest.raises(ValueError, match="since filesystem creation"):
        bcachefs.collect_bcachefs(roots)


def test_zfs_of_module_pool_and_dataset(roots: Roots) -> None:
    values = by_labels(zfs.collect_zfs(roots))
    assert values["node_zfs_arc_hits",] == 8772612.0
    assert values["node_zfs_arc_memory_available_bytes",] == -922337203.0
    assert ("node_zfs_arc_some_text",) not in values
    assert values["node_zfs_zil_zil_commit_count",] == 10.0
    assert values["node_zfs_zpool_nread", "pool1"] == 1884160.0
    assert values["node_zfs_zpool_rcnt", "pool1"] == 0.0
    assert {key[1] for key, value in values.items() if key[0] == "node_zfs_zpool_state" and value} == {"degraded"}
    assert values["node_zfs_zpool_dataset_nwritten", "pool1/my data", "pool1"] == 12302.0


def test_a_damaged_table_of_zfs_is_an_error(roots: Roots) -> None:
    (roots.proc / "spl/kstat/zfs/zil").write_text("zil_commit_count 4 10\n")
    with pytest.raises(ValueError, match="name type data"):
        zfs.collect_zfs(roots)


@pytest.mark.parametrize(
    "collect",
    [
        drives.collect_nvme,
        drives.collect_tapes,
        drives.collect_multipath,
        drives.collect_raid,
        zfs.collect_zfs,
        bcachefs.collect_bcachefs,
    ],
    ids=lambda collect: collect.__name__,
)
def test_a_machine_without_it(collect, tmp_path: Path) -> None:
    with pytest.raises(AbsentError, match="no /"):
        collect(Roots(tmp_path, tmp_path))


@pytest.mark.parametrize(
    "collect", [xfs.collect_xfs, btrfs.collect_btrfs, bcache.collect_bcache], ids=lambda collect: collect.__name__
)
def test_file_systems_that_are_not_there_have_no_points(collect, tmp_path: Path) -> None:
    assert collect(Roots(tmp_path, tmp_path)) == []
