"""Hardware sensors: temperatures, fans, voltages, currents, power.

A chip's files are named by kind, number and property (`temp1_max`); the kernel gives thousandths and millionths, which
become base units.

Source: Linux `Documentation/hwmon/sysfs-interface.rst`; node_exporter 1.12 (names of metrics, chips and units).
"""

import os
import re
from collections import Counter

from kobs.collectors.host.points import Point, labelled
from kobs.collectors.host.roots import Roots, is_folder, names, names_or_absent, some_text

_KINDS = "vrm beep_enable update_interval in cpu fan pwm temp curr power energy humidity intrusion freq"
_FILE = re.compile(r"([^0-9]+)([0-9]*)(?:_(.+))?")
_OTHER = re.compile(r"[^a-z0-9:_]")

_WHOLE_CHIP = {
    "vrm": ("node_hwmon_voltage_regulator_version", 1.0),
    "update_interval": ("node_hwmon_update_interval_seconds", 0.001),
}
_MILLI = {"in": "_volts", "cpu": "_volts", "temp": "_celsius", "curr": "_amps"}
"""Kinds that come in thousandths, and the units of their metrics."""
_POWER_INTERVALS = frozenset({"average_interval", "average_interval_min", "average_interval_max"})
_FAN_SPEEDS = frozenset({"input", "min", "max", "target"})

Sensors = dict[str, dict[str, str]]
"""By the sensor's kind and number: the texts of its files by property."""


def collect_hwmon(roots: Roots) -> list[Point]:
    """Return the points of all chips with sensors.

    Raises: AbsentError where the machine has none, as most virtual ones.
    """
    folder = f"{roots.sys}/class/hwmon"
    chips = []
    for name in names_or_absent(folder):
        path = f"{folder}/{name}"
        if is_folder(path) and (base := _base_name(path)):
            chips.append((path, base, some_text(f"{path}/name") or ""))
    bases = Counter(base for _, base, _ in chips)
    pairs = Counter((base, name) for _, base, name in chips)
    points = []
    for path, base, name in chips:
        chip = base
        if bases[base] > 1:
            # Several chips of one device are told apart by what they call themselves, or by the kernel's number.
            own = _clean(name)
            chip = f"{base}_{own if own and pairs[base, name] == 1 else _clean(path.rpartition('/')[2])}"
        if name and _clean(name):
            points.append(Point("node_hwmon_chip_names", 1.0, labelled(chip=chip, chip_name=_clean(name))))
        for sensor, files in _sensors(path).items():
            points += sensor_points(chip, sensor, files)
    return points


def _base_name(path: str) -> str:
    """Return the name of a chip: its device's bus and name, else what it calls itself, else the kernel's number."""
    if os.path.lexists(f"{path}/device"):
        bus, device = os.path.realpath(f"{path}/device").split("/")[-2:]
        if device := _clean(device):
            return f"{_clean(bus)}_{device}" if _clean(bus) else device
    return _clean(some_text(f"{path}/name") or "") or _clean(os.path.realpath(path).rpartition("/")[2])


def _clean(name: str) -> str:
    return _OTHER.sub("_", name.lower()).strip("_")


def _sensors(path: str) -> Sensors:
    sensors: Sensors = {}
    for folder in (path, f"{path}/device"):
        for file in names(folder):
            found = _FILE.fullmatch(file)
            if found is None or found[1] not in _KINDS.split():
                continue
            value = some_text(f"{folder}/{file}")
            if value is not None:
                sensors.setdefault(f"{found[1]}{int(found[2] or 0)}", {})[found[3] or ""] = value
    return sensors


def sensor_points(chip: str, sensor: str, files: dict[str, str]) -> list[Point]:
    """Return the points of one sensor from the texts of its files; what is no number is left out."""
    kind = sensor.rstrip("0123456789")
    labels = (("chip", chip), ("sensor", sensor))
    points = []
    if "label" in files:
        told = labelled(chip=chip, sensor=sensor, label=files["label"])
        points.append(Point("node_hwmon_sensor_label", 1.0, told))
    if kind == "beep_enable":
        return [*points, Point("node_hwmon_beep_enabled", float(files.get("") == "1"), labels)]
    if kind in _WHOLE_CHIP:
        name, unit = _WHOLE_CHIP[kind]
        value = _float(files.get("", ""))
        return points if value is None else [*points, Point(name, value * unit, labels)]
    for element, text in files.items():
        value = _float(text)
        if value is None or element == "label":
            continue
        name = f"node_hwmon_{kind}"
        if element == "input":
            name += "_input" if "" in files else ""
        elif element:
            name += f"_{_clean(element)}"
        if kind == "freq" and element == "input":
            if "label" in files:
                place = (("chip", chip), ("sensor", _clean(files["label"])))
                points.append(Point(f"{name}_freq_mhz", value / 1_000_000, place))
            continue
        suffix, unit = _unit(kind, element)
        points.append(Point(name + suffix, value * unit, labels))
    return points


def _unit(kind: str, element: str) -> tuple[str, float]:
    """Return the end of a metric's name and what one of the kernel's numbers is in its unit."""
    if element in ("fault", "alarm"):
        return "", 1.0
    if element == "beep":
        return "_enabled", 1.0
    if kind in _MILLI and (kind, element) != ("temp", "type"):
        return _MILLI[kind], 0.001
    if kind == "energy":
        return "_joule_total", 1e-6
    if kind == "power":
        if element == "accuracy":
            return "", 1e-6
        return ("_seconds", 0.001) if element in _POWER_INTERVALS else ("_watt", 1e-6)
    if kind == "humidity":
        return "", 1e-6
    if kind == "fan" and element in _FAN_SPEEDS:
        return "_rpm", 1.0
    return "", 1.0


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
