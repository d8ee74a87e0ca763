"""Reads the machine, collector by collector: one that fails costs its own families only, and is shown as failed.

A collector takes the `Roots` and returns points. What a machine does not have (no RAID, no InfiniBand) is no fault:
its collector is shown with a success of 0, as node_exporter does, and nothing is logged or counted.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from kobs import telemetry
from kobs.collectors.host import (
    bcache,
    bcachefs,
    btrfs,
    clock,
    cpu,
    disks,
    drives,
    edac,
    fabrics,
    filesystems,
    hwmon,
    identity,
    ipvs,
    kernel,
    network_devices,
    nfs,
    power,
    protocols,
    xfs,
    zfs,
)
from kobs.collectors.host.families import family_of
from kobs.collectors.host.points import Point
from kobs.collectors.host.roots import AbsentError, Roots
from kobs.collectors.host.textfile import TextfileCollector
from kobs.model.samples import Family

Collector = Callable[[Roots], list[Point]]

log = telemetry.get_logger(__name__)
_unreadable = telemetry.counter(
    "kobs_agent_host_unreadable_total", "Parts of the machine that could not be read, by part.", ("part",)
)


def collectors(*, systemd: bool = False) -> dict[str, Collector]:
    """Return all collectors of the machine's own metrics by name; those that remember something are new."""
    found: dict[str, Collector] = {
        "arp": protocols.collect_arp,
        "bcache": bcache.collect_bcache,
        "bcachefs": bcachefs.collect_bcachefs,
        "bonding": network_devices.collect_bonding,
        "btrfs": btrfs.collect_btrfs,
        "conntrack": protocols.collect_conntrack,
        "cpu": cpu.CpuCollector().collect,
        "cpufreq": cpu.collect_cpufreq,
        "diskstats": disks.collect_diskstats,
        "dmi": identity.DmiCollector().collect,
        "dmmultipath": drives.collect_multipath,
        "edac": edac.collect_edac,
        "entropy": kernel.collect_entropy,
        "fibrechannel": fabrics.collect_fibrechannel,
        "filefd": kernel.collect_filefd,
        "filesystem": filesystems.FilesystemCollector().collect,
        "hwmon": hwmon.collect_hwmon,
        "infiniband": fabrics.collect_infiniband,
        "ipvs": ipvs.collect_ipvs,
        "kernel_hung": kernel.collect_kernel_hung,
        "loadavg": kernel.collect_loadavg,
        "mdadm": drives.collect_raid,
        "meminfo": kernel.collect_meminfo,
        "netclass": network_devices.collect_netclass,
        "netdev": network_devices.collect_netdev,
        "netstat": protocols.collect_netstat,
        "nfs": nfs.collect_nfs,
        "nfsd": nfs.collect_nfsd,
        "nvme": drives.collect_nvme,
        "os": identity.collect_os,
        "powersupplyclass": power.collect_power_supplies,
        "pressure": kernel.collect_pressure,
        "rapl": power.collect_rapl,
        "schedstat": kernel.collect_schedstat,
        "selinux": kernel.collect_selinux,
        "sockstat": protocols.collect_sockstat,
        "softnet": protocols.collect_softnet,
        "stat": kernel.collect_stat,
        "tapestats": drives.collect_tapes,
        "thermal_zone": power.collect_thermal_zones,
        "time": clock.collect_time,
        "timex": clock.TimexCollector().collect,
        "udp_queues": protocols.collect_udp_queues,
        "uname": identity.collect_uname,
        "vmstat": kernel.collect_vmstat,
        "watchdog": power.collect_watchdogs,
        "xfs": xfs.collect_xfs,
        "zfs": zfs.collect_zfs,
    }
    if systemd:
        from kobs.collectors.host.systemd import collect_systemd  # noqa: PLC0415 - few ask for it

        found["systemd"] = collect_systemd
    return found


class HostReader:
    """The machine whose files are below some roots, with the files of metrics in some folders."""

    def __init__(
        self,
        roots: Roots,
        *,
        textfiles: Sequence[str] = (),
        systemd: bool = False,
        named: Mapping[str, Collector] | None = None,
    ) -> None:
        self._roots = roots
        self._collectors = dict(named) if named is not None else collectors(systemd=systemd)
        self._textfiles = TextfileCollector(textfiles)
        self._failing: set[str] = set()

    def read(self) -> list[Point]:
        """Return the points of all collectors that can read, and of how each fared."""
        points = [identity.build_point()]
        for name, collect in self._collectors.items():
            points += self._timed(name, collect)
        # Last, as no file may have a metric that the machine has of its own.
        own = {point.name for point in points} | {"up"}
        return points + self._timed("textfile", lambda _: self._textfiles.collect(own))

    def families(self, names: Iterable[str]) -> list[Family]:
        """Return what is said of metrics by their names."""
        return [self._textfiles.family(name) or family_of(name) for name in names]

    def _timed(self, name: str, collect: Collector) -> list[Point]:
        start = time.perf_counter()
        points = self._collect(name, collect)
        labels = (("collector", name),)
        return [
            *(points or ()),
            Point("node_scrape_collector_duration_seconds", time.perf_counter() - start, labels),
            Point("node_scrape_collector_success", float(points is not None), labels),
        ]

    def _collect(self, name: str, collect: Collector) -> list[Point] | None:
        """Return a collector's points, or None where it has none to show."""
        try:
            points = collect(self._roots)
        except AbsentError:
            self._failing.discard(name)
            return None
        except (OSError, ValueError, LookupError, ArithmeticError) as error:
            _unreadable.labels(name).inc()
            if name not in self._failing:
                log.warning("A part of the machine cannot be read; its metrics are missing.", part=name, error=error)
            self._failing.add(name)
            return None
        self._failing.discard(name)
        return points
