"""Bytes of /proc, recorded on a machine with two CPUs, as points."""

from pathlib import Path

import pytest

from kobs.collectors.host import clock, cpu, identity, kernel
from kobs.collectors.host.points import Point
from kobs.collectors.host.roots import AbsentError, Roots
from tests.collectors.host.trees import write_tree

STAT = b"""\
cpu  43197 185100 56219 408576 3152 0 1565 4023 0 0
cpu0 20256 88251 26680 212292 887 0 265 2056 12 7
cpu1 22940 96848 29538 196283 2265 0 1300 1967 0 0
intr 3473511 0 0 14 0 0
ctxt 5566629
btime 1795472001
processes 54022
procs_running 3
procs_blocked 0
softirq 1424141 0 170730 43 348922 288813 0 1595 211405 139 402494
"""

MEMINFO = b"""\
MemTotal:       24684096 kB
Active(anon):       1620 kB
KReclaimable:     551108 kB
NFS_Unstable:          0 kB
VmallocTotal:   34359738367 kB
HugePages_Total:       4
Hugepagesize:       2048 kB
DirectMap2M:     2068480 kB
"""


def by_labels(points: list[Point]) -> dict[tuple[str, ...], float]:
    return {(point.name, *(value for _, value in point.labels)): point.value for point in points}


def test_cpu_times_are_seconds_by_cpu_and_mode() -> None:
    points = by_labels(cpu.cpu_points(cpu.parse_cpu(STAT)))
    assert points["node_cpu_seconds_total", "0", "user"] == 202.56
    assert points["node_cpu_seconds_total", "1", "iowait"] == 22.65
    assert points["node_cpu_seconds_total", "0", "steal"] == 20.56
    assert points["node_cpu_guest_seconds_total", "0", "user"] == 0.12
    assert points["node_cpu_guest_seconds_total", "0", "nice"] == 0.07
    assert len(points) == 20


def test_an_old_kernel_without_guest_times_gives_zero() -> None:
    points = by_labels(cpu.cpu_points(cpu.parse_cpu(b"cpu0 100 2 3 4 5 6 7\n")))
    assert points["node_cpu_seconds_total", "0", "user"] == 1.0
    assert points["node_cpu_seconds_total", "0", "steal"] == 0.0
    assert points["node_cpu_guest_seconds_total", "0", "nice"] == 0.0


def test_a_small_step_back_of_a_cpu_time_is_held() -> None:
    before = cpu.parse_cpu(b"cpu0 100 0 0 1000 50 0 0 0 0 0\n")
    after = cpu.parse_cpu(b"cpu0 110 0 0 999 49 0 0 0 0 0\n")
    assert cpu.steady(before, after)["0"][:5] == (1.1, 0.0, 0.0, 10.0, 0.5)


def test_a_cpu_that_was_taken_out_begins_anew() -> None:
    before = cpu.parse_cpu(b"cpu0 100 0 0 1000 50 0 0 0 0 0\n")
    after = cpu.parse_cpu(b"cpu0 1 0 0 10 0 0 0 0 0 0\ncpu1 2 0 0 0 0 0 0 0 0 0\n")
    assert cpu.steady(before, after) == after


def test_the_system_as_a_whole() -> None:
    assert by_labels(kernel.stat_points(STAT)) == {
        ("node_intr_total",): 3473511.0,
        ("node_context_switches_total",): 5566629.0,
        ("node_boot_time_seconds",): 1795472001.0,
        ("node_forks_total",): 54022.0,
        ("node_procs_running",): 3.0,
        ("node_procs_blocked",): 0.0,
    }


def test_memory_is_in_bytes_and_counts_are_not() -> None:
    assert by_labels(kernel.memory_points(MEMINFO)) == {
        ("node_memory_MemTotal_bytes",): 25276514304.0,
        ("node_memory_Active_anon_bytes",): 1658880.0,
        ("node_memory_NFS_Unstable_bytes",): 0.0,
        ("node_memory_VmallocTotal_bytes",): 35184372087808.0,
        ("node_memory_HugePages_Total",): 4.0,
        ("node_memory_Hugepagesize_bytes",): 2097152.0,
        ("node_memory_DirectMap2M_bytes",): 2118123520.0,
    }


def test_load_files_and_time() -> None:
    assert [point.value for point in kernel.load_points(b"4.25 2.80 2.17 3/512 4711\n")] == [4.25, 2.8, 2.17]
    assert [point.name for point in kernel.load_points(b"0 0 0 1/1 1\n")] == ["node_load1", "node_load5", "node_load15"]
    assert by_labels(kernel.file_points(b"1704\t0\t2466165\n"))["node_filefd_maximum",] == 2466165.0
    assert clock.time_points(1.5) == [Point("node_time_seconds", 1.5)]


