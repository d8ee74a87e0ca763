"""What each CPU did, whether it runs, how hot and how fast it is.

Source: proc(5), Linux `Documentation/ABI/testing/sysfs-devices-system-cpu`, `Documentation/admin-guide/pm/cpufreq.rst`;
node_exporter 1.12 (names and units).
"""

from collections.abc import Mapping, Sequence

from kobs.collectors.host.points import Point
from kobs.collectors.host.roots import Roots, names, read, some_number, some_text

CLOCK_TICKS = 100.0
"""Ticks a second in /proc/stat: USER_HZ, which is 100 on all that kobs runs on."""

CPU_MODES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_JUMP_SECONDS = 3.0

CpuSeconds = Mapping[str, Sequence[float]]
"""By the number of the CPU: seconds in each of CPU_MODES, then as guest, then as niced guest."""


def parse_cpu(stat: bytes) -> dict[str, tuple[float, ...]]:
    """Return the seconds of each CPU, from /proc/stat."""
    cpus = {}
    for line in stat.splitlines():
        name, *ticks = line.split()
        if name.startswith(b"cpu") and name != b"cpu":
            seconds = [int(count) / CLOCK_TICKS for count in ticks]
            seconds += [0.0] * (10 - len(seconds))
            cpus[name[3:].decode()] = tuple(seconds[:10])
    return cpus


def steady(previous: CpuSeconds, current: CpuSeconds) -> dict[str, tuple[float, ...]]:
    """Return `current` without the small steps back that the kernel makes, which would look like a counter's reset.

    A CPU whose idle time goes back by more than 3 s was taken out and put in again: it begins anew.
    """
    result = {}
    for cpu, seconds in current.items():
        before = previous.get(cpu)
        if before is None or before[CPU_MODES.index("idle")] - seconds[CPU_MODES.index("idle")] > _JUMP_SECONDS:
            result[cpu] = tuple(seconds)
        else:
            result[cpu] = tuple(map(max, before, seconds))
    return result


def cpu_points(cpus: CpuSeconds) -> list[Point]:
    """Return the points of the seconds of each CPU."""
    points = []
    for cpu, seconds in cpus.items():
        points += [
            Point("node_cpu_seconds_total", value, (("cpu", cpu), ("mode", mode)))
            for mode, value in zip(CPU_MODES, seconds, strict=False)
        ]
        points += [
            Point("node_cpu_guest_seconds_total", value, (("cpu", cpu), ("mode", mode)))
            for mode, value in zip(("user", "nice"), seconds[8:], strict=True)
        ]
    return points


class CpuCollector:
    """Remembers the seconds of each CPU, so that they never step back."""

    def __init__(self) -> None:
        self._seconds: CpuSeconds = {}

    def collect(self, roots: Roots) -> list[Point]:
        """Return the points of all CPUs."""
        self._seconds = steady(self._seconds, parse_cpu(read(f"{roots.proc}/stat")))
        folder = f"{roots.sys}/devices/system/cpu"
        cpus = names(folder, r"cpu\d+")
        return [
            *cpu_points(self._seconds),
            *_isolated_points(some_text(f"{folder}/isolated") or ""),
            *_throttle_points(folder, cpus),
            *_online_points(folder, cpus),
        ]


def parse_cpu_list(text: str) -> list[int]:
    """Return the CPUs of a list such as `0-2,5`."""
    cpus: list[int] = []
    for part in text.split(","):
        if part.strip():
            first, _, last = part.partition("-")
            cpus += range(int(first), int(last or first) + 1)
    return cpus


def _isolated_points(text: str) -> list[Point]:
    return [Point("node_cpu_isolated", 1.0, (("cpu", str(cpu)),)) for cpu in parse_cpu_list(text)]


def _throttle_points(folder: str, cpus: list[str]) -> list[Point]:
    """Return one point for each core and each package: the CPUs of one core share its count."""
    points: dict[tuple[str, ...], Point] = {}
    for cpu in cpus:
        package = some_number(f"{folder}/{cpu}/topology/physical_package_id")
        core = some_number(f"{folder}/{cpu}/topology/core_id")
        if package is None or core is None:
            continue
        for what, labels in (
            ("package", (("package", str(package)),)),
            ("core", (("core", str(core)), ("package", str(package)))),
        ):
            key = (what, *(value for _, value in labels))
            if key in points:
                continue
            count = some_number(f"{folder}/{cpu}/thermal_throttle/{what}_throttle_count")
            if count is not None:
                points[key] = Point(f"node_cpu_{what}_throttles_total", float(count), labels)
    return list(points.values())


def _online_points(folder: str, cpus: list[str]) -> list[Point]:
    """Return which CPUs run; none where the first has no such file, which is where it cannot be taken out."""
    if not cpus or some_number(f"{folder}/{cpus[0]}/online") is None:
        return []
    return [
        Point("node_cpu_online", float(some_number(f"{folder}/{cpu}/online") == 1), (("cpu", cpu[3:]),)) for cpu in cpus
    ]


_FREQUENCIES = {
    "cpuinfo_cur_freq": "node_cpu_frequency_hertz",
    "cpuinfo_avg_freq": "node_cpu_frequency_avg_hertz",
    "cpuinfo_min_freq": "node_cpu_frequency_min_hertz",
    "cpuinfo_max_freq": "node_cpu_frequency_max_hertz",
    "scaling_cur_freq": "node_cpu_scaling_frequency_hertz",
    "scaling_min_freq": "node_cpu_scaling_frequency_min_hertz",
    "scaling_max_freq": "node_cpu_scaling_frequency_max_hertz",
}
"""Files of a CPU's frequencies, in kHz, and their metrics."""


def collect_cpufreq(roots: Roots) -> list[Point]:
    """Return the points of each CPU's frequency and of what governs it; none where nothing scales it."""
    folder = f"{roots.sys}/devices/system/cpu"
    points = []
    for cpu in names(folder, r"cpu\d+"):
        files = set(names(f"{folder}/{cpu}/cpufreq"))
        labels = (("cpu", cpu[3:]),)
        for file, name in _FREQUENCIES.items():
            value = some_number(f"{folder}/{cpu}/cpufreq/{file}") if file in files else None
            if value is not None:
                points.append(Point(name, value * 1000.0, labels))
        if "scaling_governor" in files:
            governor = some_text(f"{folder}/{cpu}/cpufreq/scaling_governor")
            available = some_text(f"{folder}/{cpu}/cpufreq/scaling_available_governors") or ""
            points += [
                Point("node_cpu_scaling_governor", float(each == governor), (*labels, ("governor", each)))
                for each in available.split()
            ]
    return points
