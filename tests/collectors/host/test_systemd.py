"""Units of a real systemd, beside what a real node_exporter shows of them.

The systemd is a user's, in a mount namespace where it takes itself for the system's. kobs looks from outside, through
the namespace's /, as it does from a container; node_exporter looks from inside.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from kobs.collectors.host.families import family_of
from kobs.collectors.host.reading import HostReader
from kobs.collectors.host.roots import AbsentError, Roots
from kobs.collectors.host.systemd import collect_systemd
from tests.collectors.host.node_exporter import get, parse, running_node_exporter, series_of, types_in
from tests.parts import require

_SYSTEMD = Path("/usr/lib/systemd/systemd")
_RUNTIME = "/run/user/0"
# Links are relative, as who looks from outside follows them from its own /.
_START = f"""
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system /run/dbus {_RUNTIME}/systemd/user
chmod 700 {_RUNTIME}
mount -t tmpfs tmpfs /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
ln -s ../user/0/systemd/private /run/systemd/private
cp "$1"/* {_RUNTIME}/systemd/user
export XDG_RUNTIME_DIR={_RUNTIME}
exec {_SYSTEMD} --user
"""
_UNITS = {
    "kobs-good.service": "[Service]\nType=exec\nExecStart=/bin/sleep 1000\n",
    "kobs-bad.service": "[Unit]\nStartLimitBurst=3\nStartLimitIntervalSec=100\n"
    "[Service]\nExecStart=/bin/false\nRestart=always\nRestartSec=0\n",
    "kobs-never.service": "[Service]\nType=oneshot\nExecStart=/bin/true\n",
    "kobs-often.timer": "[Timer]\nOnActiveSec=0\nUnit=kobs-never.service\n",
    "kobs-door.socket": f"[Socket]\nListenStream={_RUNTIME}/door\nAccept=yes\n",
    "kobs-door@.service": "[Service]\nExecStart=/bin/cat\nStandardInput=socket\n",
}


class Machine:
    """A systemd whose units can be started, and its / as others see it."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self.root = f"/proc/{process.pid}/root"

    @property
    def inside(self) -> list[str]:
        """What a command is to be run by to see the same files."""
        environment = [f"XDG_RUNTIME_DIR={_RUNTIME}", "DBUS_SESSION_BUS_ADDRESS="]
        return ["nsenter", f"--target={self._process.pid}", "--mount", "env", *environment]

    def systemctl(self, *arguments: str) -> str:
        """Run systemctl, and return what it prints."""
        done = subprocess.run(
            [*self.inside, "systemctl", "--user", *arguments], check=False, capture_output=True, text=True, timeout=60
        )
        return done.stdout

    def run(self, *command: str) -> None:
        """Run a command there."""
        subprocess.run([*self.inside, *command], check=True, timeout=60)

    def wait_for(self, unit: str, state: str) -> None:
        """Wait until a unit is in a state."""
        deadline = time.monotonic() + 60
        while (found := self.systemctl("is-active", unit).strip()) != state:
            assert time.monotonic() < deadline, f"{unit} is {found}"
            assert self._process.poll() is None, "systemd has ended"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    require(os.geteuid() == 0, "root starts a systemd")
    require(_SYSTEMD.exists() and shutil.which("nsenter") and shutil.which("dbus-daemon"), "no systemd with its bus")
    units = tmp_path_factory.mktemp("units")
    for name, text in _UNITS.items():
        (units / name).write_text(text)
    command = ["unshare", "--mount", "--propagation=private", "sh", "-c", _START, "start", str(units)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            found = Machine(process)
            found.wait_for("basic.target", "active")
            for unit in ("kobs-good.service", "kobs-bad.service", "kobs-often.timer", "kobs-door.socket"):
                found.systemctl("start", unit)
            found.wait_for("kobs-bad.service", "failed")
            found.wait_for("kobs-good.service", "active")
            with socket.socket(socket.AF_UNIX) as visitor:
                visitor.connect(f"{found.root}{_RUNTIME}/door")
            yield found
        finally:
            _kill_all_in(Path(f"/proc/{process.pid}/ns/mnt").readlink())


def _kill_all_in(namespace: Path) -> None:
    """Kill a systemd and all that it has started, which would go on without it."""
    assert namespace != Path("/proc/self/ns/mnt").readlink()
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and (entry / "ns" / "mnt").readlink() == namespace:
                os.kill(int(entry.name), signal.SIGKILL)


@pytest.fixture(params=["private socket", "bus"])
def way(request: pytest.FixtureRequest, machine: Machine) -> Iterator[str]:
    """By which way systemd is asked."""
    bus = "/run/dbus/system_bus_socket"
    if request.param == "bus":
        machine.run("ln", "-s", "../user/0/bus", bus)
    yield request.param
    machine.run("rm", "-f", bus)


def test_it_shows_what_node_exporter_does(machine: Machine, way: str) -> None:
    arguments = ["--collector.disable-defaults", "--collector.systemd", "--collector.systemd.enable-restarts-metrics"]
    if way == "private socket":
        arguments.append("--collector.systemd.private")
    with running_node_exporter(*arguments, before=machine.inside) as url:
        for _ in range(10):  # units come and go
            text = get(url)
            theirs = {series: value for series, value in parse(text).items() if series[0].startswith("node_systemd_")}
            ours = {series_of(point): point.value for point in collect_systemd(Roots(root=machine.root))}
            if ours == theirs:
                break
        assert ours == theirs
        types = {name: kind for name, kind in types_in(text).items() if name.startswith("node_systemd_")}
        assert {name: family_of(name).type.value for name, _ in ours} == types


def test_states_and_restarts_are_those_of_the_units(machine: Machine) -> None:
    points = {
        (point.name, *dict(point.labels).values()): point.value for point in collect_systemd(Roots(root=machine.root))
    }
    shown = {name[1:]: value for name, value in points.items() if name[0] == "node_systemd_unit_state"}
    assert shown["kobs-good.service", "active", "exec"] == 1
    assert shown["kobs-good.service", "failed", "exec"] == 0
    assert shown["kobs-bad.service", "failed", "simple"] == 1
    assert points["node_systemd_service_restart_total", "kobs-bad.service"] >= 3
    assert points["node_systemd_timer_last_trigger_seconds", "kobs-often.timer"] > 1.7e9
    assert points["node_systemd_socket_accepted_connections_total", "kobs-door.socket"] == 1
    assert not any(name[1].endswith((".slice", ".mount", ".device")) for name in points if len(name) > 2)


def test_a_machine_without_systemd_has_no_units(tmp_path: Path) -> None:
    with pytest.raises(AbsentError):
        collect_systemd(Roots(root=str(tmp_path)))
    points = HostReader(Roots(root=str(tmp_path)), systemd=True, named={"systemd": collect_systemd}).read()
    assert [point.value for point in points if ("collector", "systemd") in point.labels][1] == 0


def test_it_is_asked_only_where_the_settings_say_so() -> None:
    names = [
        {value for point in HostReader(Roots(), systemd=on).read() for _, value in point.labels} for on in (False, True)
    ]
    assert ["systemd" in each for each in names] == [False, True]
