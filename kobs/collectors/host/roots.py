"""Where the machine's files are, and how collectors read them: paths below /proc, /sys, the host's / and udev's data.

In a container each of them may be mounted elsewhere. A file of the kernel is read whole and at once; what a device or
kernel does not have raises FileNotFoundError, or is None where a collector asks for what may be missing.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from kobs.errors import KobsError

_MOST_BYTES = 64 * 1024 * 1024
"""Of one file; the kernel's own are far smaller, even the list of sockets of a very busy machine."""


class AbsentError(KobsError):
    """The machine does not have what a collector shows: no fault, but the collector has no families."""


@dataclass(frozen=True, slots=True)
class Roots:
    """The places of a machine's files; `root` is empty for the reader's own /."""

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    root: str = ""
    udev: Path | None = Path("/run/udev/data")
    net: str = field(init=False)
    """Folder of the host's network: that of its first process, as the reader's own may be a container's."""

    def __post_init__(self) -> None:
        is_host = is_folder(f"{self.proc}/1/net")
        object.__setattr__(self, "net", f"{self.proc}/1/net" if is_host else f"{self.proc}/net")


def read(path: str) -> bytes:
    """Return the bytes of a file of the kernel.

    Raises: OSError; ValueError for a file that cannot be the kernel's.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        # A piece may be shorter than asked for though more follows: only an empty one is the end.
        pieces = []
        left = _MOST_BYTES
        while left > 0 and (piece := os.read(descriptor, 65_536)):
            pieces.append(piece)
            left -= len(piece)
        if left <= 0:
            raise ValueError(f"{path}: more than {_MOST_BYTES} bytes")
        return b"".join(pieces)
    finally:
        os.close(descriptor)


def text(path: str) -> str:
    """Return the text of a file without the white space around it.

    Raises: OSError.
    """
    return read(path).decode(errors="replace").strip()


def some_text(path: str) -> str | None:
    """Return the text of a file, or None where it cannot be read: a device answers such files as it has."""
    try:
        return text(path)
    except OSError:
        return None


def number(path: str) -> int:
    """Return the whole number in a file, decimal or with 0x before it.

    Raises: OSError, ValueError.
    """
    return int(read(path), 0)


def some_number(path: str) -> int | None:
    """Return the whole number in a file, or None where there is none or it cannot be read."""
    try:
        return int(read(path), 0)
    except (OSError, ValueError):
        return None


def is_folder(path: str) -> bool:
    """Tell whether a path is a folder, or a link to one."""
    return Path(path).is_dir()


def names(folder: str, pattern: str = ".*") -> list[str]:
    """Return the names in a folder that a pattern matches whole, in order; none where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            found = [entry.name for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return []
    match = re.compile(pattern).fullmatch
    return sorted((name for name in found if match(name)), key=_by_number)


def names_or_absent(folder: str, pattern: str = ".*") -> list[str]:
    """Return the names in a folder as `names` does.

    Raises: AbsentError where there is no such folder.
    """
    if not is_folder(folder):
        raise AbsentError(f"no {folder}")
    return names(folder, pattern)


def read_or_absent(path: str) -> bytes:
    """Return the bytes of a file that only some machines have.

    Raises: AbsentError where there is none; OSError.
    """
    try:
        return read(path)
    except FileNotFoundError as error:
        raise AbsentError(f"no {path}") from error


def _by_number(name: str) -> list[tuple[int, str]]:
    """Order cpu2 before cpu10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
