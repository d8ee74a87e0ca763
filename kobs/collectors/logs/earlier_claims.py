"""What the node's agents have claimed before the state was lost, and of which no file is there any more.

Arrives: the open claims of the node, from the server. Leaves: those whose bytes can't be read, each to be put on record
once. A file that was claimed and is not found may still be renamed or compressed just now, or not be readable at the
moment: its bytes are not given up before it is sure that they are gone.
"""

import os
from pathlib import Path

from kobs import telemetry
from kobs.collectors.logs.registry import Registry
from kobs.collectors.logs.state import KnownLoss, State
from kobs.model.logs import LogSource, LossReason, SourceKind
from kobs.wire.ship import OpenClaim

_GRACE_SECONDS = 5.0
"""How long a copy or a .gz of a claimed file may take to turn up."""
_DETAIL = "claimed before the agent's state was lost; the file is gone"

log = telemetry.get_logger(__name__)


class EarlierClaims:
    """The claims that an agent without state finds on its node. Not for use from two threads at once."""

    def __init__(self, state: State, registry: Registry, *, pod_logs: Path | None) -> None:
        self._state = state
        self._registry = registry
        self._pod_logs = pod_logs
        self._open: list[OpenClaim] = []
        self._taken_at = 0.0
        self._settled = state.knows_earlier_claims()
        self._asked = self._settled

    @property
    def must_ask(self) -> bool:
        """Whether the server has to be asked for them, now that the files that are there are known."""
        return not self._asked and self._registry.looked

    def take(self, claims: list[OpenClaim], *, now: float) -> None:
        """Take in the server's answer. `now` is monotonic, in seconds."""
        self._asked = True
        self._open = claims
        self._taken_at = now

    def gone(self, *, now: float) -> list[KnownLoss]:
        """Return the losses to put on record now; the claims in question are not returned again."""
        if not self._open or now - self._taken_at < _GRACE_SECONDS:
            return []
        losses, left = [], []
        for claim in self._open:
            if self._is_at_hand(claim):
                continue
            if self._may_come(claim):
                left.append(claim)
            else:
                losses.append(_loss(claim))
        self._open = left
        self._taken_at = now
        return losses

    def settle(self) -> None:
        """Note durably that nothing is left to look for; the losses must be durable before."""
        if self._asked and not self._settled and not self._open:
            self._state.settled_earlier_claims()
            self._settled = True

    def _is_at_hand(self, claim: OpenClaim) -> bool:
        return (claim.stream.source.id(), claim.segment) in self._registry.segments

    def _may_come(self, claim: OpenClaim) -> bool:
        """Whether the bytes of a claim may be there, as far as this machine can tell."""
        source = claim.stream.source
        if source.kind is SourceKind.JOURNAL:
            return source.id() not in self._registry.logs  # a journal that cannot be read has told nothing
        if self._registry.cannot_read(source.id()):
            return True
        if source.kind is SourceKind.FILE and claim.head and self._registry.has_head(source.id(), claim.head):
            return True  # a copy of it, perhaps: what it holds is read anew, from its beginning
        folder = self._folder(source)
        return folder is None or _is_closed(folder)

    def _folder(self, source: LogSource) -> Path | None:
        if source.kind is SourceKind.FILE:
            return Path(source.path).parent
        if self._pod_logs is None or not self._pod_logs.is_dir():
            return None
        return self._pod_logs / f"{source.namespace}_{source.pod}_{source.uid}" / source.container


def _is_closed(folder: Path) -> bool:
    """Whether a folder may be there and cannot be looked into."""
    try:
        os.scandir(folder).close()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return False


def _loss(claim: OpenClaim) -> KnownLoss:
    return KnownLoss(
        source=claim.stream.source.id(),
        segment=claim.segment,
        start=claim.delivered,
        reason=LossReason.ROTATED_AWAY,
        end=claim.claimed,
        first_ns=claim.first_ns,
        last_ns=claim.last_ns,
        detail=_DETAIL,
        stream=claim.stream,
    )
