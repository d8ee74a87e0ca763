"""Bcachefs file systems: counters, compression, errors, devices.

The kernel gives most numbers in a short form (`1.5M`), so they are as exact as it.

Source: fs/bcachefs/sysfs.c of Linux 6.7 to 6.17 (which files, their form); node_exporter 1.12 (names).
"""

import re
from collections.abc import Iterator

from kobs.collectors.host.points import Point, labelled
from kobs.collectors.host.roots import AbsentError, Roots, is_folder, names, names_or_absent, some_text, text

_UNITS = " KMGTPE"
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)([KMGTPE]?)", re.I)
_SINCE_CREATION = "since filesystem creation:"


def parse_size(size: str) -> float:
    """Return the whole number that the kernel has shortened.

    Raises: ValueError.
    """
    found = _NUMBER.fullmatch(size.strip())
    if found is None:
        raise ValueError(f"expected a size such as 1.5M, got {size[:100]!r}")
    return float(int(float(found[1]) * 1024 ** _UNITS.index(found[2].upper() or " ")))


def collect_bcachefs(roots: Roots) -> list[Point]:
    """Return the points of all bcachefs file systems that are mounted.

    Raises: AbsentError where there are none.
    """
    folder = f"{roots.sys}/fs/bcachefs"
    mounted = [name for name in names_or_absent(folder) if is_folder(f"{folder}/{name}")]
    if not mounted:
        raise AbsentError(f"nothing in {folder}")
    return [point for uuid in mounted for point in _points(f"{folder}/{uuid}", uuid)]


def _points(path: str, uuid: str) -> list[Point]:
    place = (("uuid", uuid),)
    points = [
        Point("node_bcachefs_info", 1.0, place),
        Point("node_bcachefs_btree_cache_size_bytes", parse_size(some_text(f"{path}/btree_cache_size") or "0"), place),
    ]
    for counter in names(f"{path}/counters"):
        name = f"node_bcachefs_{re.sub('[^a-zA-Z0-9_:]', '_', counter)}_total"
        points.append(Point(name, _since_creation(text(f"{path}/counters/{counter}")), place))
    for algorithm, compressed, uncompressed in _rows(f"{path}/compression_stats"):
        labels = labelled(uuid=uuid, algorithm=algorithm)
        points += [
            Point("node_bcachefs_compression_compressed_bytes", parse_size(compressed), labels),
            Point("node_bcachefs_compression_uncompressed_bytes", parse_size(uncompressed), labels),
        ]
    for kind, count, size in _rows(f"{path}/btree_write_stats"):
        labels = labelled(uuid=uuid, type=kind)
        points += [
            Point("node_bcachefs_btree_writes_total", float(int(count)), labels),
            Point("node_bcachefs_btree_write_average_size_bytes", parse_size(size), labels),
        ]
    for line in (some_text(f"{path}/errors") or "").splitlines():
        kind, count, *_ = line.split()
        points.append(Point("node_bcachefs_errors_total", float(int(count)), labelled(uuid=uuid, error_type=kind)))
    for folder in names(path, r"dev-.+"):
        points += _device_points(f"{path}/{folder}", uuid, folder.removeprefix("dev-"))
    return points


def _since_creation(counter: str) -> float:
    for line in counter.splitlines():
        if line.startswith(_SINCE_CREATION):
            return parse_size(line.removeprefix(_SINCE_CREATION))
    raise ValueError(f"expected a line `{_SINCE_CREATION}`, got {counter[:100]!r}")


def _rows(path: str) -> Iterator[tuple[str, str, str]]:
    """Yield a table's rows without its heading: the first word, and the two numbers behind it."""
    for line in (some_text(path) or "").splitlines()[1:]:
        if len(fields := line.split()) >= 3:
            yield fields[0].removesuffix(":"), fields[1], fields[2]


def _device_points(path: str, uuid: str, device: str) -> list[Point]:
    place = {"uuid": uuid, "device": device}
    told = {file: some_text(f"{path}/{file}") or "" for file in ("label", "state")}
    points = [Point("node_bcachefs_device_info", 1.0, labelled(**place, **told))]
    for file, name in (("bucket_size", "bucket_size_bytes"), ("nbuckets", "buckets"), ("durability", "durability")):
        size = parse_size(some_text(f"{path}/{file}") or "0")
        points.append(Point(f"node_bcachefs_device_{name}", size, labelled(**place)))
    for heading, kind, count in _sections(some_text(f"{path}/io_done") or ""):
        labels = labelled(**place, operation=heading, data_type=kind)
        points.append(Point("node_bcachefs_device_io_done_bytes_total", float(count), labels))
    for heading, kind, count in _sections(some_text(f"{path}/io_errors") or ""):
        if heading.startswith("IO errors since filesystem creation"):
            points.append(Point("node_bcachefs_device_io_errors_total", float(count), labelled(**place, type=kind)))
    return points


def _sections(lines: str) -> Iterator[tuple[str, str, int]]:
    """Yield heading, name and number of lines `name: number` below headings, which have no number."""
    heading = ""
    for line in lines.splitlines():
        name, _, count = line.strip().rpartition(":")
        if re.fullmatch(r"\s*\d+", count):
            yield heading, name.strip(), int(count)
        elif line.strip():
            heading = line.strip().removesuffix(":")
