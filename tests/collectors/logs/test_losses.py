"""Losses on record: the window of time that a loss may lie in."""

import time
from pathlib import Path

import pytest

from kobs.collectors.logs.losses import Losses
from kobs.collectors.logs.sources import Segment
from kobs.model.logs import LogSource, LossReason, SourceKind
from kobs.wire.ship import LineFormat, Stream

FIRST_LINE_NS = time.time_ns() - 60_000_000_000
CONTAINER = Stream(
    source=LogSource(kind=SourceKind.CONTAINER, node="n", namespace="shop", pod="p", uid="u", container="c"),
    format=LineFormat.CRI,
)
FILE = Stream(source=LogSource(kind=SourceKind.FILE, node="n", path="/var/log/a.log"), format=LineFormat.PLAIN)


@pytest.mark.parametrize(
    ("stream", "segment", "last_ns", "first_ns"),
    [
        (CONTAINER, FIRST_LINE_NS, FIRST_LINE_NS + 5, FIRST_LINE_NS + 5),
        (CONTAINER, FIRST_LINE_NS, 0, FIRST_LINE_NS),
        (CONTAINER, 2**62, 0, 0),
        (FILE, FIRST_LINE_NS, 0, 0),
        (FILE, FIRST_LINE_NS, 7, 7),
    ],
    ids=["read-in-part", "never-read", "first-line-in-no-form", "plain-file", "plain-file-read"],
)
def test_a_loss_begins_where_reading_ended_or_with_the_first_line(
    stream: Stream, segment: int, last_ns: int, first_ns: int
) -> None:
    losses = Losses([])
    known = Segment(stream.source.id(), stream, segment, 1, Path("/x"), 2, last_ns=last_ns)
    losses.lose(known, 0, 100, LossReason.ROTATED_AWAY)
    (loss,) = losses.new
    assert loss.first_ns == first_ns
    assert loss.last_ns >= FIRST_LINE_NS
