"""Sensors, power, memory controllers and fabrics, from files in the kernel's form."""

from pathlib import Path

import pytest

from kobs.collectors.host import edac, fabrics, hwmon, power
from kobs.collectors.host.points import Point
from kobs.collectors.host.roots import AbsentError, Roots
from tests.collectors.host.machine import rich_machine
from tests.collectors.host.trees import write_tree


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    return rich_machine(tmp_path)


def by_labels(points: list[Point]) -> dict[tuple[str, ...], float]:
    return {(point.name, *(value for _, value in point.labels)): point.value for point in points}


def test_sensors_are_in_base_units(roots: Roots) -> None:
    values = by_labels(hwmon.collect_hwmon(roots))
    chip = "platform_coretemp_0"
    assert {key: value for key, value in values.items() if chip in key} == {
        ("node_hwmon_chip_names", chip, "coretemp"): 1.0,
        ("node_hwmon_sensor_label", chip, "Package id 0", "temp1"): 1.0,
        ("node_hwmon_temp_celsius", chip, "temp1"): 55.0,
        ("node_hwmon_temp_max_celsius", chip, "temp1"): 84.0,
        ("node_hwmon_temp_crit_celsius", chip, "temp1"): 100.0,
        ("node_hwmon_temp_crit_alarm_celsius", chip, "temp1"): 0.0,
    }
    for key, value in {
        ("node_hwmon_beep_enabled", "nct6779", "beep_enable0"): 1.0,
        ("node_hwmon_update_interval_seconds", "nct6779", "update_interval0"): 1.5,
        ("node_hwmon_in_volts", "nct6779", "in0"): 1.016,
        ("node_hwmon_in_max_volts", "nct6779", "in0"): 1.744,
        ("node_hwmon_in_alarm", "nct6779", "in0"): 1.0,
        ("node_hwmon_in_beep_enabled", "nct6779", "in0"): 0.0,
        ("node_hwmon_fan_rpm", "nct6779", "fan2"): 1098.0,
        ("node_hwmon_fan_pulses", "nct6779", "fan2"): 2.0,
        ("node_hwmon_power_watt", "nct6779", "power1"): 23.5,
        ("node_hwmon_power_average_interval_seconds", "nct6779", "power1"): 1.0,
        ("node_hwmon_curr_amps", "nct6779", "curr1"): 1.25,
        ("node_hwmon_energy_joule_total", "nct6779", "energy1"): 3.0,
        ("node_hwmon_humidity", "nct6779", "humidity1"): 0.45,
        ("node_hwmon_freq_freq_mhz", "nct6779", "sclk"): 300.0,
        ("node_hwmon_pwm", "nct6779", "pwm1"): 91.0,
        ("node_hwmon_pwm_auto_point1_temp", "nct6779", "pwm1"): 30000.0,
    }.items():
        assert values[key] == pytest.approx(value), key


def test_two_chips_of_one_device_are_told_apart(tmp_path: Path) -> None:
    chips = {"hwmon2/name": "asus", "hwmon3/name": "asus_wmi", "hwmon4/name": "twin", "hwmon5/name": "twin"}
    write_tree(tmp_path, {f"class/hwmon/{file}": text for file, text in chips.items()})
    write_tree(tmp_path, {"devices/platform/wmi/uevent": "", "devices/platform/twin/uevent": ""})
    for chip, device in (("hwmon2", "wmi"), ("hwmon3", "wmi"), ("hwmon4", "twin"), ("hwmon5", "twin")):
        (tmp_path / "class/hwmon" / chip / "device").symlink_to(tmp_path / "devices/platform" / device)
    names = {dict(point.labels)["chip"] for point in hwmon.collect_hwmon(Roots(tmp_path, tmp_path))}
    assert names == {
        "platform_wmi_asus",
        "platform_wmi_asus_wmi",
        "platform_twin_hwmon4",
        "platform_twin_hwmon5",
    }


def test_power_supplies(roots: Roots) -> None:
    values = by_labels(power.collect_power_supplies(roots))
    assert values["node_power_supply_online", "AC"] == 1.0
    assert values["node_power_supply_info", "AC", "Mains"] == 1.0
    assert values["node_power_supply_info", "ACME", "BAT0", "Discharging", "Li-ion", "Battery"] == 1.0
    assert values["node_power_supply_cyclecount", "BAT0"] == 17.0
    assert values["node_power_supply_energy_watthour", "BAT0"] == 36.58
    assert values["node_power_supply_power_watt", "BAT0"] == 5.002
    assert values["node_power_supply_voltage_volt", "BAT0"] == 11.66
    assert values["node_power_supply_temp_celsius", "BAT0"] == 29.1


