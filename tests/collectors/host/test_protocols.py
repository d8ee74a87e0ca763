"""Protocols, sockets, neighbours, tracked connections, virtual servers and NFS, from files in the kernel's form."""

# ruff: noqa: E501 - lines of the kernel are as long as they are

from pathlib import Path

import pytest

from kobs.collectors.host import ipvs, nfs, protocols
from kobs.collectors.host.points import Point
from kobs.collectors.host.roots import AbsentError, Roots
from tests.collectors.host.machine import IPVS, NFS
from tests.collectors.host.trees import write_tree

SNMP = b"""\
Ip: Forwarding DefaultTTL InReceives
Ip: 1 64 57740232
IcmpMsg: InType3 OutType3
IcmpMsg: 104 120
Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors
Tcp: 1 200 120000 -1 3556 230 341 161 6 57252008 54915039 227 5 1003 0
Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors
Udp: 88542 120 3 53028 9 8
UdpLite: InDatagrams NoPorts InErrors
UdpLite: 0 0 1
"""
SNMP6 = b"""\
Ip6InReceives                   \t7
Ip6InOctets                     \t460
Icmp6InMsgs                     \t3
Icmp6OutType133                 \t8
Udp6RcvbufErrors                \t9
"""
CONNTRACK = b"""\
entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error  expect_new expect_create expect_delete search_restart
000000a4  00000000 0000000f 00000000 0000000a 00000002 00000000 00000001 00000000 00000003 00000004 00000005 00000000 00000000 00000000 00000000 00000011
000000a4  00000000 00000001 00000000 00000001 00000001 00000000 00000001 00000000 00000001 00000001 00000001 00000000 00000000 00000000 00000000 00000001
"""
SOCKETS = b"""\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  395: 00000000:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 21113 2 ffff 0
  401: 0100007F:0143 00000000:0000 07 00000015:000000FF 00:00000000 00000000     0        0 21113 2 ffff 0
"""


def by_labels(points: list[Point]) -> dict[tuple[str, ...], float]:
    return {(point.name, *(value for _, value in point.labels)): point.value for point in points}


def test_only_the_counters_that_are_shown_by_default() -> None:
    assert by_labels(protocols.netstat_points(SNMP)) == {
        ("node_netstat_Ip_Forwarding",): 1.0,
        ("node_netstat_Tcp_ActiveOpens",): 3556.0,
        ("node_netstat_Tcp_PassiveOpens",): 230.0,
        ("node_netstat_Tcp_CurrEstab",): 6.0,
        ("node_netstat_Tcp_InSegs",): 57252008.0,
        ("node_netstat_Tcp_OutSegs",): 54915039.0,
        ("node_netstat_Tcp_RetransSegs",): 227.0,
        ("node_netstat_Tcp_InErrs",): 5.0,
        ("node_netstat_Tcp_OutRsts",): 1003.0,
        ("node_netstat_Udp_InDatagrams",): 88542.0,
        ("node_netstat_Udp_NoPorts",): 120.0,
        ("node_netstat_Udp_InErrors",): 3.0,
        ("node_netstat_Udp_OutDatagrams",): 53028.0,
        ("node_netstat_Udp_RcvbufErrors",): 9.0,
        ("node_netstat_Udp_SndbufErrors",): 8.0,
        ("node_netstat_UdpLite_InErrors",): 1.0,
    }


def test_counters_of_ipv6() -> None:
    assert by_labels(protocols.netstat6_points(SNMP6)) == {
        ("node_netstat_Ip6_InOctets",): 460.0,
        ("node_netstat_Icmp6_InMsgs",): 3.0,
        ("node_netstat_Udp6_RcvbufErrors",): 9.0,
    }


