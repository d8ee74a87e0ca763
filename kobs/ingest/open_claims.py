"""What of a node was claimed and never delivered, for its agent that has no state: only it can see what is gone."""

from kobs.model.logs import LogSource, SourceKind
from kobs.model.scope import Scope
from kobs.storage.clickhouse import Store
from kobs.storage.open_claims import OpenSegment, find_open_segments
from kobs.wire.ship import LineFormat, OpenClaim, PositionsRequest, Stream

_FORMATS = {
    SourceKind.CONTAINER: LineFormat.CRI,
    SourceKind.FILE: LineFormat.PLAIN,
    SourceKind.JOURNAL: LineFormat.JOURNAL,
}


def find_open_claims(store: Store, scope: Scope, request: PositionsRequest) -> list[OpenClaim]:
    """Return the open claims of the asking agent's node; a source whose name is no text stays pending."""
    claims = []
    for found in find_open_segments(store, scope, cluster=request.cluster, node=request.node):
        source = _source(found, request)
        if source.id() == found.source:
            claims.append(
                OpenClaim(
                    stream=Stream(source=source, format=_FORMATS[source.kind]),
                    segment=found.segment,
                    delivered=found.delivered,
                    claimed=found.claimed,
                    head=found.head,
                    first_ns=found.delivered_to_ns,
                    last_ns=found.claimed_at_ms * 1_000_000,
                )
            )
    return claims


def _source(found: OpenSegment, request: PositionsRequest) -> LogSource:
    return LogSource(
        kind=SourceKind(found.kind),
        cluster=request.cluster,
        node=request.node,
        path=found.path,
        namespace=found.namespace,
        pod=found.pod,
        uid=found.uid,
        container=found.container,
        restart=found.restart,
    )
