"""Which source a path belongs to, and which segment a file's first line makes it.

Nothing here depends on when or how often a file is read: a renamed file, its `.gz` and a second reading have the same
segment. A plain file's segment is a hash of its inode and first line; its `.gz` has another inode and is known again
by the first line alone (`head`).
"""

import re
from pathlib import Path

import xxhash

from kobs.model.logs import LogSource, SourceKind
from kobs.wire.ship import LineFormat, Stream

HEAD_BYTES = 4096
"""A first line is told by at most this many of its bytes."""

_CONTAINER_FILE = re.compile(r"(\d+)\.log(?:\.\d{8}-\d{6}(?:\.gz)?)?")
# What logrotate and its relatives append: .1, .2.gz, -20261122, -20261122.gz, .2026-11-22, -20261122-1763806503
_ROTATION = re.compile(r"(?:[.-]\d{1,14})(?:[.-]\d{1,14}){0,3}(?:\.gz)?|\.old|\.gz")
_CRI_TIME = re.compile(
    rb"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) (?:stdout|stderr) "
)


def container_source(pod_logs: Path, path: Path, *, cluster: str, node: str) -> LogSource | None:
    """Return the source of `POD_LOGS/NAMESPACE_POD_UID/CONTAINER/RESTART.log[.TIME[.gz]]`; None for any other file."""
    parts = path.relative_to(pod_logs).parts
    if len(parts) != 3:
        return None
    pod_folder, container, name = parts
    found = _CONTAINER_FILE.fullmatch(name)
    identity = pod_folder.split("_")
    if found is None or len(identity) != 3:
        return None
    namespace, pod, uid = identity
    return LogSource(
        kind=SourceKind.CONTAINER,
        cluster=cluster,
        node=node,
        namespace=namespace,
        pod=pod,
        uid=uid,
        container=container,
        restart=int(found[1]),
    )


def file_source(path: Path, *, cluster: str, node: str) -> LogSource:
    """Return the source of a plain file under its live name."""
    return LogSource(kind=SourceKind.FILE, cluster=cluster, node=node, path=str(path))


def is_rotation_of(name: str, live: str) -> bool:
    """Tell whether a file name is a live name with a rotation's suffix (`syslog.1`, `app.log-20261122.gz`)."""
    return name != live and name.startswith(live) and _ROTATION.fullmatch(name, len(live)) is not None


def first_line(beginning: bytes) -> bytes | None:
    """Return the first line (at most HEAD_BYTES of it) of a file's beginning; None while it is not complete."""
    end = beginning.find(b"\n", 0, HEAD_BYTES)
    if end >= 0:
        return beginning[:end]
    return beginning[:HEAD_BYTES] if len(beginning) >= HEAD_BYTES else None


def head_of(line: bytes) -> int:
    """Return the hash by which a first line is compared; never 0, which stands for unknown."""
    return xxhash.xxh64_intdigest(line) or 1


def segment_of(stream: Stream, line: bytes, *, inode: int, generation: int = 0) -> int:
    """Return the segment of a file with this first line.

    `generation` counts how often a file was truncated and began with the same line again.
    """
    if stream.format is LineFormat.CRI:
        time_ns = cri_time_ns(line)
        if time_ns is not None:
            return time_ns + generation
    return xxhash.xxh64_intdigest(b"%d %d " % (inode, generation) + line) >> 1


def cri_time_ns(line: bytes) -> int | None:
    """Return the time of a container runtime's line in ns UTC; None if it is none.

    Source: Kubernetes CRI logging format (RFC 3339 with nanoseconds, stream, tags, content).
    """
    found = _CRI_TIME.match(line)
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    days = _days_from_civil(int(year), int(month), int(day))
    seconds = days * 86_400 + int(hour) * 3600 + int(minute) * 60 + int(second)
    if zone != b"Z":
        shift = int(zone[1:3]) * 3600 + int(zone[4:6]) * 60
        seconds -= shift if zone[:1] == b"+" else -shift
    return seconds * 1_000_000_000 + (int(fraction.ljust(9, b"0")) if fraction else 0)


def _days_from_civil(year: int, month: int, day: int) -> int:
    # datetime refuses a leap second and a day that does not exist; a damaged line must give the same number twice too.
    year -= month <= 2
    era = year // 400
    year_of_era = year - era * 400
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146_097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719_468
