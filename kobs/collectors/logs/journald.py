"""The files of the systemd journal: their headers are read here, their records by `journalctl`, which knows the format.

Every record has a number within its file's *sequence*, which goes on over rotated files. One machine has several
sequences at once (the system's, each user's) that share a count, so numbers have gaps. A sequence is read by itself:
where `journalctl` merges sequences, it leaves out records that are written later than their time says.

Source: systemd "Journal File Format", section "Header".
"""

import os
import re
import shutil
import struct
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import xxhash

_SIGNATURE = b"LPKSHHRH"
_HEADER = struct.Struct("<8s 8x B 55x 16s 64x 3Q")
_ARCHIVED = 2
_NUMBER = re.compile(rb'"__CURSOR"\s*:\s*"s=[0-9a-f]+;i=([0-9a-f]+)')
_FIELDS = "MESSAGE,PRIORITY,_SYSTEMD_UNIT,SYSLOG_IDENTIFIER"
_READ_BYTES = 256 * 1024
_CURSOR_BYTES = 1024
_LONGEST_LINE_BYTES = 8 * 1024 * 1024
"""A message of 1 MiB that is not UTF-8 takes half of that as JSON."""


@dataclass(frozen=True, slots=True)
class JournalFile:
    """A file of the journal with at least one record. `first` and `last` are the numbers of its records."""

    path: Path
    inode: int
    sequence_id: str
    first: int
    last: int
    records: int
    archived: bool


@dataclass(frozen=True, slots=True)
class Record:
    """One record: its number, and its line of JSON with the newline, empty where that is too long to be read."""

    number: int
    line: bytes


@dataclass(frozen=True, slots=True)
class Reading:
    """Records in the order of their numbers. `ended`: there are no more in these files."""

    records: list[Record]
    ended: bool
    problem: str = ""
    unreadable: Sequence[JournalFile] = ()


def segment_of(sequence_id: str) -> int:
    """Return the segment of a sequence of numbers."""
    return xxhash.xxh64_intdigest(sequence_id.encode()) >> 1


def find_files(configured: Path | None) -> list[JournalFile]:
    """Return the files of the journal in the configured folder, else of the volatile one; none where it cannot be read.

    They are in the order of their sequence and its numbers.
    """
    if configured is None or shutil.which("journalctl") is None:
        return []
    for folder in (configured, Path("/run/log/journal")):
        paths = [path for pattern in ("*.journal", "*.journal~") for path in folder.glob(f"**/{pattern}")]
        found = [file for file in map(_read_header, paths) if file is not None]
        if found:
            return sorted(found, key=lambda file: (file.sequence_id, file.first, file.last))
    return []


def read_records(files: Iterable[JournalFile], *, start: int, most_bytes: int, end: int | None = None) -> Reading:
    """Return records of one sequence from number `start` on, before `end`, up to about so many bytes of them."""
    wanted = [file for file in files if file.last >= start]
    if not wanted:
        return Reading([], ended=True)
    with ExitStack() as opened:
        descriptors = []
        for file in wanted:
            try:
                descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                return Reading([], ended=False, problem=f"{file.path}: {error.strerror}")
            opened.callback(os.close, descriptor)
            if os.fstat(descriptor).st_ino != file.inode:
                return Reading([], ended=False)  # rotated since it was found: another look finds both files
            descriptors.append(descriptor)
        reading = _read(wanted[0].sequence_id, descriptors, start=start, most_bytes=most_bytes, end=end)
        if reading.problem and not reading.records:
            unreadable = [file for file, number in zip(wanted, descriptors, strict=True) if not _is_readable(number)]
            return Reading([], ended=False, problem=reading.problem, unreadable=unreadable)
        return reading


def _read_header(path: Path) -> JournalFile | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        header = os.pread(descriptor, _HEADER.size, 0)
        inode = os.fstat(descriptor).st_ino
    except OSError:
        return None
    finally:
        os.close(descriptor)
    if len(header) < _HEADER.size:
        return None
    signature, state, sequence_id, records, last, first = _HEADER.unpack(header)
    if signature != _SIGNATURE or records == 0:
        return None
    return JournalFile(path, inode, sequence_id.hex(), first, last, records, archived=state == _ARCHIVED)


def _command(descriptors: Iterable[int]) -> list[str]:
    # By descriptor, because a file may get another name, and its name another file, at any time.
    return ["journalctl", "--no-pager", "--quiet", *(f"--file=/proc/self/fd/{number}" for number in descriptors)]


def _is_readable(descriptor: int) -> bool:
    done = subprocess.run(  # noqa: S603 - a fixed program; its argument is a number
        [*_command([descriptor]), "--lines=1"], check=False, capture_output=True, pass_fds=[descriptor]
    )
    return done.returncode == 0


def _read(sequence_id: str, descriptors: list[int], *, start: int, most_bytes: int, end: int | None) -> Reading:
    # --all, else a message of more than 4 KiB is left out.
    command = [*_command(descriptors), "--output=json", "--all", f"--output-fields={_FIELDS}"]
    command += [f"--cursor=s={sequence_id};i={start:x}"] if start else []
    records: list[Record] = []
    size = 0
    with subprocess.Popen(  # noqa: S603 - a fixed program; its arguments are numbers
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=descriptors
    ) as program:
        if program.stdout is None:
            raise AssertionError("stdout is a pipe")
        try:
            for number, line in _numbered(program.stdout.fileno()):
                if number < start:
                    continue
                if (end is not None and number >= end) or (records and size + len(line) > most_bytes):
                    return Reading(records, ended=False)
                records.append(Record(number, line))
                size += len(line)
            code = program.wait()
        finally:
            program.kill()
    return Reading(records, ended=code == 0, problem="" if code == 0 else f"journalctl ended with code {code}")


def _numbered(descriptor: int) -> Iterable[tuple[int, bytes]]:
    """Yield the number and the line of each record; an empty line where it is too long."""
    rest = bytearray()
    too_long = False
    while data := os.read(descriptor, _READ_BYTES):
        begin = 0
        while (newline := data.find(b"\n", begin)) >= 0:
            rest += data[begin : newline + 1]
            begin = newline + 1
            found = _NUMBER.search(rest)
            if found is not None:
                yield int(found[1], 16), b"" if too_long or len(rest) > _LONGEST_LINE_BYTES else bytes(rest)
            rest.clear()
            too_long = False
        rest += data[begin:]
        if len(rest) > _LONGEST_LINE_BYTES + _CURSOR_BYTES:
            too_long = True
            found = _NUMBER.search(rest)
            # The cursor stands before or after the message.
            cursor = b"" if found is None else bytes(found[0])
            del rest[:-_CURSOR_BYTES]
            rest[:0] = cursor
