"""Disks from recorded bytes, and from what udev has written."""

# ruff: noqa: E501 - lines of the kernel are as long as they are

from pathlib import Path

from kobs.collectors.host import disks
from kobs.collectors.host.roots import Roots

DISKSTATS = b"""\
   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
 254       0 vda 268779 33233 16628538 472555 144958 260869 40289912 207646 2 77904 697146 61856 144 12774616 15053 18713 1891
 254       1 vda1 1 0 0 0 0 0 0 0 0 0 0
 253       0 zram0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
   8       0 sda 1 2 3 4 5 6 7 8 9 10 11
 259       0 nvme0n1 1 0 0 0 0 0 0 0 0 0 0
 259       1 nvme0n1p1 1 0 0 0 0 0 0 0 0 0 0
"""


def test_disks_without_partitions_and_memory() -> None:
    points = disks.disk_points(DISKSTATS)
    assert {dict(point.labels)["device"] for point in points} == {"vda", "sda", "nvme0n1"}


def test_columns_of_a_disk_are_in_base_units() -> None:
    values = {point.name: point.value for point in disks.disk_points(DISKSTATS) if point.labels[0][1] == "vda"}
    assert values == {
        "node_disk_reads_completed_total": 268779.0,
        "node_disk_reads_merged_total": 33233.0,
        "node_disk_read_bytes_total": 16628538.0 * 512,
        "node_disk_read_time_seconds_total": 472.555,
        "node_disk_writes_completed_total": 144958.0,
        "node_disk_writes_merged_total": 260869.0,
        "node_disk_written_bytes_total": 40289912.0 * 512,
        "node_disk_write_time_seconds_total": 207.646,
        "node_disk_io_now": 2.0,
        "node_disk_io_time_seconds_total": 77.904,
        "node_disk_io_time_weighted_seconds_total": 697.146,
        "node_disk_discards_completed_total": 61856.0,
        "node_disk_discards_merged_total": 144.0,
        "node_disk_discarded_sectors_total": 12774616.0,
        "node_disk_discard_time_seconds_total": 15.053,
        "node_disk_flush_requests_total": 18713.0,
        "node_disk_flush_requests_time_seconds_total": 1.891,
    }


def test_an_older_kernel_shows_fewer_columns() -> None:
    names = [point.name for point in disks.disk_points(DISKSTATS) if point.labels[0][1] == "sda"]
    assert names[-1] == "node_disk_io_time_weighted_seconds_total"
    assert len(names) == 11


UDEV = """\
S:disk/by-id/ata-ACME_1
I:2713389
E:ID_ATA=1
E:ID_ATA_ROTATION_RATE_RPM=7200
E:ID_ATA_WRITE_CACHE=1
E:ID_ATA_WRITE_CACHE_ENABLED=unknown
E:ID_MODEL=ACME_SPINNER=X
E:ID_SERIAL=ACME_SPINNER_0042
E:ID_SERIAL_SHORT=0042
E:ID_WWN=0x5000c500a0b1c2d3
E:ID_PATH=pci-0000:00:1f.2-ata-1
E:ID_REVISION=CC43
E:ID_FS_TYPE=ext4
E:ID_FS_USAGE=filesystem
E:ID_FS_UUID=7c3f9ad4-0000-4000-8000-000000000001
E:ID_FS_VERSION=1.0
G:systemd
"""


def test_what_udev_knows_of_a_disk(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/diskstats").write_bytes(b"   8       0 sda 1 2 3 4 5 6 7 8 9 10 11\n   7 0 loop0 0\n")
    (tmp_path / "sys/block/sda/queue").mkdir(parents=True)
    (tmp_path / "sys/block/sda/queue/rotational").write_text("1\n")
    (tmp_path / "udev").mkdir()
    (tmp_path / "udev/b8:0").write_text(UDEV)
    roots = Roots(tmp_path / "proc", tmp_path / "sys", udev=tmp_path / "udev")
    points = {point.name: point for point in disks.collect_diskstats(roots)}
    assert dict(points["node_disk_info"].labels) == {
        "device": "sda",
        "major": "8",
        "minor": "0",
        "path": "pci-0000:00:1f.2-ata-1",
        "wwn": "0x5000c500a0b1c2d3",
        "model": "ACME_SPINNER=X",
        "serial": "0042",
        "revision": "CC43",
        "rotational": "1",
    }
    assert dict(points["node_disk_filesystem_info"].labels) == {
        "device": "sda",
        "type": "ext4",
        "usage": "filesystem",
        "uuid": "7c3f9ad4-0000-4000-8000-000000000001",
        "version": "1.0",
    }
    assert points["node_disk_ata_write_cache"].value == 1.0
    assert points["node_disk_ata_rotation_rate_rpm"].value == 7200.0
    # What is no number is not shown, and hides nothing else.
    assert "node_disk_ata_write_cache_enabled" not in points
    assert points["node_disk_io_now"].value == 9.0


def test_a_mapped_device_without_a_disk_of_its_own() -> None:
    udev = {"DM_NAME": "vg0-data", "DM_UUID": "LVM-x", "DM_VG_NAME": "vg0", "DM_LV_NAME": "data"}
    points = disks.udev_points("dm-0", "253", "0", udev, is_rotational=False)
    assert [point.name for point in points] == ["node_disk_info", "node_disk_device_mapper_info"]
    assert dict(points[1].labels) == {
        "device": "dm-0",
        "name": "vg0-data",
        "uuid": "LVM-x",
        "vg_name": "vg0",
        "lv_name": "data",
        "lv_layer": "",
    }
