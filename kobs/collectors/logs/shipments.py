"""What goes into one request: batches with their bytes, losses, and how far segments have grown."""

from dataclasses import dataclass

from kobs.collectors.logs.sources import Log, Segment
from kobs.collectors.logs.state import Boundaries, KnownLoss


@dataclass(frozen=True, slots=True)
class ReadBatch:
    """A batch with its bytes."""

    log: Log
    segment: Segment
    boundaries: Boundaries
    payload: bytes
    retry: bool


@dataclass(frozen=True, slots=True)
class ClaimedSize:
    """How far a segment has grown."""

    segment: Segment
    size: int
    closed: bool


@dataclass(frozen=True, slots=True)
class Shipment:
    """What goes into one request."""

    batches: list[ReadBatch]
    losses: list[KnownLoss]
    claims: list[ClaimedSize]

    def leaves_rotated_files(self) -> bool:
        """Whether a source has gone on in another file, so that there is more to be sent at once."""
        return any(len(batch.log.segments) > 1 for batch in self.batches)
