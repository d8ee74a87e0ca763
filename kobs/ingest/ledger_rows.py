"""What a request says to the ledger: how far its segments have grown, and what is missing of them.

Batches with their rows, claims and losses arrive; rows of the tables `log_segments` and `ledger` leave. Writing them a
second time changes nothing.
"""

from collections.abc import Iterable, Sequence

import pyarrow as pa

from kobs.ingest.batches import BatchRows, Drop
from kobs.model.logs import LogSource
from kobs.storage.log_writes import LEDGER_ROWS, SEGMENT_ROWS
from kobs.wire.ship import LogRequest, Loss, Stream

_FAR_FUTURE_NS = 2**63 - 1 - 86_400_000_000_000


def segment_rows(request: LogRequest, batches: Sequence[BatchRows], *, updated_ms: int) -> pa.Table:
    """Return what batches, claims and losses say of their segments, a row each."""
    # A column a value: hundreds of batches come in a request, and a row as a dict costs more than all its lines do.
    sources: list[LogSource] = []
    ids: list[int] = []
    rows: list[tuple[int, int, int, int, int, int, int]] = []
    for built in batches:
        batch = built.batch
        sources.append(built.stream.source)
        ids.append(built.source)
        rows.append((batch.segment, batch.head, batch.end, batch.end, 0, built.first_ns, built.last_ns))
        if batch.tail_end:
            sources.append(built.stream.source)
            ids.append(built.source)
            rows.append((batch.tail_segment, 0, batch.tail_end, batch.tail_end, 0, built.first_ns, built.last_ns))
    for claim in request.claims:
        sources.append(request.streams[claim.stream].source)
        ids.append(sources[-1].id())
        rows.append((claim.segment, claim.head, claim.size, 0, int(claim.closed), _FAR_FUTURE_NS, 0))
    for loss in request.losses:
        sources.append(request.streams[loss.stream].source)
        ids.append(sources[-1].id())
        rows.append((loss.segment, 0, loss.end, loss.end, 0, _FAR_FUTURE_NS, 0))
    if not rows:
        return SEGMENT_ROWS.empty_table()
    segment, head, claimed, delivered, closed, first_ns, last_ns = zip(*rows, strict=True)
    columns: dict[str, Sequence[object]] = {
        "source": ids,
        "segment": segment,
        "cluster": [source.cluster for source in sources],
        "node": [source.node for source in sources],
        "kind": [source.kind.value for source in sources],
        "namespace": [source.namespace for source in sources],
        "pod": [source.pod for source in sources],
        "uid": [source.uid for source in sources],
        "container": [source.container for source in sources],
        "restart": [source.restart for source in sources],
        "path": [source.path for source in sources],
        "head": head,
        "claimed": claimed,
        "delivered": delivered,
        "closed": closed,
        "first_ts": first_ns,
        "last_ts": last_ns,
        "updated": [updated_ms] * len(rows),
    }
    return pa.Table.from_pydict(columns, schema=SEGMENT_ROWS)


def loss_rows(request: LogRequest, batches: Iterable[BatchRows], *, recorded_ms: int) -> pa.Table | None:
    """Return what batches drop and what the agent knows to be lost; None if that is nothing."""
    rows = [_drop_row(built.stream, drop, recorded_ms) for built in batches for drop in built.drops]
    rows += [_loss_row(request.streams[loss.stream], loss, recorded_ms) for loss in request.losses]
    return pa.Table.from_pylist(rows, schema=LEDGER_ROWS) if rows else None


def _drop_row(stream: Stream, drop: Drop, recorded_ms: int) -> dict[str, object]:
    return {
        **_place(stream),
        "segment": drop.segment,
        "start": drop.start,
        "reason": drop.reason.value,
        "end": drop.end,
        "bytes": drop.bytes,
        "in_row": int(drop.in_row),
        "rows": drop.rows,
        "first_ts": drop.first_ns,
        "last_ts": drop.last_ns,
        "detail": "",
        "recorded": recorded_ms,
    }


def _loss_row(stream: Stream, loss: Loss, recorded_ms: int) -> dict[str, object]:
    return {
        **_place(stream),
        "segment": loss.segment,
        "start": loss.start,
        "reason": loss.reason.value,
        "end": loss.end,
        "bytes": loss.end - loss.start if loss.end else None,
        "in_row": 0,
        "rows": 0,
        "first_ts": loss.first_ns,
        "last_ts": loss.last_ns,
        "detail": loss.detail[:1000],
        "recorded": recorded_ms,
    }


def _place(stream: Stream) -> dict[str, object]:
    source = stream.source
    return {
        "source": source.id(),
        "cluster": source.cluster,
        "node": source.node,
        "namespace": source.namespace,
        "pod": source.pod,
        "container": source.container,
        "path": source.path,
    }
