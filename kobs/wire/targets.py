"""What an agent ships about its targets, and what a server answers: the whole of them each time, as it is small.

A frame has no payload. The newest report of an agent counts, and an agent that reports no more has no targets any more.
"""

import msgspec

from kobs.wire import frames

SILENT_MS = 300_000
"""After so long without a report an agent's targets are not there any more."""


class ActiveTarget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A target that is scraped, and how its last scrape went. `started_ns` (ns UTC) is 0 before the first one."""

    pool: str
    url: str
    global_url: str
    """The URL as others than the agent may reach it."""
    discovered: dict[str, str]
    labels: dict[str, str]
    health: str
    """`up`, `down` or `unknown`."""
    error: str = ""
    started_ns: int = 0
    seconds: float = 0.0
    interval: str
    timeout: str


class DroppedTarget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A target that the rules of its job drop."""

    pool: str
    discovered: dict[str, str]


class TargetReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All targets of one agent. Of dropped ones it may be that only the first are here; `dropped_counts` is of all."""

    cluster: str = ""
    node: str
    active: list[ActiveTarget] = []
    dropped: list[DroppedTarget] = []
    dropped_counts: dict[str, int] = {}


class TargetAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a TargetReport, as JSON."""

    stored: int


def encode(report: TargetReport) -> bytes:
    """Return the frame of a report."""
    return frames.encode(frames.FrameKind.TARGETS, report, [])


def decode(frame: bytes) -> TargetReport:
    """Return the report that a frame holds.

    Raises: RejectedError("malformed_frame" | "frame_too_large" | "wrong_checksum").
    """
    report, _ = frames.decode(frame, frames.FrameKind.TARGETS, TargetReport)
    return report
