"""The bytes of one segment: a plain file or its `.gz`, by offset in the uncompressed file.

A plain file is read through its descriptor, so that it can be read to its end after it was renamed or deleted.
"""

import gzip
import os
import zlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FileState:
    """What `fstat` tells."""

    inode: int
    size: int
    links: int
    modified_ns: int
    device: int = 0


class DamagedError(Exception):
    """A compressed file breaks off or is damaged at `offset` of its uncompressed bytes."""

    def __init__(self, offset: int, message: str) -> None:
        super().__init__(message)
        self.offset = offset


class PlainFile:
    """A file that is read in place."""

    compressed = False

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)

    def state(self) -> FileState:
        """Return inode, size and number of names."""
        found = os.fstat(self.descriptor)
        return FileState(found.st_ino, found.st_size, found.st_nlink, found.st_mtime_ns, found.st_dev)

    def read(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset`; fewer only at the end of the file."""
        data = os.pread(self.descriptor, size, offset)
        while data and len(data) < size:
            more = os.pread(self.descriptor, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.descriptor)


class GzipFile:
    """A compressed file. Reading backwards starts again from its beginning."""

    compressed = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = gzip.open(path, "rb")  # noqa: SIM115 - it stays open as long as the segment is read

    def state(self) -> FileState:
        """Return inode, *compressed* size and number of names."""
        found = os.fstat(self._file.fileno())
        return FileState(found.st_ino, found.st_size, found.st_nlink, found.st_mtime_ns)

    def read(self, offset: int, size: int) -> bytes:
        """Return up to `size` uncompressed bytes from `offset`; fewer only at the end.

        Raises: DamagedError at the first byte that cannot be had.
        """
        parts: list[bytes] = []
        reached = offset
        try:
            if self._file.tell() != offset:
                reached = self._file.seek(offset)
                if reached != offset:
                    return b""
            while reached < offset + size:
                # read1 gives what there is before it stumbles over damage; read would throw it away.
                part = self._file.read1(offset + size - reached)
                if not part:
                    break
                parts.append(part)
                reached += len(part)
        except (EOFError, zlib.error, OSError) as error:
            self._file.seek(0)
            if not parts:
                raise DamagedError(reached, f"{self._path}: {error}") from error
        return b"".join(parts)

    def close(self) -> None:
        """Give the descriptor back."""
        self._file.close()


def open_segment(path: Path) -> PlainFile | GzipFile:
    """Open a log file for reading.

    Raises: OSError.
    """
    return GzipFile(path) if path.suffix == ".gz" else PlainFile(path)
