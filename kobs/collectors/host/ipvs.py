"""IP virtual servers: the kernel's load balancer, which kube-proxy can use.

Source: /proc/net/ip_vs and ip_vs_stats as net/netfilter/ipvs/ip_vs_ctl.c writes them; node_exporter 1.12 (names).
"""

import ipaddress

from kobs.collectors.host.points import Point, labelled
from kobs.collectors.host.roots import Roots, read, read_or_absent

_TOTALS = ("connections", "incoming_packets", "outgoing_packets", "incoming_bytes", "outgoing_bytes")


def total_points(stats: bytes) -> list[Point]:
    """Return the points of ip_vs_stats: two lines of headings, then the totals, hexadecimal."""
    values = stats.decode().splitlines()[2].split()
    return [
        Point(f"node_ipvs_{name}_total", float(int(value, 16))) for name, value in zip(_TOTALS, values, strict=True)
    ]


def backend_points(table: bytes) -> list[Point]:
    """Return the points of ip_vs: a line of each service, and below it one of each backend."""
    sums: dict[tuple[tuple[str, str], ...], list[int]] = {}
    service: dict[str, str] = {}
    for line in table.decode().splitlines():
        fields = line.split()
        if not fields or fields[0] in ("IP", "Prot") or fields[:2] == ["->", "RemoteAddress:Port"]:
            continue
        if fields[0] == "->":
            address, port = _address(fields[1])
            labels = labelled(**service, remote_address=address, remote_port=port)
            # Two services may differ in what is no label.
            total = sums.setdefault(labels, [0, 0, 0])
            for index, value in enumerate(fields[3:6]):
                total[index] += int(value)
        elif fields[0] == "FWM":
            service = {"proto": "FWM", "local_address": "", "local_port": "0", "local_mark": fields[1]}
        else:
            address, port = _address(fields[1])
            service = {"proto": fields[0], "local_address": address, "local_port": port, "local_mark": ""}
    return [
        Point(f"node_ipvs_backend_{name}", float(value), labels)
        for labels, values in sums.items()
        for name, value in zip(("weight", "connections_active", "connections_inactive"), values, strict=True)
    ]


def _address(text: str) -> tuple[str, str]:
    """Return address and port of `C0A80016:0CEA` or `[2620:0000:0000:0000:0000:0000:0000:0001]:0050`."""
    address, _, port = text.rpartition(":")
    if address.startswith("["):
        return str(ipaddress.IPv6Address(address.strip("[]"))), str(int(port, 16))
    return str(ipaddress.IPv4Address(int(address, 16))), str(int(port, 16))


def collect_ipvs(roots: Roots) -> list[Point]:
    """Return the points of the load balancer.

    Raises: AbsentError where the kernel has none.
    """
    return [
        *total_points(read_or_absent(f"{roots.net}/ip_vs_stats")),
        *backend_points(read(f"{roots.net}/ip_vs")),
    ]
