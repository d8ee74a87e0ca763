"""What this server was told of the agents' series: numbers arrive, ids and names leave.

A session that is not known up to a frame's first new series gives None, upon which its agent tells all series again. So
everything here may be forgotten, and beyond a number of series the sessions that were silent longest are. All of it may
be called from any thread.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass

import pyarrow as pa

from kobs.ingest.limits import Reason
from kobs.model.labels import METRIC_NAME, fingerprint
from kobs.wire.samples import SampleRequest

MOST_SERIES = 5_000_000
MOST_SESSIONS = 10_000
MOST_LABELS = 128
LONGEST_NAME_BYTES = 1024
LONGEST_VALUE_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Series:
    """The series of one life of an agent, by their numbers."""

    fps: pa.UInt64Array
    metrics: pa.StringArray
    labels: tuple[dict[str, str], ...]
    """Without `__name__` and without empty values."""
    faults: dict[int, Reason]
    """Series that are not allowed, with why: their samples are refused."""


_NONE = Series(pa.array([], pa.uint64()), pa.array([], pa.string()), (), {})


class Sessions:
    """All sessions that this server knows, the most recently heard last."""

    def __init__(self, *, most_series: int = MOST_SERIES) -> None:
        self._most_series = most_series
        self._sessions: OrderedDict[str, Series] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, request: SampleRequest) -> Series | None:
        """Return the series of a frame's session with the frame's own; None if it is not known far enough."""
        with self._lock:
            known = self._sessions.get(request.session, _NONE)
        if request.first_series > len(known.labels):
            return None
        if request.series or request.first_series < len(known.labels):
            known = _extended(known, request)
        with self._lock:
            self._sessions[request.session] = known
            self._sessions.move_to_end(request.session)
            series = sum(len(each.labels) for each in self._sessions.values())
            while len(self._sessions) > 1 and (series > self._most_series or len(self._sessions) > MOST_SESSIONS):
                _, forgotten = self._sessions.popitem(last=False)
                series -= len(forgotten.labels)
        return known


def _extended(known: Series, request: SampleRequest) -> Series:
    """Return `known` up to the frame's first series, and then the frame's own: it may have come before."""
    first = request.first_series
    faults = {number: reason for number, reason in known.faults.items() if number < first}
    for number, labels in enumerate(request.series, first):
        reason = fault(labels)
        if reason is not None:
            faults[number] = reason
    return Series(
        pa.concat_arrays(
            [known.fps[:first], pa.array([fingerprint(labels) for labels in request.series], pa.uint64())]
        ),
        pa.concat_arrays(
            [known.metrics[:first], pa.array([labels.get(METRIC_NAME, "") for labels in request.series], pa.string())]
        ),
        (
            *known.labels[:first],
            *(
                {name: value for name, value in labels.items() if value and name != METRIC_NAME}
                for labels in request.series
            ),
        ),
        faults,
    )


def fault(labels: dict[str, str]) -> Reason | None:
    """Return why a label set is not allowed, or None.

    Source: Prometheus 3 allows every name in UTF-8 but the empty one.
    """
    if len(labels) > MOST_LABELS:
        return Reason.LABELS_TOO_MANY
    if not labels.get(METRIC_NAME) or "" in labels:
        return Reason.LABEL_NAME_INVALID
    for name, value in labels.items():
        longest = LONGEST_NAME_BYTES if name == METRIC_NAME else LONGEST_VALUE_BYTES
        if len(name.encode()) > LONGEST_NAME_BYTES or len(value.encode()) > longest:
            return Reason.LABEL_TOO_LONG
    return None