def test_a_kernel_without_ipv6(tmp_path: Path) -> None:
    write_tree(tmp_path, {"1/net/netstat": "", "1/net/snmp": SNMP.decode()})
    (tmp_path / "1/net/netstat").write_bytes(b"TcpExt: TCPSynRetrans TCPPureAcks\nTcpExt: 12 5\n")
    points = protocols.collect_netstat(Roots(tmp_path))
    assert Point("node_netstat_TcpExt_TCPSynRetrans", 12.0) in points


def test_sockets_by_protocol() -> None:
    sockstat = b"sockets: used 229\nTCP: inuse 4 orphan 0 tw 4 alloc 17 mem 1\nFRAG: inuse 0 memory 8\n"
    page_bytes = 4096.0
    assert by_labels(protocols.sockstat_points(sockstat)) == {
        ("node_sockstat_sockets_used",): 229.0,
        ("node_sockstat_TCP_inuse",): 4.0,
        ("node_sockstat_TCP_orphan",): 0.0,
        ("node_sockstat_TCP_tw",): 4.0,
        ("node_sockstat_TCP_alloc",): 17.0,
        ("node_sockstat_TCP_mem",): 1.0,
        ("node_sockstat_TCP_mem_bytes",): page_bytes,
        ("node_sockstat_FRAG_inuse",): 0.0,
        ("node_sockstat_FRAG_memory",): 8.0,
    }


def test_packets_by_cpu_of_newer_and_older_kernels() -> None:
    new = b"00015c73 00020e76 f0000769 0 0 0 0 0 00000001 00000002 00000003 00000004 00000009\n"
    values = by_labels(protocols.softnet_points(new + b"01663fb2 00000000 0000109a 0 0 0 0 0 00000000\n"))
    assert values["node_softnet_processed_total", "9"] == 0x15C73
    assert values["node_softnet_times_squeezed_total", "9"] == 0xF0000769
    assert values["node_softnet_backlog_len", "9"] == 4.0
    # Without a column for it the line's number is the CPU's.
    assert values["node_softnet_processed_total", "1"] == 0x1663FB2
    assert values["node_softnet_received_rps_total", "1"] == 0.0


def test_what_waits_in_queues_of_udp(tmp_path: Path) -> None:
    assert protocols.queue_bytes(SOCKETS) == (0x15, 0xFF)
    write_tree(tmp_path, {"1/net/udp": SOCKETS.decode()})
    assert by_labels(protocols.collect_udp_queues(Roots(tmp_path))) == {
        ("node_udp_queues", "v4", "tx"): 21.0,
        ("node_udp_queues", "v4", "rx"): 255.0,
    }


def test_neighbours_by_device(tmp_path: Path) -> None:
    table = (
        "IP address       HW type     Flags       HW address            Mask     Device\n"
        "192.168.1.1      0x1         0x2         cc:aa:dd:ee:aa:bb     *        eth0\n"
        "192.168.1.2      0x1         0x0         00:00:00:00:00:00     *        eth0\n"
        "10.0.0.5         0x1         0x2         bb:cc:dd:ee:ff:aa     *        eth1\n"
    )
    write_tree(tmp_path, {"1/net/arp": table})
    assert by_labels(protocols.collect_arp(Roots(tmp_path))) == {
        ("node_arp_entries", "eth0"): 2.0,
        ("node_arp_entries", "eth1"): 1.0,
    }


def test_tracked_connections_of_all_cpus(tmp_path: Path) -> None:
    folder = "sys/net/netfilter"
    write_tree(tmp_path, {f"{folder}/nf_conntrack_count": "123", f"{folder}/nf_conntrack_max": "65536"})
    write_tree(tmp_path, {"1/net/stat/nf_conntrack": CONNTRACK.decode()})
    assert by_labels(protocols.collect_conntrack(Roots(tmp_path))) == {
        ("node_nf_conntrack_entries",): 123.0,
        ("node_nf_conntrack_entries_limit",): 65536.0,
        ("node_nf_conntrack_stat_found",): 16.0,
        ("node_nf_conntrack_stat_invalid",): 11.0,
        ("node_nf_conntrack_stat_ignore",): 3.0,
        ("node_nf_conntrack_stat_insert",): 0.0,
        ("node_nf_conntrack_stat_insert_failed",): 4.0,
        ("node_nf_conntrack_stat_drop",): 5.0,
        ("node_nf_conntrack_stat_early_drop",): 6.0,
        ("node_nf_conntrack_stat_search_restart",): 18.0,
    }


