"""Whether everything that agents claim is in the store exactly once.

What arrives are the agents' claims and the rows themselves; never what the server noted of its own inserts. Every byte
of a segment below the acknowledged end must be covered by one row, by a loss on record, or have expired.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from kobs.model.logs import LossReason
from kobs.model.scope import Scope
from kobs.storage import log_sums
from kobs.storage.clickhouse import Store
from kobs.storage.log_sums import SegmentClaim, SegmentLoss, SegmentSum

FAULTS = frozenset({LossReason.ROTATED_AWAY, LossReason.REJECTED, LossReason.UNREADABLE})
"""Losses that nobody wanted. The others follow from a limit, a retention or a request."""

_MOST_LISTED = 100
_NAMES = ("cluster", "node", "kind", "namespace", "pod", "container", "path")
_NUMBERS = (
    "segments",
    "rows",
    "claimed_bytes",
    "delivered_bytes",
    "pending_bytes",
    "expired_bytes",
    "lost_bytes",
    "lost_unknown",
    "left_out_bytes",
    "missing_bytes",
    "doubled_rows",
)


@dataclass(slots=True)
class SourceReport:
    """What became of one container's or file's bytes. Known losses with an unknown size count in `lost_unknown`."""

    cluster: str
    node: str
    kind: str
    namespace: str
    pod: str
    container: str
    path: str
    segments: int = 0
    rows: int = 0
    claimed_bytes: int = 0
    delivered_bytes: int = 0
    pending_bytes: int = 0
    expired_bytes: int = 0
    lost_bytes: int = 0
    lost_unknown: int = 0
    left_out_bytes: int = 0
    missing_bytes: int = 0
    doubled_rows: int = 0
    losses: list[dict[str, object]] = field(default_factory=list)
    missing: list[dict[str, object]] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether nothing was lost and nothing is there twice."""
        return not (self.lost_bytes or self.lost_unknown or self.missing_bytes or self.doubled_rows)


def compare(
    claims: Iterable[SegmentClaim],
    sums: Iterable[SegmentSum],
    losses: Iterable[SegmentLoss],
    expired: dict[tuple[int, int], int],
) -> list[SourceReport]:
    """Return the report of each source, those with findings first."""
    by_segment = {(each.source, each.segment): each for each in sums}
    losses_of: dict[tuple[int, int], list[SegmentLoss]] = defaultdict(list)
    for loss in losses:
        losses_of[loss.source, loss.segment].append(loss)
    reports: dict[tuple[str, ...], SourceReport] = {}
    for claim in claims:
        name = (claim.cluster, claim.node, claim.kind, claim.namespace, claim.pod, claim.container, claim.path)
        report = reports.setdefault(name, SourceReport(*name))
        key = (claim.source, claim.segment)
        _add_segment(report, claim, by_segment.get(key), losses_of.get(key, []), expired.get(key, 0))
    return sorted(reports.values(), key=lambda report: (report.is_whole, report.namespace, report.pod, report.path))


def _add_segment(
    report: SourceReport, claim: SegmentClaim, found: SegmentSum | None, losses: list[SegmentLoss], expired: int
) -> None:
    stored = found.bytes if found is not None else 0
    uncovered = 0
    for loss in losses:
        if loss.reason not in set(LossReason):
            continue
        if not loss.in_row:
            uncovered += loss.bytes or 0
        if loss.reason in FAULTS:
            report.lost_bytes += loss.bytes or 0
            report.lost_unknown += loss.bytes is None
        else:
            report.left_out_bytes += loss.bytes or 0
        if len(report.losses) < _MOST_LISTED:
            report.losses.append(
                {
                    "segment": str(claim.segment),
                    "reason": loss.reason,
                    "start": loss.start,
                    "end": loss.end or None,
                    "bytes": loss.bytes,
                    "first": str(loss.first_ns),
                    "last": str(loss.last_ns),
                    "detail": loss.detail,
                }
            )
    missing = max(claim.delivered - stored - uncovered - expired, 0)
    report.segments += 1
    report.claimed_bytes += max(claim.claimed, claim.delivered)
    report.delivered_bytes += stored
    report.pending_bytes += max(claim.claimed - claim.delivered, 0)
    report.expired_bytes += expired
    report.missing_bytes += missing
    if missing and len(report.missing) < _MOST_LISTED:
        report.missing.append({"source": str(claim.source), "segment": str(claim.segment), "bytes": missing})
    if found is not None:
        report.rows += found.rows
        report.doubled_rows += found.rows - found.positions


class Verify:
    """Compares claims with rows."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def verify(self, scope: Scope) -> dict[str, object]:
        """Return totals and the reports of all sources, those with findings first.

        Shape: `ok`, `totals` (numbers), `sources` (each with its labels, numbers, `losses` and `missing`).
        """
        reports = await self._store.run(self._reports, scope)
        totals = {name: sum(getattr(report, name) for report in reports) for name in _NUMBERS}
        return {
            "ok": all(report.is_whole for report in reports),
            "totals": {"sources": len(reports), **totals},
            "sources": [
                {
                    "labels": {name: getattr(report, name) for name in _NAMES if getattr(report, name)},
                    **{name: getattr(report, name) for name in _NUMBERS},
                    "losses": report.losses,
                    "missing": report.missing,
                }
                for report in reports
            ],
        }

    async def entries(
        self, scope: Scope, *, source: int, segment: int, after: int, limit: int
    ) -> list[dict[str, object]]:
        """Return a segment's rows from an offset on, in their order: `offset`, `size`, `copies`, `body` (bytes)."""
        rows = await self._store.run(log_sums.entries, self._store, scope, source, segment, after=after, limit=limit)
        return [{"offset": offset, "size": size, "copies": copies, "body": body} for offset, size, copies, body in rows]

    def _reports(self, scope: Scope) -> list[SourceReport]:
        # Claims before rows: what is inserted in between is beyond the claims, and not counted. Rows before what has
        # expired: rows that go in between are counted twice rather than not at all.
        claims = log_sums.claims(self._store, scope)
        losses = log_sums.losses(self._store, scope)
        sums = log_sums.sums(self._store, scope)
        return compare(claims, sums, losses, log_sums.expired(self._store, scope))
