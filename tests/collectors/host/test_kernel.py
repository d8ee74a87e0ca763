"""Bytes of /proc, recorded on a machine with two CPUs, as points."""

import pytest

from kobs.collectors.host import clock, cpu, identity, kernel
from kobs.collectors.host.points import Point

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
