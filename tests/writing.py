"""Log files as a container runtime and the kubelet write them, with numbered lines."""

import contextlib
import gzip
import os
import random
import re
import time
from pathlib import Path

_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT
_NUMBER = re.compile(rb"number=(\d+)")


class ContainerLog:
    """One container's log file below a pod-log folder; every line has the next number."""

    def __init__(
        self, root: Path, *, pod: str = "web-1", container: str = "app", restart: int = 0, seed: int = 1
    ) -> None:
        self.folder = root / f"shop_{pod}_0f6d3f0e-5a3b-4b7c-9d65-{pod}" / container
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path = self.folder / f"{restart}.log"
        self.written = 0
        self.rotations = 0
        self._random = random.Random(seed)
        self._time_ns = 0
        self._file = os.open(self.path, _APPEND)

    def head(self, stream: str = "stdout", tag: str = "F") -> bytes:
        """Return what the runtime writes before the content."""
        self._time_ns = max(time.time_ns(), self._time_ns + 1)
        seconds, nanoseconds = divmod(self._time_ns, 10**9)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        return f"{stamp}.{nanoseconds:09d}Z {stream} {tag} ".encode()

    def raw(self, data: bytes) -> None:
        """Write bytes as they are."""
        while data:
            data = data[os.write(self._file, data) :]

    def line(self, content: bytes, *, stream: str = "stdout", tag: str = "F") -> None:
        """Write one physical line."""
        self.raw(self.head(stream, tag) + content + b"\n")

    def numbered(self, count: int) -> None:
        """Write lines with the next numbers, of different lengths, on both streams."""
        pieces = []
        for _ in range(count):
            stream = "stderr" if self._random.random() < 0.2 else "stdout"
            padding = "x" * self._random.randrange(0, 120)
            pieces.append(self.head(stream) + f"number={self.written} {padding}\n".encode())
            self.written += 1
        self.raw(b"".join(pieces))

    def rotate(self) -> Path:
        """Rename the file as the kubelet does and go on in a new one; return the renamed file."""
        self.rotations += 1
        renamed = self.folder / f"{self.path.name}.20261122-{self.rotations:06d}"
        self.path.rename(renamed)
        os.close(self._file)
        self._file = os.open(self.path, _APPEND)
        return renamed

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._file)

    def close(self) -> None:
        """Stop writing."""
        os.close(self._file)


def compress(path: Path) -> Path:
    """Replace a file by its .gz, as the kubelet and logrotate do."""
    compressed = path.with_name(path.name + ".gz")
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(gzip.compress(path.read_bytes()))
    os.utime(temporary, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    temporary.rename(compressed)
    path.unlink()
    return compressed


def numbers(bodies: list[bytes]) -> list[int]:
    """Return the numbers in log lines, in their order."""
    return [int(found[1]) for body in bodies for found in _NUMBER.finditer(body)]