def test_uname_has_its_parts_as_labels() -> None:
    files = {
        "ostype": b"Linux\n",
        "hostname": b"worker-1\n",
        "domainname": b"(none)\n",
        "osrelease": b"6.1.0-31-amd64\n",
        "version": b"#1 SMP\n",
    }
    (point,) = identity.uname_points(files, machine="x86_64")
    assert point.value == 1.0
    assert dict(point.labels) == {
        "domainname": "(none)",
        "machine": "x86_64",
        "nodename": "worker-1",
        "release": "6.1.0-31-amd64",
        "sysname": "Linux",
        "version": "#1 SMP",
    }


def test_paging_and_processes_killed_for_memory(tmp_path: Path) -> None:
    lines = "nr_free_pages 1\npgpgin 2\npswpout 3\npgmajfault 4\npgfault 5\noom_kill 6\npgsteal_kswapd 7\n"
    write_tree(tmp_path, {"vmstat": lines})
    assert by_labels(kernel.collect_vmstat(Roots(tmp_path))) == {
        ("node_vmstat_pgpgin",): 2.0,
        ("node_vmstat_pswpout",): 3.0,
        ("node_vmstat_pgmajfault",): 4.0,
        ("node_vmstat_pgfault",): 5.0,
        ("node_vmstat_oom_kill",): 6.0,
    }


def test_pressure_in_seconds(tmp_path: Path) -> None:
    some, full = "some avg10=0.1 avg60=2.0 avg300=3.8 total=15", "full avg10=0.0 avg60=0.0 avg300=0.0 total=25000000"
    write_tree(tmp_path, {"pressure/cpu": some, "pressure/memory": f"{some}\n{full}", "pressure/irq": full})
    assert by_labels(kernel.collect_pressure(Roots(tmp_path))) == {
        ("node_pressure_cpu_waiting_seconds_total",): 0.000015,
        ("node_pressure_memory_waiting_seconds_total",): 0.000015,
        ("node_pressure_memory_stalled_seconds_total",): 25.0,
        ("node_pressure_irq_stalled_seconds_total",): 25.0,
    }


def test_the_scheduler_by_cpu(tmp_path: Path) -> None:
    text = (
        "version 15\ntimestamp 15819019232\n"
        "cpu0 498494191 0 3533438552 2553969831 3853684107 2465731542 2045936778163039 343796328169361 4767485306\n"
        "domain0 00000000,00000003 212499247 210112015 1861015 1860405436\n"
    )
    write_tree(tmp_path, {"schedstat": text})
    assert by_labels(kernel.collect_schedstat(Roots(tmp_path))) == {
        ("node_schedstat_running_seconds_total", "0"): 2045936.778163039,
        ("node_schedstat_waiting_seconds_total", "0"): 343796.328169361,
        ("node_schedstat_timeslices_total", "0"): 4767485306.0,
    }


def test_selinux_where_it_is_on(tmp_path: Path) -> None:
    write_tree(tmp_path, {"fs/selinux/enforce": "1", "etc/selinux/config": "# how\nSELINUX=permissive\n"})
    assert by_labels(kernel.collect_selinux(Roots(tmp_path, tmp_path, str(tmp_path)))) == {
        ("node_selinux_enabled",): 1.0,
        ("node_selinux_config_mode",): 0.0,
        ("node_selinux_current_mode",): 1.0,
    }
    assert kernel.collect_selinux(Roots(tmp_path, tmp_path / "none")) == [Point("node_selinux_enabled", 0.0)]


def test_heat_and_which_cpus_run(tmp_path: Path) -> None:
    cpus = "devices/system/cpu"
    files = {f"{cpus}/isolated": "1,3-4", f"{cpus}/cpufreq/boost": "1"}
    for number, core in ((0, 0), (1, 0), (2, 1), (10, 1)):
        files |= {
            f"{cpus}/cpu{number}/online": "0" if number == 10 else "1",
            f"{cpus}/cpu{number}/topology/physical_package_id": "0",
            f"{cpus}/cpu{number}/topology/core_id": str(core),
            f"{cpus}/cpu{number}/thermal_throttle/core_throttle_count": str(5 + core),
            f"{cpus}/cpu{number}/thermal_throttle/package_throttle_count": "30",
        }
    write_tree(tmp_path, files)
    write_tree(tmp_path, {"stat": "cpu0 1 2 3 4 5 6 7 8 9 10"})
    values = by_labels(cpu_points(tmp_path))
    assert {key: value for key, value in values.items() if key[0] != "node_cpu_seconds_total"} == {
        ("node_cpu_guest_seconds_total", "0", "user"): 0.09,
        ("node_cpu_guest_seconds_total", "0", "nice"): 0.1,
        **{("node_cpu_isolated", each): 1.0 for each in ("1", "3", "4")},
        ("node_cpu_package_throttles_total", "0"): 30.0,
        ("node_cpu_core_throttles_total", "0", "0"): 5.0,
        ("node_cpu_core_throttles_total", "1", "0"): 6.0,
        **{("node_cpu_online", each): 1.0 for each in ("0", "1", "2")},
        ("node_cpu_online", "10"): 0.0,
    }
    (tmp_path / cpus / "cpu0/online").unlink()
    assert not [key for key in by_labels(cpu_points(tmp_path)) if key[0] == "node_cpu_online"]


