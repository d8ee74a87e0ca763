"""The state folder: what the agent knows of each segment, the boundaries of batches under way, losses to report.

A batch's boundaries are durable here before the batch is first sent, so that after a crash the same batch, and so the
same rows, are sent again. Acknowledgements need no durability of their own: one that is lost costs a retry, which the
server recognises. One process at a time holds the folder.
"""

import fcntl
import sqlite3
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from kobs.errors import ConfigError, RetryableError
from kobs.model.logs import LossReason
from kobs.wire.ship import Stream

_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS segments (
  source INTEGER NOT NULL, segment INTEGER NOT NULL, stream BLOB NOT NULL, head INTEGER NOT NULL, path BLOB NOT NULL,
  inode INTEGER NOT NULL, generation INTEGER NOT NULL, acked INTEGER NOT NULL, size INTEGER NOT NULL,
  closed INTEGER NOT NULL, last_ns INTEGER NOT NULL, PRIMARY KEY (source, segment)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (
  source INTEGER NOT NULL, segment INTEGER NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL,
  read_ns INTEGER NOT NULL, utc_offset_s INTEGER NOT NULL, grouping INTEGER NOT NULL,
  tail_segment INTEGER NOT NULL, tail_end INTEGER NOT NULL, PRIMARY KEY (source, segment, start)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS losses (
  source INTEGER NOT NULL, segment INTEGER NOT NULL, start INTEGER NOT NULL, reason TEXT NOT NULL, end INTEGER NOT NULL,
  first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL, detail TEXT NOT NULL, stream BLOB NOT NULL,
  PRIMARY KEY (source, segment, start, reason)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class KnownSegment:
    """A segment as the state holds it; `acked` bytes of it are in the store."""

    source: int
    segment: int
    stream: Stream
    head: int
    path: str
    inode: int
    generation: int
    acked: int
    size: int
    closed: bool
    last_ns: int


@dataclass(frozen=True, slots=True)
class Boundaries:
    """A batch that may have been sent."""

    source: int
    segment: int
    start: int
    end: int
    read_ns: int
    utc_offset_s: int
    grouping: int
    tail_segment: int
    tail_end: int


@dataclass(frozen=True, slots=True)
class KnownLoss:
    """A loss that the server does not know of yet."""

    source: int
    segment: int
    start: int
    reason: LossReason
    end: int
    first_ns: int
    last_ns: int
    detail: str
    stream: Stream


@dataclass(frozen=True, slots=True)
class Changes:
    """What one commit makes durable, all or nothing."""

    segments: Iterable[KnownSegment] = ()
    forgotten: Iterable[tuple[int, int]] = ()
    opened: Iterable[Boundaries] = ()
    settled: Iterable[Boundaries] = ()
    losses: Iterable[KnownLoss] = ()
    reported: Iterable[KnownLoss] = ()


class State:
    """The state folder, open and locked. Not for use from two threads at once.

    Raises: ConfigError where the folder cannot be used or another process holds it.
    """

    def __init__(self, folder: Path) -> None:
        self._lock = _lock(folder)
        try:
            self._database = _open(folder / "agent.db")
        except sqlite3.Error as error:
            self._lock.close()
            raise ConfigError(
                f"agent state {folder}: {error}; free space or mend the folder, or move it away to start anew "
                "(the server then tells the agent what it has)"
            ) from error
        self.fresh = self._fact("placed") is None
        agent = self._fact("agent")
        if agent is None:
            agent = uuid.uuid4().hex
            self._set_fact("agent", agent)
        self.agent = agent
        self._server = self.last_server()

    def close(self) -> None:
        """Close the database and release the folder."""
        self._database.close()
        self._lock.close()

    def placed(self) -> None:
        """Note that the positions of a new state have been asked from the server."""
        self._set_fact("placed", "yes")
        self.fresh = False

    def attempt(self) -> int:
        """Return how often batches of this agent have moved between servers."""
        return int(self._fact("attempt") or 0)

    def moved(self) -> int:
        """Count one more move between servers, durably, and return the count."""
        attempt = self.attempt() + 1
        self._set_fact("attempt", str(attempt))
        return attempt

    def take_attempt(self, attempt: int) -> None:
        """Go on from an attempt that a server has given, durably; one's own only grows."""
        if attempt > self.attempt():
            self._set_fact("attempt", str(attempt))

    def knows_earlier_claims(self) -> bool:
        """Whether what earlier states of this node have claimed is accounted for."""
        return self._fact("earlier_claims") is not None

    def settled_earlier_claims(self) -> None:
        """Note that everything that earlier states have claimed is at hand or on record."""
        self._set_fact("earlier_claims", "settled")

    def last_server(self) -> str:
        """Return the instance that answered last; empty if none ever did."""
        return self._fact("server") or ""

    def answered_by(self, server: str) -> None:
        """Note the instance that answers, which a next run may have to name."""
        if server != self._server:
            self._set_fact("server", server)
            self._server = server

    def segments(self) -> list[KnownSegment]:
        """Return every known segment."""
        return [
            KnownSegment(
                source=_unsigned(source),
                segment=segment,
                stream=_decode_stream(stream),
                head=_unsigned(head),
                path=bytes(path).decode("utf-8", "surrogateescape"),
                inode=_unsigned(inode),
                generation=generation,
                acked=acked,
                size=size,
                closed=bool(closed),
                last_ns=last_ns,
            )
            for source, segment, stream, head, path, inode, generation, acked, size, closed, last_ns in self._rows(
                "SELECT source, segment, stream, head, path, inode, generation, acked, size, closed, last_ns "
                "FROM segments"
            )
        ]

    def batches(self) -> list[Boundaries]:
        """Return the batches that may have been sent and are not known to be stored, in their order."""
        return [
            Boundaries(_unsigned(source), *rest)
            for source, *rest in self._rows(
                "SELECT source, segment, start, end, read_ns, utc_offset_s, grouping, tail_segment, tail_end "
                "FROM batches ORDER BY source, segment, start"
            )
        ]

    def losses(self) -> list[KnownLoss]:
        """Return the losses that the server does not know of yet."""
        return [
            KnownLoss(
                source=_unsigned(source),
                segment=segment,
                start=start,
                reason=LossReason(reason),
                end=end,
                first_ns=first_ns,
                last_ns=last_ns,
                detail=detail,
                stream=_decode_stream(stream),
            )
            for source, segment, start, reason, end, first_ns, last_ns, detail, stream in self._rows(
                "SELECT source, segment, start, reason, end, first_ns, last_ns, detail, stream FROM losses"
            )
        ]

    def commit(self, changes: Changes) -> None:
        """Make changes durable, all or none of them: one append and one sync.

        Raises: RetryableError where the disk is full or fails; nothing of the changes is kept then.
        """
        execute = self._database.executemany
        try:
            self._database.execute("BEGIN IMMEDIATE")
            execute(
                "INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        _signed(known.source),
                        known.segment,
                        msgspec.msgpack.encode(known.stream),
                        _signed(known.head),
                        known.path.encode("utf-8", "surrogateescape"),
                        _signed(known.inode),
                        known.generation,
                        known.acked,
                        known.size,
                        known.closed,
                        known.last_ns,
                    )
                    for known in changes.segments
                ],
            )
            execute(
                "DELETE FROM segments WHERE source = ? AND segment = ?",
                [(_signed(source), segment) for source, segment in changes.forgotten],
            )
            execute(
                "DELETE FROM batches WHERE source = ? AND segment = ? AND start = ?",
                [(_signed(batch.source), batch.segment, batch.start) for batch in changes.settled],
            )
            execute(
                "INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        _signed(batch.source),
                        batch.segment,
                        batch.start,
                        batch.end,
                        batch.read_ns,
                        batch.utc_offset_s,
                        batch.grouping,
                        batch.tail_segment,
                        batch.tail_end,
                    )
                    for batch in changes.opened
                ],
            )
            execute(
                "DELETE FROM losses WHERE source = ? AND segment = ? AND start = ? AND reason = ?",
                [(_signed(loss.source), loss.segment, loss.start, loss.reason) for loss in changes.reported],
            )
            execute(
                "INSERT OR REPLACE INTO losses VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        _signed(loss.source),
                        loss.segment,
                        loss.start,
                        loss.reason,
                        loss.end,
                        loss.first_ns,
                        loss.last_ns,
                        loss.detail,
                        msgspec.msgpack.encode(loss.stream),
                    )
                    for loss in changes.losses
                ],
            )
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise RetryableError(f"agent state cannot be written: {error}", retry_after_seconds=1.0) from error

    def _rows(self, statement: str) -> list[tuple[Any, ...]]:
        return self._database.execute(statement).fetchall()

    def _fact(self, name: str) -> str | None:
        row = self._database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def _set_fact(self, name: str, value: str) -> None:
        try:
            self._database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))
        except sqlite3.Error as error:
            raise RetryableError(f"agent state cannot be written: {error}", retry_after_seconds=1.0) from error


def _open(path: Path) -> sqlite3.Connection:
    # Autocommit: each commit() says itself where its transaction begins and ends.
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("PRAGMA locking_mode=EXCLUSIVE")
        database.execute("PRAGMA cache_size=-2000")
        database.executescript(_SCHEMA)
    except sqlite3.Error:
        database.close()
        raise
    return database


def _lock(folder: Path) -> IO[bytes]:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (folder / "lock").open("ab")
    except OSError as error:
        raise ConfigError(f"agent state {folder}: {error.strerror}; choose another folder with --state") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise ConfigError(
            f"agent state {folder}: another kobs agent uses it; stop that one or choose another folder"
        ) from error
    return lock


def _decode_stream(packed: object) -> Stream:
    if not isinstance(packed, bytes):
        raise ConfigError("agent state: a stream is not readable; move the state folder away to start anew")
    return msgspec.msgpack.decode(packed, type=Stream)


# SQLite's integers are signed: ids of 64 bits are stored as their two's complement.
def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _unsigned(value: int) -> int:
    return value + (1 << 64) if value < 0 else value