def test_energy_of_each_zone(roots: Roots) -> None:
    folder = f"{roots.sys}/class/powercap"
    assert by_labels(power.collect_rapl(roots)) == {
        ("node_rapl_package_joules_total", "0", f"{folder}/intel-rapl:0"): 240422.366267,
        ("node_rapl_package_joules_total", "1", f"{folder}/intel-rapl:1"): 2.0,
        ("node_rapl_core_joules_total", "0", f"{folder}/intel-rapl:0:0"): 118821.284256,
        ("node_rapl_core_joules_total", "1", f"{folder}/intel-rapl:1:0"): 1.0,
    }


def test_temperatures_and_what_cools(roots: Roots) -> None:
    assert by_labels(power.collect_thermal_zones(roots)) == {
        ("node_thermal_zone_temp", "cpu-thermal", "0"): 12.376,
        ("node_cooling_device_cur_state", "0", "Processor"): 1.0,
        ("node_cooling_device_max_state", "0", "Processor"): 3.0,
    }


def test_watchdogs(roots: Roots) -> None:
    values = by_labels(power.collect_watchdogs(roots))
    assert values["node_watchdog_timeleft_seconds", "watchdog0"] == 300.0
    assert values["node_watchdog_bootstatus", "watchdog0"] == 1.0
    info = ("node_watchdog_info", "Software Watchdog", "watchdog0", "0x8380", "", "", "")
    assert values[info] == 1.0


def test_memory_errors_by_controller_row_and_channel(roots: Roots) -> None:
    module = "mc0_csrow0_channel0"
    assert by_labels(edac.collect_edac(roots)) == {
        ("node_edac_correctable_errors_total", "0"): 6.0,
        ("node_edac_uncorrectable_errors_total", "0"): 5.0,
        ("node_edac_csrow_correctable_errors_total", "0", "unknown"): 2.0,
        ("node_edac_csrow_uncorrectable_errors_total", "0", "unknown"): 1.0,
        ("node_edac_csrow_correctable_errors_total", "0", "0"): 4.0,
        ("node_edac_csrow_uncorrectable_errors_total", "0", "0"): 3.0,
        ("node_edac_channel_correctable_errors_total", "0", "0", "0", module): 4.0,
        ("node_edac_channel_uncorrectable_errors_total", "0", "0", "0", module): 3.0,
        ("node_edac_channel_correctable_errors_total", "1", "0", "0", "unknown"): 0.0,
    }


def test_fibre_channel_without_what_a_driver_does_not_count(roots: Roots) -> None:
    points = fabrics.collect_fibrechannel(roots)
    values = by_labels(points)
    assert values["node_fibrechannel_error_frames_total", "host0"] == 16.0
    assert values["node_fibrechannel_fcp_packet_aborts_total", "host0"] == 28.0
    assert ("node_fibrechannel_dumped_frames_total", "host0") not in values
    assert values["node_fibrechannel_dumped_frames_total", "host1"] == 0.0
    info = dict(points[0].labels)
    assert (info["port_name"], info["port_id"], info["speed"]) == ("1000e0071bce95f2", "000002", "16 Gbit")


def test_infiniband_counts_data_in_bytes(roots: Roots) -> None:
    values = by_labels(fabrics.collect_infiniband(roots))
    assert values["node_infiniband_info", "SM_1141000001000", "mlx4_0", "2.31.5050", "MT4099"] == 1.0
    assert values["node_infiniband_state_id", "mlx4_0", "1"] == 4.0
    assert values["node_infiniband_rate_bytes_per_second", "mlx4_0", "1"] == 5e9
    assert values["node_infiniband_port_data_received_bytes_total", "mlx4_0", "1"] == 28.0
    assert values["node_infiniband_legacy_data_received_bytes_total", "mlx4_0", "1"] == 40.0
    assert values["node_infiniband_link_downed_total", "mlx4_0", "1"] == 7.0
    assert values["node_infiniband_lifespan_seconds", "mlx4_0", "1"] == 10.0
    assert ("node_infiniband_excessive_buffer_overrun_errors_total", "mlx4_0", "1") not in values


@pytest.mark.parametrize(
    "collect",
    [
        hwmon.collect_hwmon,
        power.collect_power_supplies,
        power.collect_rapl,
        power.collect_watchdogs,
        fabrics.collect_fibrechannel,
        fabrics.collect_infiniband,
    ],
    ids=lambda collect: collect.__name__,
)
def test_a_machine_without_it(collect, tmp_path: Path) -> None:
    with pytest.raises(AbsentError, match="no /"):
        collect(Roots(tmp_path, tmp_path))
