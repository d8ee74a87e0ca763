"""Which batches are looked up: all that may be in the store already, whatever was forgotten in between."""

import pytest

from kobs.ingest.batches import BatchRows, Placed
from kobs.ingest.known import Known
from kobs.model.logs import LogSource, SourceKind
from kobs.model.scope import Scope
from kobs.storage.clickhouse import Store
from kobs.wire.ship import Batch, LineFormat, Stream

pytestmark = pytest.mark.clickhouse

_STREAM = Stream(
    source=LogSource(kind=SourceKind.CONTAINER, node="n1", namespace="shop", pod="web-1", uid="1", container="app"),
    format=LineFormat.CRI,
)


def _rows(segment: int, start: int, end: int, *, tail_segment: int = 0, tail_end: int = 0) -> BatchRows:
    batch = Batch(
        stream=0,
        segment=segment,
        start=start,
        end=end,
        length=end - start + tail_end,
        read_ns=1,
        tail_segment=tail_segment,
        tail_end=tail_end,
    )
    placed = Placed(0, batch, _STREAM, 0)
    return BatchRows(placed, _STREAM.source.id(), 0, 1, 1, 1, [], {}, 0)


def test_a_late_request_over_a_rotation_does_not_hide_what_came_after_it(store: Store) -> None:
    """It names a segment that is forgotten while it is noted: the segment must not come back with a lower end."""
    known = Known(store, scope=Scope.all())
    over = _rows(1, 0, 100, tail_segment=2, tail_end=10)
    rest = _rows(2, 10, 100)
    for rows in (over, rest, *(_rows(segment, 0, 100) for segment in (3, 4, 5))):
        known.remember({}, [rows])
    late, _ = known.look_up([over])
    assert late == [over]
    known.remember({(over.source, 1): 100}, [over])
    late, _ = known.look_up([rest])
    assert late == [rest]
