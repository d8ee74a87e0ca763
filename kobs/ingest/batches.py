"""A batch on its way to rows: where its bytes are, which rows it has become, and what of it has not become one."""

import functools
from dataclasses import dataclass

from kobs.model.labels import fingerprint
from kobs.model.logs import LossReason
from kobs.wire.ship import Batch, LineFormat, Stream

LATEST_AHEAD_NS = 3_600_000_000_000
"""A line's own time may be this much later than it was read: clocks differ, but not by more."""
EARLIEST_NS = 31_536_000_000_000_000
"""1971: an earlier time is a clock that was never set."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A batch of a request, and where in the request's payload its bytes begin."""

    index: int
    """Its number in the request."""
    batch: Batch
    stream: Stream
    at: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Bytes of a batch that no row holds (`in_row`: that the row which covers them left out)."""

    segment: int
    start: int
    end: int
    bytes: int
    rows: int
    reason: LossReason
    in_row: bool
    first_ns: int
    last_ns: int


@dataclass(frozen=True, slots=True)
class BatchRows:
    """The rows of one batch, as a range of all rows, and what it drops."""

    placed: Placed
    source: int
    """Id of the batch's source."""
    first: int
    end: int
    first_ns: int
    last_ns: int
    drops: list[Drop]
    labels: dict[int, dict[str, str]]
    """Label sets of the batch's streams by id."""
    malformed: int

    @property
    def batch(self) -> Batch:
        """The batch."""
        return self.placed.batch

    @property
    def stream(self) -> Stream:
        """What its bytes are."""
        return self.placed.stream


@dataclass(frozen=True, slots=True)
class Description:
    """What a stream's batches have in common."""

    source: int
    streams: list[tuple[int, dict[str, str]]]
    """Ids and label sets of what lines came from: of plain lines one, else standard output and standard error."""


@functools.lru_cache(maxsize=20_000)
def describe(stream: Stream) -> Description:
    """Return what the batches of a stream have in common."""
    base = stream.source.labels()
    sets = [base] if stream.format is LineFormat.PLAIN else [{**base, "stream": name} for name in ("stdout", "stderr")]
    return Description(stream.source.id(), [(stream_id(tuple(sorted(labels.items()))), labels) for labels in sets])


@functools.lru_cache(maxsize=100_000)
def stream_id(labels: tuple[tuple[str, str], ...]) -> int:
    """Return the id of sorted labels."""
    return fingerprint(dict(labels))
