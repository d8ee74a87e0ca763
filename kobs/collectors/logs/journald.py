"""The systemd journal, read through `journalctl`, which knows the files' format.

A record's position is the journal's own sequence number: `segment` is a hash of the sequence's id, `offset` the number.
So the records between two numbers are the same whenever they are read, and a batch is a range of numbers. Records that
were vacuumed before they could be read are a loss on record.
"""

import os
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import xxhash

from kobs import telemetry

_SEQUENCE = re.compile(rb'"__CURSOR"\s*:\s*"s=([0-9a-f]+);i=([0-9a-f]+)')
_FIELDS = "MESSAGE,PRIORITY,_SYSTEMD_UNIT,SYSLOG_IDENTIFIER,_PID,_HOSTNAME"
_READ_BYTES = 256 * 1024
_LONGEST_RECORD_BYTES = 64 * 1024 * 1024
_RESTART_SECONDS = 5.0

log = telemetry.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Record:
    """One record: its place in the journal, and its line of JSON with the newline."""

    sequence_id: str
    sequence: int
    line: bytes


def journal_folder(configured: Path | None) -> Path | None:
    """Return the folder of the journal: the configured one, else the volatile one; None where there is none."""
    if configured is None or shutil.which("journalctl") is None:
        return None
    for folder in (configured, Path("/run/log/journal")):
        if any(folder.glob("*/*.journal")) or any(folder.glob("*.journal")):
            return folder
    return None


def segment_of(sequence_id: str) -> int:
    """Return the segment of a sequence of numbers."""
    return xxhash.xxh64_intdigest(sequence_id.encode()) >> 1


def oldest_record(folder: Path) -> Record | None:
    """Return the first record that a journal still has."""
    command = [
        "journalctl",
        "--directory",
        str(folder),
        "--output=json",
        "--no-pager",
        "--quiet",
        "--output-fields=_PID",
    ]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as program:  # noqa: S603 - as below
        line = b"" if program.stdout is None else program.stdout.readline()
        program.terminate()
    found = _SEQUENCE.search(line)
    return None if found is None else Record(found[1].decode(), int(found[2], 16), line)


class JournalFollower:
    """Follows a journal from a place on. `take` never waits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""
        self._ready: deque[Record] = deque()
        self._may_start_at = 0.0
        self.problem = ""

    def seek(self, sequence_id: str, after: int | None) -> None:
        """Go on after the record with this number, or from the oldest record."""
        self.close()
        command = ["journalctl", "--directory", str(self.folder), "--output=json", "--no-pager", "--follow"]
        command += [f"--output-fields={_FIELDS}", "--quiet"]
        if after is None:
            command += ["--no-tail"]
        else:
            command += [f"--after-cursor=s={sequence_id};i={after:x}", "--no-tail"]
        self._process = subprocess.Popen(  # noqa: S603 - a fixed program; its arguments are a folder and numbers
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        if self._process.stdout is not None:
            os.set_blocking(self._process.stdout.fileno(), False)

    @property
    def is_running(self) -> bool:
        """Whether `seek` was called and the program has not ended since."""
        return self._process is not None and self._process.poll() is None

    def may_start(self, now: float) -> bool:
        """Whether it is time to start the program again after it ended."""
        if now < self._may_start_at:
            return False
        self._may_start_at = now + _RESTART_SECONDS
        return True

    def take(self, most_bytes: int) -> Sequence[Record]:
        """Return the next records, at most so many bytes of them but at least one where there is one."""
        self._read(most_bytes)
        taken: list[Record] = []
        size = 0
        while self._ready and (not taken or size + len(self._ready[0].line) <= most_bytes):
            if taken and self._ready[0].sequence_id != taken[0].sequence_id:
                break
            record = self._ready.popleft()
            size += len(record.line)
            taken.append(record)
        return taken

    def close(self) -> None:
        """End the program."""
        if self._process is not None:
            self._process.terminate()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process.wait()
        self._process = None
        self._rest = b""
        self._ready.clear()

    def _read(self, most_bytes: int) -> None:
        if self._process is None or self._process.stdout is None:
            return
        waiting = sum(len(record.line) for record in self._ready)
        while waiting < most_bytes:
            try:
                data = os.read(self._process.stdout.fileno(), _READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                self.problem = f"journalctl ended with code {self._process.wait()}"
                return
            self.problem = ""
            waiting += len(data)
            lines = (self._rest + data).split(b"\n")
            self._rest = lines.pop()
            if len(self._rest) > _LONGEST_RECORD_BYTES:
                log.error("A journal record is too long to be read and is left out.", bytes=len(self._rest))
                self._rest = b""
            for line in lines:
                found = _SEQUENCE.search(line)
                if found is not None:
                    self._ready.append(Record(found[1].decode(), int(found[2], 16), line + b"\n"))
