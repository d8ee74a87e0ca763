"""Which file systems are shown, how full they are, and what happens when one does not answer."""

import threading
from pathlib import Path

from kobs.collectors.host.filesystems import Mount, Usage, UsageReader, ask, mount_points, parse_mounts

MOUNTINFO = b"""\
22 27 0:21 / /proc rw,relatime - proc proc rw
24 27 0:6 / /dev rw,relatime - devtmpfs devtmpfs rw,size=12334524k,nr_inodes=3083631,mode=755
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard,resuid=65534
28 27 0:25 / /mnt/with\\040space ro,nosuid - tmpfs tools ro,size=4k
29 27 254:1 / /data rw,relatime shared:5 master:1 - xfs /dev/vdb ro
30 27 0:30 / /run rw - tmpfs tmpfs rw
31 30 0:31 / /run rw - tmpfs tmpfs rw,size=8k
32 27 0:32 / /var/lib/kubelet/pods/9684b20b/volumes/token rw - tmpfs tmpfs rw
33 27 0:33 / /run/k3s/containerd/x rw - overlay overlay rw
34 27 0:34 / /devices rw - tmpfs tmpfs rw
"""
ROOT = Mount("/dev/vda", "/", "ext4", "254", "0", is_readonly=False)


def test_only_file_systems_of_the_machine_are_shown() -> None:
    assert parse_mounts(MOUNTINFO) == [
        ROOT,
        Mount("tools", "/mnt/with space", "tmpfs", "0", "25", is_readonly=True),
        Mount("/dev/vdb", "/data", "xfs", "254", "1", is_readonly=True),
        Mount("tmpfs", "/run", "tmpfs", "0", "31", is_readonly=False),
        Mount("tmpfs", "/devices", "tmpfs", "0", "34", is_readonly=False),
    ]


def test_places_are_the_host_s_own_where_its_root_is_mounted_elsewhere() -> None:
    mounts = parse_mounts(
        b"27 1 254:0 / /host rw - ext4 /dev/vda rw\n28 27 254:1 / /host/data rw - xfs /dev/vdb rw,emergency_ro\n"
        b"29 27 254:2 / /hosted rw - xfs /dev/vdc rw\n",
        root="/host",
    )
    assert [(mount.mountpoint, mount.is_readonly) for mount in mounts] == [
        ("/", False),
        ("/data", True),
        ("/hosted", False),
    ]


def test_a_real_file_system_says_how_full_it_is(tmp_path: Path) -> None:
    usage = ask(str(tmp_path))
    assert usage.size_bytes > usage.free_bytes >= usage.avail_bytes > 0


def test_the_points_of_a_mount() -> None:
    points = {point.name: point for point in mount_points(ROOT, Usage(100.0, 60.0, 50.0, 10.0, 9.0, is_readonly=False))}
    assert {name.removeprefix("node_filesystem_"): point.value for name, point in points.items()} == {
        "device_error": 0.0,
        "readonly": 0.0,
        "size_bytes": 100.0,
        "free_bytes": 60.0,
        "avail_bytes": 50.0,
        "files": 10.0,
        "files_free": 9.0,
        "purgeable_bytes": 0.0,
        "mount_info": 1.0,
    }
    place = {"device": "/dev/vda", "mountpoint": "/"}
    assert dict(points["node_filesystem_size_bytes"].labels) == {**place, "fstype": "ext4", "device_error": ""}
    assert dict(points["node_filesystem_mount_info"].labels) == {**place, "major": "254", "minor": "0"}


def test_a_file_system_with_an_error_shows_that_only(tmp_path: Path) -> None:
    answers = UsageReader().read([str(tmp_path / "gone"), str(tmp_path)])
    assert answers[str(tmp_path / "gone")] == "no such file or directory"
    assert isinstance(answers[str(tmp_path)], Usage)
    points = mount_points(ROOT, answers[str(tmp_path / "gone")])
    assert [(point.name, point.value) for point in points] == [
        ("node_filesystem_device_error", 1.0),
        ("node_filesystem_readonly", 0.0),
    ]
    assert ("device_error", "no such file or directory") in points[0].labels


def test_a_file_system_that_does_not_answer_hides_no_other(tmp_path: Path) -> None:
    answers_now = threading.Event()
    asked: list[str] = []

    def ask_slowly(path: str) -> Usage:
        # Stands in for a network disk whose server is gone, which a test cannot mount.
        asked.append(path)
        if path == "/stuck":
            answers_now.wait()
        return ask(str(tmp_path))

    reader = UsageReader(wait_seconds=0.05, ask=ask_slowly)
    first = reader.read(["/a", "/stuck", "/b"])
    assert first["/stuck"] == "mountpoint timeout"
    assert isinstance(first["/a"], Usage)
    assert isinstance(first["/b"], Usage)
    assert reader.read(["/a", "/stuck", "/b"])["/stuck"] == "mountpoint timeout"
    assert asked.count("/stuck") == 1
    answers_now.set()
    for thread in threading.enumerate():
        if thread.name == "statvfs":
            thread.join()
    assert isinstance(reader.read(["/stuck"])["/stuck"], Usage)