def test_virtual_servers_by_service_and_backend(tmp_path: Path) -> None:
    write_tree(tmp_path, IPVS)
    values = by_labels(ipvs.collect_ipvs(Roots(tmp_path / "proc")))
    assert values["node_ipvs_connections_total",] == 0x16AA370
    assert values["node_ipvs_incoming_bytes_total",] == 0x51D8C8883AB3
    tcp = ("192.168.0.22", "", "3306", "TCP", "192.168.82.22", "3306")
    assert values["node_ipvs_backend_connections_active", *tcp] == 248.0
    assert values["node_ipvs_backend_connections_inactive", *tcp] == 2.0
    assert values["node_ipvs_backend_weight", *tcp] == 100.0
    udp = ("2620::1", "", "53", "UDP", "2620::a", "53")
    assert values["node_ipvs_backend_connections_inactive", *udp] == 8.0
    mark = ("", "10001000", "0", "FWM", "192.168.50.26", "3306")
    assert values["node_ipvs_backend_weight", *mark] == 20.0


def test_a_client_of_nfs(tmp_path: Path) -> None:
    write_tree(tmp_path, NFS)
    values = by_labels(nfs.collect_nfs(Roots(tmp_path / "proc")))
    assert values["node_nfs_packets_total", "udp"] == 69.0
    assert values["node_nfs_connections_total",] == 1.0
    assert values["node_nfs_rpc_retransmissions_total",] == 374636.0
    assert values["node_nfs_requests_total", "Null", "2"] == 16.0
    assert values["node_nfs_requests_total", "GetAttr", "3"] == 1061909262.0
    assert values["node_nfs_requests_total", "Commit", "3"] == 23729.0
    assert values["node_nfs_requests_total", "Clone", "4"] == 0.0
    assert values["node_nfs_requests_total", "Null", "4"] == 1.0


def test_a_server_of_nfs(tmp_path: Path) -> None:
    write_tree(tmp_path, NFS)
    values = by_labels(nfs.collect_nfsd(Roots(tmp_path / "proc")))
    assert values["node_nfsd_reply_cache_nocache_total",] == 18622.0
    assert values["node_nfsd_file_handles_stale_total",] == 4.0
    assert values["node_nfsd_disk_bytes_read_total",] == 157286400.0
    assert values["node_nfsd_server_threads",] == 8.0
    assert values["node_nfsd_packets_total", "tcp"] == 18627.0
    assert values["node_nfsd_rpc_errors_total", "fmt"] == 1.0
    assert values["node_nfsd_read_ahead_cache_not_found_total",] == 3.0
    assert values["node_nfsd_requests_total", "Access", "4"] == 1098.0
    assert values["node_nfsd_requests_total", "PutFH", "4"] == 9609.0
    assert values["node_nfsd_requests_total", "Renew", "4"] == 1236.0
    assert values["node_nfsd_requests_total", "Write", "4"] == 7.0
    assert values["node_nfsd_requests_total", "RelLockOwner", "4"] == 11.0
    assert values["node_nfsd_requests_total", "WdelegGetattr", "4"] == 15.0
    assert ("node_nfsd_requests_total", "Null", "3") not in values


@pytest.mark.parametrize(
    "collect",
    [ipvs.collect_ipvs, nfs.collect_nfs, nfs.collect_nfsd, protocols.collect_conntrack, protocols.collect_udp_queues],
    ids=lambda collect: collect.__name__,
)
def test_a_machine_without_it(collect, tmp_path: Path) -> None:
    with pytest.raises(AbsentError, match="no /"):
        collect(Roots(tmp_path, tmp_path))
