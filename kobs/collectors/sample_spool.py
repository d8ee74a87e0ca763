"""Samples on disk while no server takes them: columns arrive, and leave oldest first, also in the agent's next life.

A file of the spool begins with how far it was sent, then come its records: columns of samples, with the series that the
file has not named before. Numbers of series mean something within their file only. When all files together are larger
than allowed, the oldest goes as a whole. Nothing is synced to the disk: a power cut may take the last seconds, the end
of a process does not. A record that was cut or damaged is found by its checksum, and only its own samples are lost.

Raises of OSError are for the caller: what was not written is still the caller's. Not for two threads at once.
"""

import os
import struct
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec
import xxhash
import zstandard

from kobs import telemetry
from kobs.collectors.sample_losses import SampleLosses
from kobs.wire.samples import SampleLossReason

_HEAD = struct.Struct("<8sQ")
_MAGIC = b"KOBSSPL1"
_RECORD = struct.Struct("<IIqqQ")
"""Size of what follows, samples, time of the first and the last (ms), and xxHash64 of all this and what follows."""
_SUFFIX = ".spool"
_FILES = 32
_LEAST_FILE_BYTES = 64 * 1024
_MOST_RECORD_BYTES = 64 * 1024 * 1024

log = telemetry.get_logger(__name__)
_bytes = telemetry.gauge("kobs_agent_sample_spool_bytes", "Bytes of samples that wait on disk.")


@dataclass(frozen=True, slots=True)
class Columns:
    """Samples in columns of one length; `numbers` name their series. Times are ms UTC."""

    times_ms: "array[int]"
    values: "array[float]"
    numbers: "array[int]"

    def __len__(self) -> int:
        return len(self.times_ms)


@dataclass(frozen=True, slots=True)
class Spooled:
    """A record of the spool: its samples, and the series that their numbers name, as canonical bytes."""

    columns: Columns
    series: dict[int, bytes]


