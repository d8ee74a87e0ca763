"""What an agent ships about metrics, and what a server answers.

A frame holds series that the server has not been told of in this session, what is said of their metric names, and
samples. In a *session* a series is named by a number; a number may be told again, and then names another series. A
server that was told less than the frame counts on (it restarted, or had too many series), or more (the frame comes
late, after its own repetition), stores nothing of it and answers `unknown_series`; the agent then begins a new session.

The payload is three columns of `count` little-endian values one after another: times (int64, ms UTC), values
(float64), numbers of series (uint32). Samples may come in any order and more than once.
"""

import enum
import sys
from array import array
from dataclasses import dataclass

import msgspec

from kobs.errors import RejectedError
from kobs.model.samples import Family, MetricType
from kobs.wire import frames

SAMPLE_BYTES = 20
"""Bytes of one sample in a payload."""
MOST_NUMBERS = 16_000_000
"""Numbers of series are less: a server keeps a column of that length."""

_TIMES, _VALUES, _NUMBERS = "q", "d", "I"


class JobFamily(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a job says of a metric name."""

    job: str
    name: str
    type: MetricType
    unit: str = ""
    help: str = ""

    @classmethod
    def of(cls, job: str, family: Family) -> "JobFamily":
        """Return what `job` says of a family."""
        return cls(job=job, name=family.name, type=family.type, unit=family.unit, help=family.help)


class SampleLossReason(enum.StrEnum):
    """Why an agent lost samples that it had taken."""

    QUEUE_FULL = "queue_full"
    """More came than memory may hold, faster than it went to the server or to disk."""
    SPOOL_FULL = "spool_full"
    """No server took samples for so long that the oldest on disk had to go (`agent.spool_bytes`)."""
    SPOOL_FAILED = "spool_failed"
    """The disk did not take them: it was full or failed."""
    SPOOL_DAMAGED = "spool_damaged"
    """What was on disk could not be read again, as after a crash in the middle of a write."""
    REFUSED = "refused"
    """The server refused them for good."""


class SampleLoss(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Samples that are lost. `id` is random, so that telling a loss twice records it once."""

    id: str
    reason: SampleLossReason
    first_ms: int
    last_ms: int
    samples: int
    """How many; 0 where nobody can tell."""
    detail: str = ""


class SampleRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request of one agent. An agent has one request under way at a time."""

    session: str
    """Random id of this life of the agent."""
    cluster: str = ""
    node: str
    told: int = 0
    """How many series the server was told in this session before."""
    series: list[bytes] = []
    """Series that are told now, each as its canonical bytes (`kobs.model.labels`); labels include `__name__`."""
    numbers: list[int] = []
    """Their numbers, less than MOST_NUMBERS."""
    families: list[JobFamily] = []
    losses: list[SampleLoss] = []
    count: int = 0
    """Samples in the payload."""


class SampleStatus(enum.StrEnum):
    """What became of a frame."""

    STORED = "stored"
    """All samples are in the store but those that `rejected` counts."""
    UNKNOWN_SERIES = "unknown_series"
    """Nothing is stored: tell all series again, in a new session."""


class SampleAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to a SampleRequest, as JSON."""

    status: SampleStatus
    rejected: dict[str, int] = {}
    """Samples that were refused for good, by reason."""


@dataclass(frozen=True, slots=True)
class SampleColumns:
    """Samples in columns of one length, as buffers of little-endian values."""

    times_ms: memoryview
    values: memoryview
    numbers: memoryview


def encode(request: SampleRequest, *, times_ms: "array[int]", values: "array[float]", numbers: "array[int]") -> bytes:
    """Return the frame of a request whose `count` is the length of the columns (arrays of types q, d and I)."""
    columns: list[array[int] | array[float]] = [times_ms, values, numbers]
    if any(len(column) != request.count for column in columns):
        raise ValueError(f"columns of {[len(column) for column in columns]} values: expected {request.count} in each")
    payload: list[bytes | bytearray | memoryview] = []
    for column, kind in zip(columns, (_TIMES, _VALUES, _NUMBERS), strict=True):
        if column.typecode != kind:
            raise ValueError(f"column of type {column.typecode}: expected {kind}")
        payload.append(_little_endian(column).tobytes())
    return frames.encode(frames.FrameKind.SAMPLES, request, payload)


def decode(frame: bytes) -> tuple[SampleRequest, SampleColumns]:
    """Return what a frame holds.

    Raises: RejectedError("malformed_frame" | "frame_too_large" | "wrong_checksum").
    """
    request, payload = frames.decode(frame, frames.FrameKind.SAMPLES, SampleRequest)
    count = request.count
    if len(request.series) != len(request.numbers) or not all(0 <= each < MOST_NUMBERS for each in request.numbers):
        raise RejectedError(
            "malformed_frame",
            f"frame with {len(request.series)} series and {len(request.numbers)} numbers of them: expected as many, "
            f"each less than {MOST_NUMBERS}",
        )
    if count < 0 or request.told < 0 or len(payload) != count * SAMPLE_BYTES:
        raise RejectedError(
            "malformed_frame",
            f"frame of {len(payload)} payload bytes for {count} samples: expected {SAMPLE_BYTES} bytes for each",
        )
    return request, SampleColumns(payload[: 8 * count], payload[8 * count : 16 * count], payload[16 * count :])


def _little_endian(column: "array[int] | array[float]") -> "array[int] | array[float]":
    if sys.byteorder == "little":
        return column
    swapped = column[:]
    swapped.byteswap()
    return swapped