def cpu_points(folder: Path) -> list[Point]:
    return cpu.CpuCollector().collect(Roots(folder, folder))


def test_frequencies_and_what_governs_them(tmp_path: Path) -> None:
    folder = "devices/system/cpu/cpu0/cpufreq"
    files = {"scaling_cur_freq": "1699981", "scaling_max_freq": "3700000", "cpuinfo_cur_freq": "<unknown>"}
    files |= {"scaling_governor": "powersave", "scaling_available_governors": "performance powersave"}
    write_tree(tmp_path, {f"{folder}/{file}": text for file, text in files.items()})
    assert by_labels(cpu.collect_cpufreq(Roots(tmp_path, tmp_path))) == {
        ("node_cpu_scaling_frequency_hertz", "0"): 1699981000.0,
        ("node_cpu_scaling_frequency_max_hertz", "0"): 3700000000.0,
        ("node_cpu_scaling_governor", "0", "performance"): 0.0,
        ("node_cpu_scaling_governor", "0", "powersave"): 1.0,
    }


def test_the_operating_system() -> None:
    text = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n# x\nID=debian\nVERSION_ID="12.5"\nSUPPORT_END=2028-06-30\n'
    info, version, end = identity.os_points(text)
    labels = dict(info.labels)
    assert labels["pretty_name"] == "Debian GNU/Linux 12 (bookworm)"
    assert (labels["id"], labels["version_id"], labels["variant"]) == ("debian", "12.5", "")
    assert (version.name, version.value) == ("node_os_version", 12.5)
    assert (end.name, end.value) == ("node_os_support_end_timestamp_seconds", 1845936000.0)
    assert [point.name for point in identity.os_points("ID=arch\n")] == ["node_os_info"]


def test_the_operating_system_of_the_host_s_root(tmp_path: Path) -> None:
    with pytest.raises(AbsentError, match="os-release"):
        identity.collect_os(Roots(root=str(tmp_path)))
    write_tree(tmp_path, {"usr/lib/os-release": "ID=talos"})
    assert ("id", "talos") in identity.collect_os(Roots(root=str(tmp_path)))[0].labels


def test_the_firmware_s_words(tmp_path: Path) -> None:
    collector = identity.DmiCollector()
    roots = Roots(tmp_path, tmp_path)
    with pytest.raises(AbsentError):
        collector.collect(roots)
    write_tree(tmp_path, {"class/dmi/id/sys_vendor": "ACME", "class/dmi/id/bios_date": "04/12/2021"})
    (point,) = collector.collect(roots)
    assert point.labels == (("bios_date", "04/12/2021"), ("system_vendor", "ACME"))


def test_how_the_clock_is_steered() -> None:
    timex = clock.Timex(offset=1_500, freq=65536, maxerror=16_000_000, tick=10_000, status=0x2000, tai=37, jitcnt=4)
    values = by_labels(clock.timex_points(timex, 0))
    assert values["node_timex_sync_status",] == 1.0
    assert values["node_timex_offset_seconds",] == pytest.approx(1.5e-6)
    assert values["node_timex_frequency_adjustment_ratio",] == pytest.approx(1 + 1e-6)
    assert values["node_timex_maxerror_seconds",] == 16.0
    assert values["node_timex_tick_seconds",] == pytest.approx(0.01)
    assert values["node_timex_tai_offset_seconds",] == 37.0
    assert values["node_timex_pps_jitter_total",] == 4.0
    microseconds = by_labels(clock.timex_points(clock.Timex(offset=1_500), 5))
    assert microseconds["node_timex_sync_status",] == 0.0
    assert microseconds["node_timex_offset_seconds",] == pytest.approx(1.5e-3)


@pytest.mark.parametrize(
    "parse",
    [
        lambda: kernel.memory_points(b"MemTotal: many kB\n"),
        lambda: kernel.load_points(b""),
        lambda: cpu.parse_cpu(b"cpu0 x\n"),
        lambda: kernel.file_points(b"1\n"),
    ],
    ids=["memory", "load", "cpu", "files"],
)
def test_other_bytes_are_an_error(parse) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whichever part of the bytes is wrong
        parse()
