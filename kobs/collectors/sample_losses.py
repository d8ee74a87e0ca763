"""Losses of samples on their way: counted at once, and kept until a server has them on record.

Losses of one reason are joined, as long as they have not been told. A loss that is being told is closed: what is lost
meanwhile is another one. What is not told when the process ends is read again at the next start.
"""

import threading
import uuid
from collections.abc import Sequence
from pathlib import Path

import msgspec

from kobs import telemetry
from kobs.wire.samples import SampleLoss, SampleLossReason

_SIGNAL = "metrics"

log = telemetry.get_logger(__name__)


class SampleLosses:
    """The losses that no server knows of yet, in memory and, as far as the disk takes them, in a file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._open: dict[SampleLossReason, SampleLoss] = {}
        self._closed: list[SampleLoss] = []
        self._changed = False
        # Collectors' threads may lose samples while the loop tells of others.
        self._lock = threading.Lock()
        if path is None:
            return
        try:
            self._closed = msgspec.json.decode(path.read_bytes(), type=list[SampleLoss])
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError) as error:
            log.warning("Losses of samples of the last run cannot be read.", error=error)

    def add(
        self,
        reason: SampleLossReason,
        *,
        first_ms: int,
        last_ms: int,
        samples: int,
        detail: str = "",
        counted: str = "",
    ) -> None:
        """Count samples that are lost, under `counted` or else the reason itself, and keep the loss."""
        telemetry.discarded(_SIGNAL, counted or reason.value, samples)
        with self._lock:
            before = self._open.get(reason)
            if before is None:
                log.warning("Samples are lost.", reason=reason.value, samples=samples, error=detail)
            else:
                first_ms, last_ms = min(first_ms, before.first_ms), max(last_ms, before.last_ms)
                samples += before.samples
            self._open[reason] = SampleLoss(
                id=uuid.uuid4().hex if before is None else before.id,
                reason=reason,
                first_ms=first_ms,
                last_ms=last_ms,
                samples=samples,
                detail=detail[:1000],
            )
            self._changed = True

    def to_tell(self) -> list[SampleLoss]:
        """Return all losses, to be told now."""
        with self._lock:
            self._closed += self._open.values()
            self._open = {}
            return list(self._closed)

    def told(self, losses: Sequence[SampleLoss]) -> None:
        """Note that a server has these on record."""
        ids = {loss.id for loss in losses}
        if not ids:
            return
        with self._lock:
            self._closed = [loss for loss in self._closed if loss.id not in ids]
            self._changed = True

    def save(self) -> None:
        """Write what changed to the file; a disk that does not take it is tried again at the next change."""
        if self._path is None or not self._changed:
            return
        with self._lock:
            self._changed = False
            content = msgspec.json.encode([*self._closed, *self._open.values()])
        written = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            written.write_bytes(content)
            written.replace(self._path)
        except OSError:
            return
