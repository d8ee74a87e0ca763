"""Power and heat: power supplies, energy counters of the processor, thermal zones, cooling devices; and watchdogs.

Source: Linux `Documentation/ABI/testing/sysfs-class-power`, `Documentation/power/powercap/powercap.rst`,
`Documentation/driver-api/thermal/sysfs-api.rst`, `Documentation/ABI/testing/sysfs-class-watchdog`; node_exporter 1.12
(names and units).
"""

import re
from collections import Counter

from kobs.collectors.host.points import Point, labelled
from kobs.collectors.host.roots import (
    AbsentError,
    Roots,
    names,
    names_or_absent,
    number,
    some_number,
    some_text,
    text,
)

_SUPPLY_NAMES = {
    "cycle_count": "cyclecount",
    "time_to_empty_now": "time_to_empty_seconds",
    "time_to_full_now": "time_to_full_seconds",
    "current_now": "current_ampere",
    "energy_now": "energy_watthour",
    "voltage_now": "voltage_volt",
    "charge_now": "charge_ampere",
    "power_now": "power_watt",
}
"""Files whose metric has another name; a temperature's has `_celsius` at its end."""
_SUPPLY_WHOLE = (
    "authentic calibrate capacity capacity_alert_max capacity_alert_min cycle_count online present"
    " time_to_empty_now time_to_full_now"
)
_SUPPLY_MICRO = (
    "current_boot current_max current_now energy_empty energy_empty_design energy_full energy_full_design"
    " energy_now voltage_boot voltage_max voltage_max_design voltage_min voltage_min_design voltage_now"
    " voltage_ocv charge_control_limit charge_control_limit_max charge_counter charge_empty"
    " charge_empty_design charge_full charge_full_design charge_now charge_term_current"
    " constant_charge_current constant_charge_current_max constant_charge_voltage constant_charge_voltage_max"
    " precharge_current input_current_limit power_now"
)
_SUPPLY_TENTHS = "temp temp_alert_max temp_alert_min temp_ambient temp_ambient_max temp_ambient_min temp_max temp_min"
_SUPPLY_TEXTS = (
    "capacity_level charge_type health manufacturer model_name serial_number status technology type usb_type scope"
)
_SUPPLY_PARTS = {
    file: parts
    for files, parts in ((_SUPPLY_WHOLE, 1.0), (_SUPPLY_MICRO, 1_000_000.0), (_SUPPLY_TENTHS, 10.0))
    for file in files.split()
}
"""Files with numbers, and how many of a file's make one of the metric's unit."""


def collect_power_supplies(roots: Roots) -> list[Point]:
    """Return the points of mains and batteries.

    Raises: AbsentError where the kernel knows none.
    """
    folder = f"{roots.sys}/class/power_supply"
    points = []
    for supply in names_or_absent(folder):
        place = (("power_supply", supply),)
        told = {"power_supply": supply}
        for file in names(f"{folder}/{supply}"):
            path = f"{folder}/{supply}/{file}"
            if file in _SUPPLY_TEXTS.split():
                if words := some_text(path):
                    told[file] = words
            elif file in _SUPPLY_PARTS and (value := some_number(path)) is not None:
                name = f"{file}_celsius" if file.startswith("temp") else _SUPPLY_NAMES.get(file, file)
                points.append(Point(f"node_power_supply_{name}", value / _SUPPLY_PARTS[file], place))
        points.append(Point("node_power_supply_info", 1.0, labelled(**told)))
    return points


def collect_rapl(roots: Roots) -> list[Point]:
    """Return the points of the energy that parts of the processor have used.

    Raises: AbsentError where it is not counted, or only root may read it.
    """
    folder = f"{roots.sys}/class/powercap"
    points = []
    used: Counter[str] = Counter()
    for zone in names_or_absent(folder):
        name = some_text(f"{folder}/{zone}/name")
        if name is None:
            continue
        # The number is part of some names (package-1); others appear several times (dram).
        found = re.fullmatch(r"([^-]+)-(\d+)", name)
        name, index = (found[1], int(found[2])) if found is not None else (name, used[name])
        used[name] = index + 1
        try:
            microjoules = number(f"{folder}/{zone}/energy_uj")
        except PermissionError as error:
            raise AbsentError(f"only root may read {folder}/{zone}/energy_uj") from error
        metric = f"node_rapl_{re.sub('[^a-zA-Z0-9_:]', '_', name)}_joules_total"
        points.append(Point(metric, microjoules / 1_000_000, labelled(index=str(index), path=f"{folder}/{zone}")))
    return points


def collect_thermal_zones(roots: Roots) -> list[Point]:
    """Return the points of temperatures and of what cools; a zone that does not answer is left out."""
    folder = f"{roots.sys}/class/thermal"
    points = []
    for zone in names(folder, r"thermal_zone\d+"):
        value = some_number(f"{folder}/{zone}/temp")
        if value is not None:
            labels = labelled(zone=zone.removeprefix("thermal_zone"), type=text(f"{folder}/{zone}/type"))
            points.append(Point("node_thermal_zone_temp", value / 1000, labels))
    for device in names(folder, r"cooling_device\d+"):
        labels = labelled(name=device.removeprefix("cooling_device"), type=text(f"{folder}/{device}/type"))
        for state in ("cur_state", "max_state"):
            value = some_number(f"{folder}/{device}/{state}")
            if value is not None:
                points.append(Point(f"node_cooling_device_{state}", float(value), labels))
    return points


_WATCHDOG_NUMBERS = {
    "bootstatus": "bootstatus",
    "fw_version": "fw_version",
    "nowayout": "nowayout",
    "timeleft": "timeleft_seconds",
    "timeout": "timeout_seconds",
    "pretimeout": "pretimeout_seconds",
    "access_cs0": "access_cs0",
}
_WATCHDOG_TEXTS = ("options", "identity", "state", "status", "pretimeout_governor")


def collect_watchdogs(roots: Roots) -> list[Point]:
    """Return the points of watchdog devices.

    Raises: AbsentError where the kernel knows none.
    """
    folder = f"{roots.sys}/class/watchdog"
    points = []
    for device in names_or_absent(folder):
        for file, name in _WATCHDOG_NUMBERS.items():
            value = some_number(f"{folder}/{device}/{file}")
            if value is not None:
                points.append(Point(f"node_watchdog_{name}", float(value), (("name", device),)))
        told = {file: some_text(f"{folder}/{device}/{file}") or "" for file in _WATCHDOG_TEXTS}
        points.append(Point("node_watchdog_info", 1.0, labelled(name=device, **told)))
    return points
