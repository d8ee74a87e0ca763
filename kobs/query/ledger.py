"""The ledger, page by page: what is known to be lost and why. `verify.py` compares it with the rows themselves."""

import base64
import binascii
import hashlib
from dataclasses import dataclass

import msgspec

from kobs.errors import QueryError
from kobs.model.log_filter import EVERY_SOURCE, SourceFilter
from kobs.model.logs import Finding, LossReason
from kobs.model.scope import Scope
from kobs.query.interruption import run_interruptibly
from kobs.storage import ledger_reads
from kobs.storage.clickhouse import Store
from kobs.storage.ledger_reads import LedgerRow, LossPosition, LossSummary
from kobs.storage.sample_loss_reads import SampleLossRow, find_sample_losses

__all__ = ["LOSSES", "REASONS", "Ledger", "LedgerPage", "LedgerQuery", "LedgerRow", "SampleLossRow"]

LOSSES = tuple(reason.value for reason in LossReason)
REASONS = (*LOSSES, *(finding.value for finding in Finding))
"""All that the ledger records; the last ones are no losses."""


@dataclass(frozen=True, slots=True)
class LedgerQuery:
    """A question to the ledger. A record is in the window [start, end) if it may overlap it; None is no bound."""

    sources: SourceFilter = EVERY_SOURCE
    reasons: tuple[str, ...] = LOSSES
    start_ns: int | None = None
    end_ns: int | None = None
    limit: int = 100
    cursor: str | None = None

    def digest(self) -> bytes:
        """Return the hash of what must be the same from page to page: everything but `limit` and `cursor`."""
        asked = repr((self.sources, self.reasons, self.start_ns, self.end_ns))
        return hashlib.blake2b(asked.encode("utf-8", "surrogatepass"), digest_size=8).digest()


@dataclass(frozen=True, slots=True)
class LedgerPage:
    """Records, those of the newest lines first, and the sums of all pages by reason."""

    rows: tuple[LedgerRow, ...]
    sums: tuple[LossSummary, ...]
    cursor: str | None


class Ledger:
    """Answers questions to the ledger."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(self, scope: Scope, query: LedgerQuery) -> LedgerPage:
        """Return one page.

        Raises: QueryError for a cursor of another query.
        """
        after = _decode_cursor(query)
        return await run_interruptibly(self._store, lambda _: self._page(scope, query, after))

    async def sample_losses(
        self, scope: Scope, *, start_ns: int | None, end_ns: int | None, limit: int
    ) -> list[SampleLossRow]:
        """Return the losses of samples that overlap [start, end), those of the newest samples first."""
        start_ms = None if start_ns is None else start_ns // 1_000_000
        end_ms = None if end_ns is None else -(-end_ns // 1_000_000)
        return await run_interruptibly(
            self._store,
            lambda interruption: find_sample_losses(
                self._store, scope, start_ms=start_ms, end_ms=end_ms, limit=limit, comment=interruption.comment
            ),
        )

    def _page(self, scope: Scope, query: LedgerQuery, after: LossPosition | None) -> LedgerPage:
        rows = ledger_reads.find_losses(
            self._store,
            scope,
            query.sources,
            reasons=query.reasons,
            start_ns=query.start_ns,
            end_ns=query.end_ns,
            limit=query.limit + 1,
            after=after,
        )
        sums = ledger_reads.sum_losses(
            self._store, scope, query.sources, reasons=query.reasons, start_ns=query.start_ns, end_ns=query.end_ns
        )
        shown = tuple(rows[: query.limit])
        cursor = _encode_cursor(query, shown[-1].position) if len(rows) > query.limit else None
        return LedgerPage(shown, tuple(sums), cursor)


def _encode_cursor(query: LedgerQuery, position: LossPosition) -> str:
    return base64.urlsafe_b64encode(query.digest() + msgspec.msgpack.encode(position)).decode().rstrip("=")


def _decode_cursor(query: LedgerQuery) -> LossPosition | None:
    if query.cursor is None:
        return None
    try:
        packed = base64.b64decode(query.cursor + "=" * (-len(query.cursor) % 4), altchars=b"-_", validate=True)
        position = msgspec.msgpack.decode(packed[8:], type=LossPosition)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        raise QueryError("cursor: not a cursor of this kobs; start again without one") from None
    if packed[:8] != query.digest():
        raise QueryError(
            "cursor: it belongs to another query; keep all parameters but limit as they were, or start without a cursor"
        )
    return position
