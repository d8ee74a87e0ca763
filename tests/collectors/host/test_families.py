"""On a machine that has it all every family of node_exporter's default collectors is there, with type and labels."""

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from kobs.collectors.host.families import family_of
from kobs.collectors.host.points import Point
from kobs.collectors.host.reading import HostReader, collectors
from kobs.collectors.host.roots import Roots
from tests.collectors.host.machine import rich_machine
from tests.collectors.host.trees import write_tree
from tests.parts import ROOT

OFF_BY_DEFAULT = re.compile(
    r"node_(?:buddyinfo|cgroups|cpu_(?:info|bug_info|flag_info|vulnerabilities)|drbd|interrupts|ksmd|lnstat"
    r"|memory_numa|mountstats|network_route|network_address|pcidevice|processes|qdisc|slabinfo|softirqs|sysctl|wifi"
    r"|xfrm|zoneinfo|bcache_priority_stats)_?.*"
)
"""Families of collectors and options that a default node_exporter does not show; the recording had them on."""
DYNAMIC = re.compile(r"node_(?:bcachefs|hwmon|zfs|memory|netstat|vmstat|sockstat|disk|network|cpu|xfs)_.*")
"""Families whose names the kernel makes, or that every machine has: tested with the kernel's own files elsewhere."""
AS_THE_MACHINE_HAS = ("node_dmi_info", "node_power_supply_info", "node_exporter_build_info")
"""Their labels are what the machine, or the program, tells of itself."""


@pytest.fixture
def shown(tmp_path: Path) -> dict[str, list[Point]]:
    """The points of the rich machine by name, with what every machine has from this one's own files."""
    roots = rich_machine(tmp_path)
    own = {
        "sys/class/net/bonding_masters": "bond0",
        "sys/class/net/bond0/bonding/slaves": "",
        "sys/class/dmi/id/sys_vendor": "ACME",
        "sys/devices/system/cpu/isolated": "1",
        "etc/os-release": 'NAME="Debian GNU/Linux"\nID=debian\nVERSION_ID="12"\nSUPPORT_END=2028-06-30',
        "proc/schedstat": "version 15\ncpu0 498494191 0 3533438552 2553969831 3853684107 2465731542 1 2 3\n",
        "proc/sys/kernel/hung_task_detect_count": "3",
        "proc/1/net/arp": "IP address HW type Flags HW address Mask Device\n10.0.0.5 0x1 0x2 aa:bb * eth0\n",
        "sys/fs/selinux/enforce": "1",
        "proc/sys/net/netfilter/nf_conntrack_count": "1",
        "proc/sys/net/netfilter/nf_conntrack_max": "2",
        "proc/1/net/stat/nf_conntrack": "entries found\n00000001 00000002",
        **dict.fromkeys(
            (f"proc/pressure/{resource}" for resource in ("cpu", "io", "memory", "irq")),
            "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=2",
        ),
    }
    write_tree(tmp_path, own)
    points = [*HostReader(roots).read(), *HostReader(Roots()).read()]
    by_name: dict[str, list[Point]] = {}
    for point in points:
        by_name.setdefault(point.name, []).append(point)
    return by_name


def test_families_of_a_recorded_node_exporter(recorded: Callable[[str], Path], shown: dict[str, list[Point]]) -> None:
    with (recorded("node-exporter") / "families.tsv").open() as table:
        rows = [row for row in csv.DictReader(table, delimiter="\t") if row["family"].startswith("node_")]
    compared = 0
    for row in rows:
        name = row["family"]
        if OFF_BY_DEFAULT.fullmatch(name):
            continue
        kind = family_of(name).type.value.replace("unknown", "untyped")
        assert kind == row["type"], name
        if not int(row["samples"]) or (row["source"] == "fixture" and DYNAMIC.fullmatch(name)):
            continue
        assert name in shown, name
        if name not in AS_THE_MACHINE_HAS:
            labels = {label for point in shown[name] for label, _ in point.labels}
            assert labels == set(row["labels"].split(",")) - {""}, name
        compared += 1
    assert compared > 400


def test_what_dashboards_and_rules_read_of_a_node(
    recorded: Callable[[str], Path], shown: dict[str, list[Point]]
) -> None:
    """kube-prometheus reads 49 raw metrics of a Linux node; two of them are of a collector that is off by default."""
    with (recorded("kube-prometheus") / "metric-names.tsv").open() as table:
        rows = [row for row in csv.DictReader(table, delimiter="\t") if row["source"] == "node-exporter"]
    wanted = {row["metric"] for row in rows if row["kind"] == "raw"}
    assert len(wanted) == 49
    # Off by default in node_exporter too: they need D-Bus.
    assert wanted - shown.keys() == {"node_systemd_unit_state", "node_systemd_service_restart_total"}


def test_the_documentation_lists_every_collector() -> None:
    text = (ROOT / "docs/host-metrics.md").read_text()
    table = text.partition("## Collectors")[2].partition("## Files")[0]
    listed = re.findall(r"`([a-z_]+)`", "".join(re.findall(r"(?m)^\| (`.*`) \|", table)))
    assert sorted(listed) == sorted([*collectors(), "textfile"])
