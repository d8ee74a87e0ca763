"""Network devices from recorded bytes, and bonds of several."""

# ruff: noqa: E501 - lines of the kernel are as long as they are

from pathlib import Path

import pytest

from kobs.collectors.host import network_devices
from kobs.collectors.host.roots import AbsentError, Roots
from tests.collectors.host.trees import write_tree

NET_DEV = b"""\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 82138529   50648    0    0    0     0          0         0 82138529   50648    0    0    0     0       0          0
  eth0: 10503971124  244721    1    2    3     4          5         6 11889136  132005    7    8    9     10       11          12
eth0:1: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0
veth12ab: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0
"""


def test_traffic_by_direction_without_ends_of_containers() -> None:
    points = network_devices.traffic_points(NET_DEV)
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
    }
    points = {point.name: point for point in network_devices.interface_points("eth0", files)}
    assert {name: point.value for name, point in points.items()} == {
        "node_network_flags": 4099.0,
        "node_network_device_id": 0.0,
        "node_network_mtu_bytes": 1500.0,
        "node_network_speed_bytes": -125000.0,
        "node_network_up": 1.0,
        "node_network_info": 1.0,
    }
    info = dict(points["node_network_info"].labels)
    assert info["adminstate"] == "up"
    assert info["address"] == "02:fc:00:00:00:01"
    assert info["duplex"] == ""


def test_a_device_that_is_down() -> None:
    points = network_devices.interface_points("ifb0", {"flags": b"0x82\n", "operstate": b"down\n"})
    values = {point.name: point.value for point in points}
    assert values["node_network_up"] == 0.0
    assert ("adminstate", "down") in points[-1].labels


def test_bonds_and_how_many_of_their_links_are_up(tmp_path: Path) -> None:
    net = {
        "bonding_masters": "bond0 bond1",
        "bond0/bonding/slaves": "eth0 eth1",
        "bond0/lower_eth0/bonding_slave/mii_status": "up",
        "bond0/slave_eth1/bonding_slave/mii_status": "down",
        "bond1/bonding/slaves": "",
    }
    roots = Roots(tmp_path, write_tree(tmp_path, {f"class/net/{name}": text for name, text in net.items()}))
    values = {(point.name, point.labels[0][1]): point.value for point in network_devices.collect_bonding(roots)}
    assert values == {
        ("node_bonding_slaves", "bond0"): 2.0,
        ("node_bonding_active", "bond0"): 1.0,
        ("node_bonding_slaves", "bond1"): 0.0,
        ("node_bonding_active", "bond1"): 0.0,
    }


def test_a_machine_without_bonds(tmp_path: Path) -> None:
    with pytest.raises(AbsentError, match="bonding_masters"):
        network_devices.collect_bonding(Roots(tmp_path, tmp_path))
