"""The machine as a target: when it is sampled, what labels its series have, what happens when some are gone."""

import shutil
import struct
from pathlib import Path

import pytest

from kobs.collectors.host.families import family_of
from kobs.collectors.host.points import Point
from kobs.collectors.host.reading import HostReader, collectors
from kobs.collectors.host.roots import Roots
from kobs.collectors.host.sampling import Target, next_due_ms, roots_of, sample_time_ms
from kobs.config import AgentSettings
from kobs.model.samples import STALE_NAN_BITS, MetricType
from kobs.telemetry import REGISTRY

FILES = (
    *("stat", "meminfo", "loadavg", "diskstats", "sys/fs/file-nr", "1/net/dev", "1/mountinfo"),
    *(f"sys/kernel/{name}" for name in ("ostype", "hostname", "domainname", "osrelease", "version")),
)


def unreadable(part: str) -> float:
    return REGISTRY.get_sample_value("kobs_agent_host_unreadable_total", {"part": part}) or 0.0


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A copy of this machine's /proc, as far as it is read."""
    for name in FILES:
        source = Path("/proc", name.replace("1/", "self/", 1) if name.startswith("1/") else name)
        target = tmp_path / "proc" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    return tmp_path / "proc"


def test_all_parts_of_this_machine_can_be_read() -> None:
    names = {point.name for point in HostReader(Roots()).read()}
    assert {
        "node_cpu_seconds_total",
        "node_memory_MemAvailable_bytes",
        "node_load15",
        "node_disk_io_time_seconds_total",
        "node_filesystem_avail_bytes",
        "node_network_receive_bytes_total",
        "node_network_up",
        "node_boot_time_seconds",
        "node_time_seconds",
        "node_uname_info",
    } <= names


def test_what_a_machine_does_not_have_is_no_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reader = HostReader(Roots(tmp_path, tmp_path), named={"hwmon": collectors()["hwmon"]})
    failures = unreadable("hwmon")
    success = {point.labels: point.value for point in reader.read() if point.name == "node_scrape_collector_success"}
    assert success[("collector", "hwmon"),] == 0.0
    assert unreadable("hwmon") == failures
    assert caplog.records == []


@pytest.mark.parametrize(
    ("settings", "root"),
    [
        ({}, ""),
        ({"proc": "/host/proc"}, "/host/proc/1/root"),
        ({"proc": "/host/proc", "rootfs": "/host/root"}, "/host/root"),
        ({"proc": "/host/proc", "rootfs": "/"}, ""),
    ],
    ids=["on the machine", "in a container", "with its root mounted", "with the host's mounts"],
)
def test_where_the_host_is(settings: dict[str, str], root: str) -> None:
    roots = roots_of(AgentSettings.model_validate(settings))
    assert roots.root == root
    assert str(roots.proc) == settings.get("proc", "/proc")
    assert str(roots.udev) == "/run/udev/data"


def test_roots_can_be_elsewhere(proc: Path) -> None:
    (proc / "loadavg").write_bytes(b"1.50 2.50 3.50 1/1 1\n")
    points = {point.name: point.value for point in HostReader(Roots(proc)).read()}
    assert points["node_load1"] == 1.5


@pytest.mark.parametrize(
    ("file", "part", "lost"),
    [
        ("meminfo", "meminfo", "node_memory_MemTotal_bytes"),
        ("loadavg", "loadavg", "node_load1"),
        ("diskstats", "diskstats", "node_disk_io_now"),
        ("sys/kernel/version", "uname", "node_uname_info"),
    ],
    ids=["meminfo", "loadavg", "diskstats", "version"],
)
def test_what_cannot_be_read_leaves_out_its_part_only(proc: Path, file: str, part: str, lost: str) -> None:
    reader = HostReader(Roots(proc))
    before = {point.name for point in reader.read()}
    shutil.move(proc / file, proc / "away")
    failures = unreadable(part)
    points = reader.read()
    after = {point.name for point in points}
    success = {point.labels[0][1]: point.value for point in points if point.name == "node_scrape_collector_success"}
    assert success[part] == 0.0
    assert success["cpu"] == 1.0
    assert lost in before - after
    assert "node_cpu_seconds_total" in after
    assert unreadable(part) == failures + 1
    shutil.move(proc / "away", proc / file)
    assert lost in {point.name for point in reader.read()}


