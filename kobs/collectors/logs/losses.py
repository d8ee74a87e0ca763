"""Losses on record: what can't be delivered, from the moment that it is known until the server has it.

Each loss is durable with the next commit of the state, and is sent until it is answered.
"""

import time

from kobs import telemetry
from kobs.collectors.logs.sources import Segment
from kobs.collectors.logs.state import KnownLoss
from kobs.model.logs import LossReason

log = telemetry.get_logger(__name__)
_lost = telemetry.counter("kobs_agent_log_losses_total", "Losses of log bytes put on record, by reason.", ("reason",))


class Losses:
    """The losses that the server does not know of yet."""

    def __init__(self, known: list[KnownLoss]) -> None:
        self._open: dict[tuple[int, int, int, LossReason], KnownLoss] = {_key(loss): loss for loss in known}
        self.new: list[KnownLoss] = []
        """Those that are not durable yet."""
        self.reported: list[KnownLoss] = []
        """Those that the server has, of which the state does not know it yet."""

    def lose(self, segment: Segment, start: int, end: int, reason: LossReason, *, detail: str = "") -> None:
        """Put bytes of a segment on record; an `end` of 0 is not known."""
        self.record(
            KnownLoss(
                source=segment.source,
                segment=segment.segment,
                start=start,
                reason=reason,
                end=end,
                first_ns=segment.unread_since_ns(),
                last_ns=time.time_ns(),
                detail=detail,
                stream=segment.stream,
            )
        )

    def record(self, loss: KnownLoss) -> None:
        """Put a loss on record."""
        source = loss.stream.source
        _lost.labels(loss.reason).inc()
        log.warning(
            "Log bytes are lost.",
            of=source.path or f"{source.namespace}/{source.pod}/{source.container}",
            start=loss.start,
            end=loss.end or "unknown",
            reason=loss.reason,
        )
        self._open[_key(loss)] = loss
        self.new.append(loss)

    def to_report(self) -> list[KnownLoss]:
        """Return what the server has to be told."""
        return list(self._open.values())

    def settle(self, told: list[KnownLoss]) -> None:
        """Take note that the server has been told of losses."""
        for loss in told:
            if self._open.get(_key(loss)) == loss:
                del self._open[_key(loss)]
                self.reported.append(loss)

    def durable(self) -> None:
        """Take note that the state has all of it."""
        self.new, self.reported = [], []


def _key(loss: KnownLoss) -> tuple[int, int, int, LossReason]:
    return loss.source, loss.segment, loss.start, loss.reason
