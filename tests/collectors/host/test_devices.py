"""Disks and network devices from recorded bytes."""

# ruff: noqa: E501 - lines of the kernel are as long as they are

from kobs.collectors.host import devices

DISKSTATS = b"""\
   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
 254       0 vda 268779 33233 16628538 472555 144958 260869 40289912 207646 2 77904 697146 61856 144 12774616 15053 18713 1891
 254       1 vda1 1 0 0 0 0 0 0 0 0 0 0
 253       0 zram0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
   8       0 sda 1 2 3 4 5 6 7 8 9 10 11
 259       0 nvme0n1 1 0 0 0 0 0 0 0 0 0 0
 259       1 nvme0n1p1 1 0 0 0 0 0 0 0 0 0 0
"""

NET_DEV = b"""\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 82138529   50648    0    0    0     0          0         0 82138529   50648    0    0    0     0       0          0
  eth0: 10503971124  244721    1    2    3     4          5         6 11889136  132005    7    8    9     10       11          12
eth0:1: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0
veth12ab: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0
"""


def test_disks_without_partitions_and_memory() -> None:
    points = devices.disk_points(DISKSTATS)
    assert {dict(point.labels)["device"] for point in points} == {"vda", "sda", "nvme0n1"}


def test_columns_of_a_disk_are_in_base_units() -> None:
    values = {point.name: point.value for point in devices.disk_points(DISKSTATS) if point.labels[0][1] == "vda"}
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
    names = [point.name for point in devices.disk_points(DISKSTATS) if point.labels[0][1] == "sda"]
    assert names[-1] == "node_disk_io_time_weighted_seconds_total"
    assert len(names) == 11


def test_traffic_by_direction_without_ends_of_containers() -> None:
    points = devices.traffic_points(NET_DEV)
    assert {point.labels[0][1] for point in points} == {"lo", "eth0", "eth0:1"}
    values = [(point.name, point.value) for point in points if point.labels == (("device", "eth0"),)]
    assert values[:3] == [
        ("node_network_receive_bytes_total", 10503971124.0),
        ("node_network_receive_packets_total", 244721.0),
        ("node_network_receive_errs_total", 1.0),
    ]
    assert values[-4:] == [
        ("node_network_transmit_fifo_total", 9.0),
        ("node_network_transmit_colls_total", 10.0),
        ("node_network_transmit_carrier_total", 11.0),
        ("node_network_transmit_compressed_total", 12.0),
    ]


def test_a_network_device_shows_the_files_that_it_has() -> None:
    files = {
        "flags": b"0x1003\n",
        "dev_id": b"0x0\n",
        "mtu": b"1500\n",
        "speed": b"-1\n",
        "operstate": b"up\n",
        "address": b"02:fc:00:00:00:01\n",
        "ifalias": b"\n",
        "statistics/rx_nohandler": b"3\n",
    }
    points = {point.name: point for point in devices.interface_points("eth0", files)}
    assert {name: point.value for name, point in points.items()} == {
        "node_network_flags": 4099.0,
        "node_network_device_id": 0.0,
        "node_network_mtu_bytes": 1500.0,
        "node_network_speed_bytes": -125000.0,
        "node_network_receive_nohandler_total": 3.0,
        "node_network_up": 1.0,
        "node_network_info": 1.0,
    }
    info = dict(points["node_network_info"].labels)
    assert info["adminstate"] == "up"
    assert info["address"] == "02:fc:00:00:00:01"
    assert info["duplex"] == ""


def test_a_device_that_is_down() -> None:
    points = devices.interface_points("ifb0", {"flags": b"0x82\n", "operstate": b"down\n"})
    values = {point.name: point.value for point in points}
    assert values["node_network_up"] == 0.0
    assert ("adminstate", "down") in points[-1].labels
