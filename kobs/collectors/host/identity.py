"""What machine this is: kernel, operating system, firmware; and which program shows it.

Source: proc(5), os-release(5), Linux `Documentation/ABI/testing/sysfs-class-dmi`; node_exporter 1.12 (names).
"""

import datetime as dt
import os
import re
import shlex
from collections.abc import Mapping

from kobs import __version__
from kobs.collectors.host.points import Point, labelled
from kobs.collectors.host.roots import AbsentError, Roots, read, some_text

_KERNEL_FILES = ("ostype", "hostname", "domainname", "osrelease", "version")

_OS_LABELS = (
    *("build_id", "id", "id_like", "image_id", "image_version", "name", "pretty_name"),
    *("variant", "variant_id", "version", "version_codename", "version_id"),
)
_OS_FILES = ("/etc/os-release", "/usr/lib/os-release")
_MAJOR_MINOR = re.compile(r"\d+\.?\d*")

_DMI_FILES = (
    *("bios_date", "bios_release", "bios_vendor", "bios_version"),
    *("board_asset_tag", "board_name", "board_serial", "board_vendor", "board_version"),
    *("chassis_asset_tag", "chassis_serial", "chassis_vendor", "chassis_version"),
    *("product_family", "product_name", "product_serial", "product_sku", "product_uuid", "product_version"),
    "sys_vendor",
)
"""Files of the firmware's words, each a label of its name; `sys_vendor` becomes `system_vendor`."""

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def uname_points(kernel: Mapping[str, bytes], *, machine: str) -> list[Point]:
    """Return the points of the files ostype, hostname, domainname, osrelease and version of /proc/sys/kernel."""
    labels = {
        "domainname": kernel["domainname"],
        "nodename": kernel["hostname"],
        "release": kernel["osrelease"],
        "sysname": kernel["ostype"],
        "version": kernel["version"],
    }
    told = {name: value.decode(errors="replace").strip() for name, value in labels.items()}
    return [Point("node_uname_info", 1.0, labelled(**told, machine=machine))]


def collect_uname(roots: Roots) -> list[Point]:
    """Return the point of the machine's and the kernel's name."""
    files = {name: read(f"{roots.proc}/sys/kernel/{name}") for name in _KERNEL_FILES}
    return uname_points(files, machine=os.uname().machine)


def os_points(release: str) -> list[Point]:
    """Return the points of the text of os-release.

    Raises: ValueError where it is not in the form of os-release(5).
    """
    values: dict[str, str] = {}
    for line in release.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            values[name] = "".join(shlex.split(value))
    labels = {name: values.get(name.upper(), "") for name in _OS_LABELS}
    points = [Point("node_os_info", 1.0, labelled(**labels))]
    version = _MAJOR_MINOR.match(labels["version_id"])
    if version is not None and float(version[0]) > 0:
        some = {name: labels[name] for name in ("id", "id_like", "name")}
        points.append(Point("node_os_version", float(version[0]), labelled(**some)))
    if end := values.get("SUPPORT_END"):
        day = dt.datetime.strptime(end, "%Y-%m-%d").replace(tzinfo=dt.UTC)
        points.append(Point("node_os_support_end_timestamp_seconds", day.timestamp()))
    return points


def collect_os(roots: Roots) -> list[Point]:
    """Return the points of the operating system.

    Raises: AbsentError where the machine has no os-release.
    """
    for file in _OS_FILES:
        if (release := some_text(f"{roots.root}{file}")) is not None:
            return os_points(release)
    raise AbsentError(f"no {' or '.join(_OS_FILES)}")


class DmiCollector:
    """Reads the firmware's words once: they last as long as the kernel."""

    def __init__(self) -> None:
        self._points: list[Point] = []

    def collect(self, roots: Roots) -> list[Point]:
        """Return the point of the firmware's words.

        Raises: AbsentError where the machine has none, as most virtual ones.
        """
        if not self._points:
            folder = f"{roots.sys}/class/dmi/id"
            texts = {file: some_text(f"{folder}/{file}") for file in _DMI_FILES}
            labels = {_dmi_label(file): value for file, value in texts.items() if value is not None}
            if not labels:
                raise AbsentError(f"nothing to read in {folder}")
            self._points = [Point("node_dmi_info", 1.0, labelled(**labels))]
        return self._points


def _dmi_label(file: str) -> str:
    return "system_vendor" if file == "sys_vendor" else file


def build_point() -> Point:
    """Return the point of this program, which dashboards look machines up by."""
    machine = os.uname().machine
    labels = labelled(version=f"kobs-{__version__}", goos="linux", goarch=_MACHINES.get(machine, machine))
    return Point("node_exporter_build_info", 1.0, labels)
