"""Journals with real files: systemd-journal-remote makes them, a tenth of a second a call."""

import os
import re
import resource
import signal
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.parts import require

_PROGRAM = Path("/lib/systemd/systemd-journal-remote")
_FILE_BYTES = 8 << 20
"""A journal file has at least this size; with this as the process's limit it is rotated when it is full."""
_FILLER = 2000
BEGINNING_NS = 1_795_348_800_000_000_000
_NUMBER = re.compile(rb"number=(\d+)")


class Journal:
    """A sequence of numbers: one file that is written, and those that were rotated. Records are 1 ms apart."""

    def __init__(self, folder: Path, name: str = "system") -> None:
        require(_PROGRAM.exists(), f"no {_PROGRAM}; make peers installs it")
        folder.mkdir(exist_ok=True)
        self.path = folder / f"{name}.journal"
        self.written = 0
        self.begins_ns = BEGINNING_NS
        self.limited = True

    def record(self, fields: dict[str, bytes | None]) -> bytes:
        """Return the next record in the journal's export format; a field without value is left out."""
        micros = self.begins_ns // 1000 + self.written * 1000
        head = f"__REALTIME_TIMESTAMP={micros}\n__MONOTONIC_TIMESTAMP={1 + self.written * 1000}\n_BOOT_ID={7:032x}\n"
        lines = [head.encode()]
        for name, value in fields.items():
            if value is not None:
                lines.append(name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n")
        self.written += 1
        return b"".join(lines) + b"\n"

    def write(self, records: Sequence[dict[str, bytes | None]]) -> None:
        """Append records, as a journal that goes on."""
        self._append([self.record(fields) for fields in records])

    def numbered(self, count: int, *, unit: bytes = b"a.service", padding: int = 0) -> None:
        """Append records whose messages have the next numbers."""
        records = []
        for _ in range(count):
            message = f"number={self.written} ".encode() + os.urandom(padding // 2).hex().encode()
            records.append(self.record({"MESSAGE": message, "PRIORITY": b"6", "_SYSTEMD_UNIT": unit}))
        self._append(records)

    def rotate(self) -> None:
        """Append numbered records until the file is rotated once more."""
        before = len(self.archived())
        while len(self.archived()) == before:
            self.numbered(_FILLER // 4, padding=_FILE_BYTES // _FILLER)

    def archived(self) -> list[Path]:
        """Return the rotated files, oldest first."""
        return sorted(self.path.parent.glob(f"{self.path.stem}@*.journal"))

    def shown(self) -> list[int]:
        """Return the numbers that journalctl shows; one may come twice where a file was full and the next took it."""
        return shown([*self.archived(), self.path])

    def vacuum(self) -> None:
        """Delete all rotated files, as a journal does that is over its limits."""
        command = ["journalctl", "--directory", str(self.path.parent), "--vacuum-files=1"]
        subprocess.run(command, check=True, capture_output=True)
        assert not self.archived()

    def _append(self, records: list[bytes]) -> None:
        subprocess.run(
            [_PROGRAM, "--compress=no", "-o", self.path, "-"],
            input=b"".join(records),
            check=True,
            capture_output=True,
            preexec_fn=_limit_files if self.limited else None,  # it sets what is the child's own
        )


def _limit_files() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_BYTES, _FILE_BYTES))


def shown(paths: Sequence[Path]) -> list[int]:
    """Return the numbers that journalctl shows of some files."""
    command = ["journalctl", "--quiet", "--output=cat", *(f"--file={path}" for path in paths)]
    return numbers(subprocess.run(command, check=True, capture_output=True).stdout.splitlines())


def numbers(bodies: list[bytes]) -> list[int]:
    """Return the numbers in messages, in their order."""
    return [int(found[1]) for body in bodies for found in _NUMBER.finditer(body)]
