"""What an agent ships about metrics, and what a server answers.

A frame holds series that the server has not been told of in this session, what is said of their metric names, and
samples. A *session* is one life of an agent: within it a series is named by a number, given in the order in which
series are registered. A server that does not know a session up to a frame's first new series (it restarted, or had
too many) stores nothing of the frame and answers `unknown_series`; the agent then begins its numbers anew.

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


class SampleRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request of one agent. An agent has one request under way at a time."""

    session: str
    """Random id of this life of the agent."""
    cluster: str = ""
    node: str
    first_series: int = 0
    """Number of the first of `series`: how many the server must know already."""
    series: list[dict[str, str]] = []
    """New series, numbered from `first_series` on; labels include `__name__`."""
    families: list[JobFamily] = []
    count: int = 0
    """Samples in the payload."""


class SampleStatus(enum.StrEnum):
    """What became of a frame."""

    STORED = "stored"
    """All samples are in the store but those that `rejected` counts."""
    UNKNOWN_SERIES = "unknown_series"
    """Nothing is stored: register all series again, in a frame with `first_series` 0."""


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
    if count < 0 or request.first_series < 0 or len(payload) != count * SAMPLE_BYTES:
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
