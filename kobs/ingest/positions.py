"""What the store has of the sources of an agent that lost its state."""

from collections.abc import Sequence

from kobs import telemetry
from kobs.ingest.known import Known
from kobs.model.scope import Scope
from kobs.storage import log_writes
from kobs.storage.clickhouse import Store
from kobs.wire.ship import SegmentPosition, Stream

log = telemetry.get_logger(__name__)


def find_positions(store: Store, scope: Scope, streams: Sequence[Stream], *, known: Known) -> list[SegmentPosition]:
    """Return up to where each segment of some sources is in the store."""
    index_of = {stream.source.id(): index for index, stream in enumerate(streams)}
    segments = log_writes.find_segments(store, scope, list(index_of))
    reached = {(each.source, each.segment): (each.delivered, each.head) for each in segments}
    _remove_orphans(store, scope, list(index_of), reached, known=known)
    return [
        SegmentPosition(stream=index_of[source], segment=segment, delivered=delivered, head=head)
        for (source, segment), (delivered, head) in sorted(reached.items())
    ]


def _remove_orphans(
    store: Store, scope: Scope, sources: list[int], reached: dict[tuple[int, int], tuple[int, int]], *, known: Known
) -> None:
    """Remove rows beyond the ledger: what an insert left whose server ended before it wrote the ledger.

    They may be a part of a batch only, and whoever asks for positions will cut that batch elsewhere. So they go,
    and are sent again.
    """
    for source, segment, highest in log_writes.find_highest_offsets(store, scope, sources):
        delivered = reached.get((source, segment), (0, 0))[0]
        if highest >= delivered:
            log.warning("Rows without their entry in the ledger are removed, to be sent again.", source=source)
            log_writes.delete_beyond(store, source, segment, delivered)
        known.forget(source)
