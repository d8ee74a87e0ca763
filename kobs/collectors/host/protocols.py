"""What the kernel counts of protocols, sockets, neighbours and connections.

The files are those of the host's network: below /proc/1/net, as the reader's own may be a container's.

Source: proc(5), Linux `Documentation/networking/snmp_counter.rst`; node_exporter 1.12 (names, which counters).
"""

import os
import re
from collections import Counter

from kobs.collectors.host.points import Point, labelled
from kobs.collectors.host.roots import AbsentError, Roots, read, read_or_absent

_PROTOCOL_FIELDS = re.compile(
    r".*_(?:InErrors|InErrs)|Ip_Forwarding|Ip(?:6|Ext)_(?:InOctets|OutOctets)|Icmp6?_(?:InMsgs|OutMsgs)"
    r"|TcpExt_(?:Listen.*|Syncookies.*|TCPSynRetrans|TCPTimeouts|TCPOFOQueue|TCPRcvQDrop)"
    r"|Tcp_(?:ActiveOpens|InSegs|OutSegs|OutRsts|PassiveOpens|RetransSegs|CurrEstab)"
    r"|Udp6?_(?:InDatagrams|OutDatagrams|NoPorts|RcvbufErrors|SndbufErrors)"
)
"""The counters that node_exporter shows by default; the kernel has some hundred more."""


def netstat_points(tables: bytes) -> list[Point]:
    """Return the points of /proc/net/netstat or snmp: pairs of a line of names and one of numbers."""
    points = []
    lines = tables.decode().splitlines()
    for heading, row in zip(lines[::2], lines[1::2], strict=True):
        (protocol, *columns), (_, *values) = heading.split(), row.split()
        for column, value in zip(columns, values, strict=True):
            key = f"{protocol.removesuffix(':')}_{column}"
            if _PROTOCOL_FIELDS.fullmatch(key):
                points.append(Point(f"node_netstat_{key}", float(value)))
    return points


def netstat6_points(snmp6: bytes) -> list[Point]:
    """Return the points of /proc/net/snmp6: lines such as `Ip6InReceives 7`."""
    points = []
    for line in snmp6.decode().splitlines():
        name, value = line.split()
        protocol, six, rest = name.partition("6")
        key = f"{protocol}{six}_{rest}"
        if six and _PROTOCOL_FIELDS.fullmatch(key):
            points.append(Point(f"node_netstat_{key}", float(value)))
    return points


def collect_netstat(roots: Roots) -> list[Point]:
    """Return the points of the protocols' counters."""
    points = netstat_points(read(f"{roots.net}/netstat")) + netstat_points(read(f"{roots.net}/snmp"))
    try:
        return points + netstat6_points(read(f"{roots.net}/snmp6"))
    except FileNotFoundError:  # a kernel without IPv6
        return points


_PAGE_BYTES = os.sysconf("SC_PAGESIZE")


def sockstat_points(sockstat: bytes) -> list[Point]:
    """Return the points of /proc/net/sockstat or sockstat6: lines such as `TCP: inuse 5 mem 1`."""
    points = []
    for line in sockstat.decode().splitlines():
        protocol, *pairs = line.split()
        protocol = protocol.removesuffix(":")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            points.append(Point(f"node_sockstat_{protocol}_{key}", float(value)))
            if key == "mem":
                points.append(Point(f"node_sockstat_{protocol}_mem_bytes", float(int(value) * _PAGE_BYTES)))
    return points


def collect_sockstat(roots: Roots) -> list[Point]:
    """Return the points of sockets by protocol."""
    points = []
    for file in ("sockstat", "sockstat6"):
        try:
            points += sockstat_points(read(f"{roots.net}/{file}"))
        except FileNotFoundError:
            continue
    return points


_SOFTNET_COLUMNS = (
    (0, "processed_total"),
    (1, "dropped_total"),
    (2, "times_squeezed_total"),
    (8, "cpu_collision_total"),
    (9, "received_rps_total"),
    (10, "flow_limit_count_total"),
    (11, "backlog_len"),
)
_SOFTNET_CPU = 12


def softnet_points(stat: bytes) -> list[Point]:
    """Return the points of /proc/net/softnet_stat: a line a CPU, hexadecimal; older kernels have fewer columns."""
    points = []
    for index, line in enumerate(stat.decode().splitlines()):
        values = [int(column, 16) for column in line.split()]
        cpu = values[_SOFTNET_CPU] if len(values) > _SOFTNET_CPU else index
        for column, name in _SOFTNET_COLUMNS:
            value = values[column] if column < len(values) else 0
            points.append(Point(f"node_softnet_{name}", float(value), (("cpu", str(cpu)),)))
    return points


def collect_softnet(roots: Roots) -> list[Point]:
    """Return the points of packets on their way from devices to protocols."""
    return softnet_points(read(f"{roots.net}/softnet_stat"))


def queue_bytes(sockets: bytes) -> tuple[int, int]:
    """Return the bytes that wait to be sent and to be read, of all sockets of /proc/net/udp or udp6."""
    sending = reading = 0
    for line in sockets.splitlines()[1:]:
        queues = line.split(maxsplit=5)[4]
        if queues != b"00000000:00000000":
            left, _, right = queues.partition(b":")
            sending += int(left, 16)
            reading += int(right, 16)
    return sending, reading


def collect_udp_queues(roots: Roots) -> list[Point]:
    """Return the points of the queues of UDP sockets.

    Raises: AbsentError where the kernel has neither IPv4 nor IPv6.
    """
    points = []
    for file, version in (("udp", "v4"), ("udp6", "v6")):
        try:
            sending, reading = queue_bytes(read(f"{roots.net}/{file}"))
        except FileNotFoundError:
            continue
        points += [
            Point("node_udp_queues", float(sending), labelled(queue="tx", ip=version)),
            Point("node_udp_queues", float(reading), labelled(queue="rx", ip=version)),
        ]
    if not points:
        raise AbsentError(f"no {roots.net}/udp")
    return points


def collect_arp(roots: Roots) -> list[Point]:
    """Return the points of neighbours by network device."""
    lines = read(f"{roots.net}/arp").decode().splitlines()[1:]
    counts = Counter(line.split()[-1] for line in lines)
    return [Point("node_arp_entries", float(count), (("device", device),)) for device, count in counts.items()]


_TRACKING_COLUMNS = (
    *("found", "invalid", "ignore", "insert", "insert_failed", "drop", "early_drop", "search_restart"),
)


def tracking_points(stat: bytes) -> list[Point]:
    """Return the points of /proc/net/stat/nf_conntrack, a line a CPU, hexadecimal, summed over all CPUs."""
    heading, *rows = stat.decode().splitlines()
    columns = heading.split()
    sums = dict.fromkeys(_TRACKING_COLUMNS, 0)
    for row in rows:
        values = dict(zip(columns, row.split(), strict=False))
        for column in _TRACKING_COLUMNS:
            sums[column] += int(values.get(column, "0"), 16)
    return [Point(f"node_nf_conntrack_stat_{column}", float(value)) for column, value in sums.items()]


def collect_conntrack(roots: Roots) -> list[Point]:
    """Return the points of tracked connections.

    Raises: AbsentError where none are tracked.
    """
    folder = f"{roots.proc}/sys/net/netfilter"
    return [
        Point("node_nf_conntrack_entries", float(int(read_or_absent(f"{folder}/nf_conntrack_count")))),
        Point("node_nf_conntrack_entries_limit", float(int(read_or_absent(f"{folder}/nf_conntrack_max")))),
        *tracking_points(read_or_absent(f"{roots.net}/stat/nf_conntrack")),
    ]