class _Content(msgspec.Struct, frozen=True, array_like=True):
    numbers_told: list[int]
    series_told: list[bytes]
    times: bytes
    values: bytes
    numbers: bytes


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a record lies, and what its head says."""

    offset: int
    size: int
    samples: int
    first_ms: int
    last_ms: int


@dataclass(slots=True)
class _File:
    path: Path
    size: int = _HEAD.size
    unsent: deque[_Place] = field(default_factory=deque)
    read_to: int = _HEAD.size
    """Up to where the series of `named` go."""
    named: dict[int, bytes] = field(default_factory=dict)


class SampleSpool:
    """The spool's folder, which one process has at a time: the lock of the agent's state guards it."""

    def __init__(self, folder: Path, *, most_bytes: int, losses: SampleLosses) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._file_bytes = max(most_bytes // _FILES, _LEAST_FILE_BYTES)
        self._losses = losses
        self._files: deque[_File] = deque()
        self._written: IO[bytes] | None = None
        self._oldest: tuple[_Place, Spooled] | None = None
        self._next = 0
        self._open_all()

    def __len__(self) -> int:
        """Return how many samples wait."""
        return sum(place.samples for file in self._files for place in file.unsent)

    def is_empty(self) -> bool:
        """Tell whether nothing waits."""
        return not any(file.unsent for file in self._files)

    def append(self, columns: Columns, series_of: Callable[[int], bytes]) -> None:
        """Write samples; the oldest are dropped where there is no room for them.

        Raises: OSError where the disk does not take them; nothing of them is in the spool then.
        """
        file, handle = self._file_to_write()
        told = {number: key for number in set(columns.numbers) if file.named.get(number) != (key := series_of(number))}
        content = zstandard.ZstdCompressor(level=1).compress(
            msgspec.msgpack.encode(
                _Content(
                    list(told),
                    list(told.values()),
                    columns.times_ms.tobytes(),
                    columns.values.tobytes(),
                    columns.numbers.tobytes(),
                )
            )
        )
        place = _Place(file.size, len(content), len(columns), min(columns.times_ms), max(columns.times_ms))
        record = _head_of(place, content) + content
        try:
            _write_all(handle, record)
        except OSError:
            # Without its beginning a later record could not be found.
            self._written = None
            handle.close()
            _cut(file.path, file.size)
            raise
        file.size += len(record)
        file.named |= told
        file.unsent.append(place)
        while self._size() > self._most_bytes and len(self._files) > 1:
            self._drop_oldest()
        _bytes.set(self._size())

    def oldest(self) -> Spooled | None:
        """Return the oldest record, the same one until `sent` is called; None when nothing waits."""
        while self._files:
            file = self._files[0]
            if not file.unsent:
                self._remove(file)
                continue
            if len(self._files) == 1 and self._written is not None:
                # What is being read is not written to any more.
                self._seal()
            place = file.unsent[0]
            if self._oldest is None or self._oldest[0] is not place:
                # Read once: what a file has named is learnt from its beginning on.
                found = self._read(file, place)
                self._oldest = None if found is None else (place, found)
            if self._oldest is not None:
                return self._oldest[1]
        return None

    def sent(self) -> None:
        """Note that the record which `oldest` returned is in the store, if it was not dropped meanwhile."""
        if self._oldest is None:
            return
        file = self._files[0]
        place = file.unsent.popleft()
        self._oldest = None
        if not file.unsent:
            self._remove(file)
            return
        # If this is lost, the record is sent twice and counts once.
        try:
            with file.path.open("r+b") as handle:
                handle.write(_HEAD.pack(_MAGIC, place.offset + _RECORD.size + place.size))
        except OSError as error:
            log.debug("How far a spool was sent is not noted.", error=error)

    def close(self) -> None:
        """Close the file that is written."""
        self._seal()

    def _file_to_write(self) -> tuple[_File, IO[bytes]]:
        if self._written is not None and self._files[-1].size >= self._file_bytes:
            self._seal()
        if self._written is None:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = _File(self._folder / f"{self._next:012d}{_SUFFIX}")
            handle = file.path.open("wb", buffering=0)
            try:
                _write_all(handle, _HEAD.pack(_MAGIC, _HEAD.size))
            except OSError:
                handle.close()
                file.path.unlink(missing_ok=True)
                raise
            self._next += 1
            self._written = handle
            self._files.append(file)
        return self._files[-1], self._written

    def _seal(self) -> None:
        if self._written is not None:
            self._written.close()
            self._written = None
            # The file's series are read again from its first record on, as those of a file of the last run.
            self._files[-1].named = {}

    def _read(self, file: _File, place: _Place) -> Spooled | None:
        """Return a record; if it is damaged, put its samples on record as lost, leave it and return None."""
        try:
            with file.path.open("rb") as handle:
                while file.read_to < place.offset:
                    self._learn(file, handle)
                content = self._learn(file, handle)
        except OSError as error:
            content = None
            log.warning("A spool cannot be read.", path=str(file.path), error=error)
            file.read_to = max(file.read_to, place.offset + _RECORD.size + place.size)
        if content is None:
            self._lose([place], SampleLossReason.SPOOL_DAMAGED, detail=f"{file.path.name} at byte {place.offset}")
            file.unsent.popleft()
            return None
        columns = Columns(array("q"), array("d"), array("I"))
        columns.times_ms.frombytes(content.times)
        columns.values.frombytes(content.values)
        columns.numbers.frombytes(content.numbers)
        series = {number: key for number in set(columns.numbers) if (key := file.named.get(number)) is not None}
        return Spooled(self._known(columns, series, detail=file.path.name), series)

    def _known(self, columns: Columns, series: dict[int, bytes], *, detail: str) -> Columns:
        """Return the samples whose series are known: those that a damaged record named are not."""
        kept = [at for at, number in enumerate(columns.numbers) if number in series]
        lost = len(columns) - len(kept)
        if lost == 0:
            return columns
        self._losses.add(
            SampleLossReason.SPOOL_DAMAGED,
            first_ms=min(columns.times_ms),
            last_ms=max(columns.times_ms),
            samples=lost,
            detail=detail,
        )
        return Columns(
            array("q", [columns.times_ms[at] for at in kept]),
            array("d", [columns.values[at] for at in kept]),
            array("I", [columns.numbers[at] for at in kept]),
        )

    def _learn(self, file: _File, handle: IO[bytes]) -> _Content | None:
        """Read the next record of a file, learn the series that it names and return it; None if it is damaged."""
        handle.seek(file.read_to)
        head = handle.read(_RECORD.size)
        place = _place_of(head, file.read_to)
        if place is None:
            file.read_to = file.size
            return None
        packed = handle.read(place.size)
        file.read_to += _RECORD.size + place.size
        if _head_of(place, packed) != head:
            return None
        try:
            content = msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(packed), type=_Content)
        except (zstandard.ZstdError, msgspec.DecodeError):
            return None
        file.named |= dict(zip(content.numbers_told, content.series_told, strict=True))
        return content

    def _size(self) -> int:
        return sum(file.size for file in self._files)

    def _drop_oldest(self) -> None:
        file = self._files[0]
        detail = f"the samples on disk took more than {self._most_bytes} bytes (agent.spool_bytes)"
        self._lose(file.unsent, SampleLossReason.SPOOL_FULL, detail=detail)
        self._remove(file)

    def _remove(self, file: _File) -> None:
        if file is self._files[0]:
            self._oldest = None
        if file is self._files[-1]:
            self._seal()
        self._files.remove(file)
        try:
            file.path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("A spool that was sent cannot be removed.", path=str(file.path), error=error)
        _bytes.set(self._size())

    def _lose(self, places: "deque[_Place] | list[_Place]", reason: SampleLossReason, *, detail: str) -> None:
        if places:
            self._losses.add(
                reason,
                first_ms=min(place.first_ms for place in places),
                last_ms=max(place.last_ms for place in places),
                samples=sum(place.samples for place in places),
                detail=detail,
            )

    # The last run's files

    def _open_all(self) -> None:
        """Find what the last run left; what it did not finish to write is on record as lost."""
        try:
            paths = sorted(self._folder.glob(f"*{_SUFFIX}"))
        except OSError as error:
            log.warning("Samples of the last run cannot be read.", path=str(self._folder), error=error)
            return
        for path in paths:
            self._next = max(self._next, int(path.stem) + 1 if path.stem.isdecimal() else 0)
            try:
                file = self._scan(path)
            except OSError as error:
                log.warning("A spool cannot be read.", path=str(path), error=error)
                continue
            if file.unsent:
                self._files.append(file)
            else:
                path.unlink(missing_ok=True)
        _bytes.set(self._size())

    def _scan(self, path: Path) -> _File:
        file = _File(path)
        with path.open("rb") as handle:
            size = os.fstat(handle.fileno()).st_size
            head = handle.read(_HEAD.size)
            magic, sent = _HEAD.unpack(head) if len(head) == _HEAD.size else (b"", 0)
            while magic == _MAGIC and file.size < size:
                handle.seek(file.size)
                place = _place_of(handle.read(_RECORD.size), file.size)
                if place is None or file.size + _RECORD.size + place.size > size:
                    break
                if file.size >= sent:
                    file.unsent.append(place)
                file.size += _RECORD.size + place.size
            else:
                place = None
        if magic != _MAGIC or file.size < size:
            # The times of what was cut are those of its head, or else not known better than by those before it.
            modified_ms = int(path.stat().st_mtime * 1000)
            known = place or _Place(0, 0, 0, modified_ms, modified_ms)
            detail = f"{path.name} ends in the middle of a record"
            self._losses.add(
                SampleLossReason.SPOOL_DAMAGED,
                first_ms=known.first_ms,
                last_ms=known.last_ms,
                samples=known.samples,
                detail=detail,
            )
        return file


def _head_of(place: _Place, content: bytes) -> bytes:
    told = _RECORD.pack(place.size, place.samples, place.first_ms, place.last_ms, 0)
    checksum = xxhash.xxh64(told)
    checksum.update(content)
    return _RECORD.pack(place.size, place.samples, place.first_ms, place.last_ms, checksum.intdigest())


def _place_of(head: bytes, offset: int) -> _Place | None:
    """Return what a record's head says; None if it is none."""
    if len(head) < _RECORD.size:
        return None
    size, samples, first_ms, last_ms, _ = _RECORD.unpack(head)
    if not 0 < size <= _MOST_RECORD_BYTES or samples == 0:
        return None
    return _Place(offset, size, samples, first_ms, last_ms)


def _write_all(handle: IO[bytes], content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[handle.write(rest) :]


def _cut(path: Path, size: int) -> None:
    """Take back what a failed write left; a part that stays is found by its checksum at the next start."""
    try:
        os.truncate(path, size)
    except OSError as error:
        log.debug("A spool could not be cut back.", path=str(path), error=error)
