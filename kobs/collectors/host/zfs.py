"""ZFS: cache, queues and pools.

The kernel's module writes tables `name type data`; all numbers of 64 bits are shown. The newest versions tell of a
pool's datasets and state, older ones of its disks' work too.

Source: OpenZFS `module/os/linux/spl/spl-kstat.c` (format); node_exporter 1.12 (names).
"""

from kobs.collectors.host.points import Point, labelled
from kobs.collectors.host.roots import Roots, names, names_or_absent, read, some_text

_FILES = {
    "abdstats": "zfs_abd",
    "arcstats": "zfs_arc",
    "dbufstats": "zfs_dbuf",
    "dmu_tx": "zfs_dmu_tx",
    "dnodestats": "zfs_dnode",
    "fm": "zfs_fm",
    "vdev_cache_stats": "zfs_vdev_cache",
    "vdev_mirror_stats": "zfs_vdev_mirror",
    "xuio_stats": "zfs_xuio",
    "zfetchstats": "zfs_zfetch",
    "zil": "zfs_zil",
}
_SIGNED, _UNSIGNED = "3", "4"
_STATES = ("online", "degraded", "faulted", "offline", "removed", "unavail", "suspended")


def table_rows(table: bytes) -> list[tuple[str, str, str]]:
    """Return name, type and data of each row of a table.

    Raises: ValueError where it has no heading.
    """
    lines = table.decode(errors="replace").splitlines()
    start = next((index for index, line in enumerate(lines) if line.split() == ["name", "type", "data"]), None)
    if start is None:
        raise ValueError("expected a table with the heading `name type data`")
    rows = (line.split(maxsplit=2) for line in lines[start + 1 :])
    return [(row[0], row[1], row[2]) for row in rows if len(row) == 3]


def _metric(prefix: str, name: str) -> str:
    return f"node_{prefix}_{name.rpartition('.')[2].replace('-', '_')}"


def collect_zfs(roots: Roots) -> list[Point]:
    """Return the points of the module and of all pools.

    Raises: AbsentError where the module is not loaded.
    """
    folder = f"{roots.proc}/spl/kstat/zfs"
    points = []
    for file in names_or_absent(folder):
        if file in _FILES:
            points += [
                Point(_metric(_FILES[file], name), float(data))
                for name, kind, data in table_rows(read(f"{folder}/{file}"))
                if kind in (_SIGNED, _UNSIGNED)
            ]
        else:
            points += _pool_points(f"{folder}/{file}", file)
    return points


def _pool_points(path: str, pool: str) -> list[Point]:
    points = []
    for file in names(path):
        if file == "io":
            points += io_points(pool, read(f"{path}/io"))
        elif file == "state":
            state = (some_text(f"{path}/state") or "").lower()
            points += [
                Point("node_zfs_zpool_state", float(each == state), labelled(zpool=pool, state=each))
                for each in _STATES
            ]
        elif file.startswith("objset-"):
            points += dataset_points(pool, read(f"{path}/{file}"))
    return points


def io_points(pool: str, table: bytes) -> list[Point]:
    """Return the points of a pool's work: a line of names that starts with nread, and one of numbers."""
    lines = [line.split() for line in table.decode().splitlines()]
    start = next((index for index, line in enumerate(lines) if line[:1] == ["nread"]), None)
    if start is None or start + 1 >= len(lines):
        return []
    return [
        Point(_metric("zfs_zpool", name), float(value), (("zpool", pool),))
        for name, value in zip(lines[start], lines[start + 1], strict=True)
    ]


def dataset_points(pool: str, table: bytes) -> list[Point]:
    """Return the points of one dataset, whose name is a row of its own."""
    rows = table_rows(table)
    dataset = next((data for name, _, data in rows if name == "dataset_name"), "")
    labels = labelled(zpool=pool, dataset=dataset)
    return [
        Point(_metric("zfs_zpool_dataset", name), float(data), labels) for name, kind, data in rows if kind == _UNSIGNED
    ]
