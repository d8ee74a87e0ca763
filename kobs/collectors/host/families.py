"""What is said of the machine's metrics once: type, unit and help by name.

A name tells its type: `_total` is a counter, all others are gauges, save those whose kind the kernel does not tell,
which are untyped, and one that is a gauge, as node_exporter has them.

Source: node_exporter 1.12 (types).
"""

import functools

from kobs.model.samples import Family, MetricType

_UNTYPED = ("node_netstat_", "node_vmstat_", "node_zfs_")
_UNITS = {
    "_seconds": "seconds",
    "_bytes": "bytes",
    "_hertz": "hertz",
    "_volts": "volts",
    "_celsius": "celsius",
    "_joules": "joules",
    "_ratio": "ratio",
}

_HELP = {
    "node_arp_entries": "Neighbours known by ARP on the network device.",
    "node_bcache_": "Block cache: {rest}.",
    "node_bcachefs_": "Bcachefs file system: {rest}.",
    "node_bonding_active": "Devices of the bond whose link is up.",
    "node_bonding_slaves": "Devices of the bond.",
    "node_boot_time_seconds": "When the machine started, in Unix time.",
    "node_btrfs_": "Btrfs file system: {rest}.",
    "node_context_switches_total": "How often CPUs have switched between tasks.",
    "node_cooling_device_": "Cooling device: {rest}.",
    "node_cpu_core_throttles_total": "How often the core was slowed down because of its heat.",
    "node_cpu_frequency_": "Clock of the CPU: {rest}.",
    "node_cpu_guest_seconds_total": "Time of each CPU in guests; it is part of its user and nice time.",
    "node_cpu_isolated": "1 for a CPU that the scheduler keeps free.",
    "node_cpu_online": "1 where the CPU runs tasks.",
    "node_cpu_package_throttles_total": "How often the CPU package was slowed down because of its heat.",
    "node_cpu_scaling_": "Frequency scaling of the CPU: {rest}.",
    "node_cpu_seconds_total": "Time of each CPU by what it did.",
    "node_disk_": "Column {rest} of the disk in /proc/diskstats.",
    "node_disk_ata_": "ATA disk: {rest}.",
    "node_disk_device_mapper_info": "What udev knows of a mapped device; the value is 1.",
    "node_disk_filesystem_info": "What udev knows of the file system on the disk; the value is 1.",
    "node_disk_info": "What udev knows of the disk; the value is 1.",
    "node_dmi_info": "What the firmware says of the machine; the value is 1.",
    "node_dmmultipath_": "Multipath device: {rest}.",
    "node_edac_": "Memory errors that the controller counted: {rest}.",
    "node_entropy_": "The kernel's random numbers: {rest}.",
    "node_exporter_build_info": "Version of the program that shows the machine's metrics; the value is 1.",
    "node_fibrechannel_": "Fibre Channel host: {rest}.",
    "node_filefd_": "File descriptors: {rest}.",
    "node_filesystem_": "The file system's {rest}.",
    "node_filesystem_device_error": "1 where the file system did not say how full it is.",
    "node_filesystem_mount_info": "Device numbers of a mount; the value is 1.",
    "node_filesystem_readonly": "1 where the file system is mounted read-only.",
    "node_forks_total": "Processes and threads made since the start.",
    "node_hwmon_": "Hardware sensor: {rest}.",
    "node_infiniband_": "InfiniBand port: {rest}.",
    "node_intr_total": "Interrupts since the start.",
    "node_ipvs_": "IP virtual server: {rest}.",
    "node_kernel_hung_tasks_total": "Tasks that the kernel found hanging.",
    "node_load": "Tasks that run or wait for CPU or disk, mean over {rest} minutes.",
    "node_md_": "RAID device: {rest}.",
    "node_memory_": "Line {rest} of /proc/meminfo.",
    "node_netstat_": "Counter {rest} of the network protocols.",
    "node_network_": "Property {rest} of the network device.",
    "node_network_info": "Address and states of a network device; the value is 1.",
    "node_network_up": "1 where the network device's state is up.",
    "node_nf_conntrack_": "Connection tracking: {rest}.",
    "node_nfs_": "NFS client: {rest}.",
    "node_nfsd_": "NFS server: {rest}.",
    "node_nvme_": "NVMe controller: {rest}.",
    "node_os_": "The operating system, from os-release: {rest}.",
    "node_power_supply_": "Power supply: {rest}.",
    "node_pressure_": "Time in which tasks were held up: {rest}.",
    "node_procs_": "Tasks that are {rest}.",
    "node_rapl_": "Energy that the part has used: {rest}.",
    "node_schedstat_": "The scheduler, by CPU: {rest}.",
    "node_scrape_collector_duration_seconds": "How long the collector took.",
    "node_scrape_collector_success": "1 where the collector could read what it shows.",
    "node_selinux_": "SELinux: {rest}.",
    "node_sockstat_": "Sockets: {rest}.",
    "node_softnet_": "Packets between network devices and protocols, by CPU: {rest}.",
    "node_systemd_": "systemd: {rest}.",
    "node_systemd_service_restart_total": "How often systemd has started the service again.",
    "node_systemd_unit_state": "1 for the state that the unit is in, 0 for the others.",
    "node_systemd_units": "Units by their state.",
    "node_tape_": "Tape drive: {rest}.",
    "node_textfile_mtime_seconds": "When the file of metrics was last written, in Unix time.",
    "node_textfile_scrape_error": "1 where a file of metrics could not be read or is wrong.",
    "node_thermal_zone_temp": "Temperature of the zone in degrees Celsius.",
    "node_time_": "The machine's clock: {rest}.",
    "node_time_seconds": "The machine's clock, in Unix time.",
    "node_timex_": "How the kernel steers the clock: {rest}.",
    "node_udp_queues": "Bytes that wait in the queues of UDP sockets.",
    "node_uname_info": "Name and kernel of the machine; the value is 1.",
    "node_vmstat_": "Line {rest} of /proc/vmstat.",
    "node_watchdog_": "Watchdog device: {rest}.",
    "node_xfs_": "XFS file system: {rest}.",
    "node_zfs_": "ZFS: {rest}.",
    "up": "1 where the last look at the target succeeded.",
}


@functools.lru_cache(maxsize=4096)
def family_of(name: str) -> Family:
    """Return what is said of a metric of the machine."""
    prefix = max((prefix for prefix in _HELP if name.startswith(prefix)), key=len)
    base = name.removesuffix("_total")
    return Family(name, _type_of(name), _unit_of(base), _HELP[prefix].format(rest=base.removeprefix(prefix)))


def _type_of(name: str) -> MetricType:
    if name.startswith(_UNTYPED) and name != "node_zfs_zpool_state":
        return MetricType.UNKNOWN
    is_counter = name.endswith("_total") and name != "node_systemd_socket_refused_connections_total"
    return MetricType.COUNTER if is_counter else MetricType.GAUGE


def _unit_of(base: str) -> str:
    return next((unit for suffix, unit in _UNITS.items() if base.endswith(suffix)), "")
