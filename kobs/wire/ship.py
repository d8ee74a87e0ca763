"""What an agent ships about logs, and what a server answers.

A request holds batches. A *batch* is a byte range of one segment, cut where no entry is open, whose boundaries the
agent made durable before it was first sent: a second sending gives the same rows. The answer says for each batch
whether it is stored, refused for good, or to be sent again; "stored" means that the insert has returned.

The payload section of a frame holds the bytes of the batches one after another, in the order of `batches`.
"""

import enum

import msgspec

from kobs.model.logs import LogSource, LossReason

GROUPING_VERSION = 1
"""Version of the rules by which lines become entries. Journalled with each batch: a change of the rules needs a new
number, and the old rules stay as long as a batch of the old number may come (one release)."""


class LineFormat(enum.StrEnum):
    """How the bytes of a batch are laid out."""

    CRI = "cri"
    """`TIME STREAM P|F CONTENT` lines of a container runtime."""
    PLAIN = "plain"
    """Lines."""
    JOURNAL = "journal"
    """One JSON object a line, as `journalctl -o json` writes them."""


class Stream(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a server needs to know to read a source's bytes."""

    source: LogSource
    format: LineFormat
    start_pattern: str = ""
    """RE2: lines that match start an entry and all others continue it. Empty: the built-in rules."""


class Batch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A byte range of one segment. `start` and `end` are offsets in the uncompressed file, `end` exclusive.

    `length` is the number of payload bytes: `end - start`, and `tail_end` more when the last entries go on over a
    rotation (the payload then goes on with the first `tail_end` bytes of `tail_segment`). For a journal, offsets are
    sequence numbers, and `length` is that of the JSON lines.
    """

    stream: int
    """Index in `LogRequest.streams`."""
    segment: int
    start: int
    end: int
    length: int
    read_ns: int
    """When the agent read it (ns UTC): the time of lines that have none."""
    utc_offset_s: int = 0
    """Offset of the node's zone, for times without one."""
    grouping: int = GROUPING_VERSION
    tail_segment: int = 0
    tail_end: int = 0
    retry: bool = False
    """It may have been sent before: rows of it may be there."""
    head: int = 0
    """Hash of the segment's first line, by which a renamed or compressed plain file is known again."""


class Claim(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a segment has grown, as the agent sees it."""

    stream: int
    segment: int
    size: int
    closed: bool = False
    """The file will not grow any more."""
    head: int = 0


class Loss(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Bytes that can't be delivered, from the agent that knows why. `end` is 0 where the end is not known."""

    stream: int
    segment: int
    start: int
    end: int = 0
    reason: LossReason
    first_ns: int = 0
    last_ns: int = 0
    detail: str = ""


class AgentReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the agent is."""

    version: str = ""
    streams: int = 0
    backlog_bytes: int = 0
    held_bytes: int = 0
    found: dict[str, int] = {}
    """What it reads, in words with counts: containers, files, journal."""
    problems: list[str] = []


class LogRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request of one agent. An agent has one request under way at a time."""

    agent: str
    """Random id, kept in the state folder: a new one means that the state is new."""
    cluster: str = ""
    node: str
    sequence: int
    sent_ns: int
    attempt: int = 0
    """How often batches of this agent have moved between servers."""
    previous_server: str = ""
    """The server instance that may still be busy with batches of this agent; empty if none is, "unknown" if it never
    answered."""
    moved_ms: int = 0
    """How long ago the last request to `previous_server` was sent."""
    streams: list[Stream] = []
    batches: list[Batch] = []
    losses: list[Loss] = []
    claims: list[Claim] = []
    report: AgentReport = AgentReport()


class BatchStatus(enum.StrEnum):
    """What became of a batch."""

    STORED = "stored"
    REJECTED = "rejected"
    RETRY = "retry"


class BatchAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of the batch at the same index."""

    status: BatchStatus
    reason: str = ""
    retry_after_seconds: float = 0.0


class LogAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to a LogRequest, as JSON."""

    server: str
    """Id of the answering server instance."""
    batches: list[BatchAnswer]


class PositionsRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An agent without state asks up to where its sources are in the store."""

    agent: str
    cluster: str = ""
    node: str = ""
    previous_server: str = ""
    moved_ms: int = 0
    attempt: int = 0
    lost_state: bool = False
    """The agent begins with an empty state: what another of its node has sent may still be under way somewhere."""
    open_claims: bool = False
    """Tell of all that was claimed of this node and never delivered, of whatever source."""
    streams: list[Stream]


class SegmentPosition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the store has of a segment: all bytes below `delivered`."""

    stream: int
    segment: int
    delivered: int
    head: int = 0


class OpenClaim(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Bytes of a segment that an agent has claimed and none has delivered: from `delivered` to `claimed`."""

    stream: Stream
    segment: int
    delivered: int
    claimed: int
    head: int = 0
    first_ns: int = 0
    """Time of the last line that was delivered before them; 0 where none was."""
    last_ns: int = 0
    """When they were claimed: their lines are not younger."""


class PositionsAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Every segment that the store knows of the asked sources."""

    server: str
    positions: list[SegmentPosition]
    attempt: int = 0
    """The attempt that the agent has from now on: higher than that of any agent which had its node before."""
    open_claims: list[OpenClaim] = []