def test_damaged_bytes_leave_out_their_part_only(proc: Path) -> None:
    (proc / "1/mountinfo").write_bytes(b"22 27 0:21\n")
    names = {point.name for point in HostReader(Roots(proc)).read()}
    assert "node_filesystem_size_bytes" not in names
    assert "node_load1" in names


def test_series_have_the_labels_of_the_target() -> None:
    points = [Point("node_load1", 0.5), Point("node_network_up", 0.0, (("device", "lo"),))]
    samples = Target(node="worker-1", cluster="prod").samples(points, 15_000)
    own = {"job": "node", "instance": "worker-1", "cluster": "prod"}
    assert [(sample.labels, sample.time_ms, sample.value) for sample in samples] == [
        ({"__name__": "node_load1", **own}, 15_000, 0.5),
        ({"__name__": "node_network_up", "device": "lo", **own}, 15_000, 0.0),
        ({"__name__": "up", **own}, 15_000, 1.0),
    ]


def test_without_a_cluster_there_is_no_such_label() -> None:
    (sample,) = Target(node="n", cluster="").samples([], 0)
    assert sample.labels == {"__name__": "up", "job": "node", "instance": "n"}


def test_a_series_that_is_gone_gets_one_stale_marker() -> None:
    target = Target(node="n", cluster="")
    gone = Point("node_network_up", 1.0, (("device", "eth1"),))
    target.samples([gone], 0)
    marked = [sample for sample in target.samples([], 15_000) if sample.labels["__name__"] == "node_network_up"]
    assert [(sample.labels["device"], sample.time_ms) for sample in marked] == [("eth1", 15_000)]
    assert struct.pack("<d", marked[0].value) == struct.pack("<Q", STALE_NAN_BITS)
    assert len(target.samples([], 30_000)) == 1


def test_moments_are_on_the_grid_of_the_clock() -> None:
    assert next_due_ms(1_795_396_980_000, 15_000) == 1_795_396_995_000
    assert next_due_ms(1_795_396_994_999, 15_000) == 1_795_396_995_000


@pytest.mark.parametrize(
    ("now_ms", "expected"), [(15_000, 15_000), (15_150, 15_000), (15_151, 15_151), (14_999, 14_999)], ids=str
)
def test_a_late_sample_has_its_own_time(now_ms: int, expected: int) -> None:
    assert sample_time_ms(15_000, now_ms, 15_000) == expected


@pytest.mark.parametrize(
    ("name", "kind", "unit"),
    [
        ("node_cpu_seconds_total", MetricType.COUNTER, "seconds"),
        ("node_memory_MemTotal_bytes", MetricType.GAUGE, "bytes"),
        ("node_memory_HugePages_Total", MetricType.GAUGE, ""),
        ("node_network_carrier_changes_total", MetricType.COUNTER, ""),
        ("up", MetricType.GAUGE, ""),
    ],
)
def test_a_family_has_type_and_unit(name: str, kind: MetricType, unit: str) -> None:
    family = family_of(name)
    assert (family.type, family.unit) == (kind, unit)
    assert family.help


def test_a_label_of_the_target_is_kept_apart_from_one_of_the_series() -> None:
    point = Point("backup_ok", 1.0, (("instance", "db-1"), ("empty", "")))
    sample, _ = Target(node="worker-1", cluster="").samples([point], 0)
    assert sample.labels == {
        "__name__": "backup_ok",
        "exported_instance": "db-1",
        "instance": "worker-1",
        "job": "node",
    }
