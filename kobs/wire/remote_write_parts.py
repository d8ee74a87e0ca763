"""Where the parts of a message of remote write 2.0 lie: its texts and its series.

Each part tells its length, so that only who has read one knows where the next begins. So all bytes that look like the
beginning of a usual part are found together, and where the next of them is right at the end of one, it is the next
part. A step is taken only where that is not so: where bytes within a part look like a beginning, and where a part is
long or unusual.
"""

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kobs.wire.remote_write import MOST_PARTS, malformed, skipped, too_many, varint

MARGIN = b"\0" * 1024
"""What must lie behind a message, so that looking a little beyond its end finds something."""

Places = npt.NDArray[np.int64]

_TEXT, _SERIES, _REFERENCES = 0x22, 0x2A, 0x0A
_WINDOW_BYTES = 1 << 20
"""What is looked at together: a message may consist of bytes that all may begin a part."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The texts of a message, and where each of its series begins and ends."""

    texts: list[bytes]
    starts: Places
    stops: Places


def find_parts(data: bytes, raw: npt.NDArray[np.uint8]) -> Parts:
    """Return the parts of a message; `raw` are its bytes with MARGIN behind them.

    Raises: RejectedError("malformed_message" | "too_many_samples").
    """
    texts: list[bytes] = []
    series: list[tuple[Places, Places]] = []
    at, count, end = 0, 0, len(data)
    while at < end:
        window = _Window(data, raw, at)
        at, count = window.walk(at, count)
        starts, stops, is_series = window.parts()
        series.append((starts[is_series], stops[is_series]))
        texts += [
            data[one:other] for one, other in zip(starts[~is_series].tolist(), stops[~is_series].tolist(), strict=True)
        ]
    if at > end:
        raise malformed(f"its last part goes {at - end} bytes beyond its end")
    none = np.zeros(0, np.int64)
    parts = Parts(texts, *(np.concatenate([none, *column]) for column in zip(*series, strict=True))) if series else None
    if parts is None or not len(parts.starts):
        return Parts(texts, none, none)
    if not texts or texts[0]:
        raise malformed("its symbols do not begin with the empty text")
    return parts


class _Window:
    """The parts that begin within some bytes of a message."""

    def __init__(self, data: bytes, raw: npt.NDArray[np.uint8], begin: int) -> None:
        self._data = data
        self._end = min(begin + _WINDOW_BYTES, len(data))
        size = self._end - begin
        first, third, fourth = (raw[begin + more : begin + more + size] for more in (0, 2, 3))
        # The metadata of a series has the series' own tag, but not what usual series begin with.
        is_series = (first == _SERIES) & ((third == _REFERENCES) | (fourth == _REFERENCES))
        places = np.flatnonzero((first == _TEXT) | is_series) + begin
        sizes = raw[places + 1].astype(np.int64)
        self._is_series = raw[places] == _SERIES
        self._places = places
        self._starts = places + 2
        self._stops = self._starts + sizes
        self._is_long = sizes >= 0x80
        is_last = np.ones(len(places), np.bool_)
        is_last[:-1] = self._is_long[:-1] | (self._stops[:-1] != places[1:])
        self._last = np.flatnonzero(is_last)
        """Those after which no other follows at once."""
        self._is_part = np.zeros(len(places), np.bool_)
        self._unusual: list[tuple[int, int]] = []
        """Series of another form: where they begin and end."""

    def walk(self, at: int, count: int) -> tuple[int, int]:
        """Go through the parts from a place on; return what follows them, and the count of parts with theirs added."""
        data, size = self._data, len(self._data)
        places, last = self._places.tolist(), self._last.tolist()
        turn = 0
        while at < self._end:
            first = bisect_left(places, at)
            if first == len(places) or places[first] != at:
                count += 1
                tag, following = varint(data, at, size)
                if tag == _SERIES and following == at + 1:
                    length, start = varint(data, following, size)
                    at = start + length
                    self._unusual.append((start, at))
                elif tag in (_TEXT, _SERIES):
                    raise malformed(f"a tag before byte {following} is longer than it need be")
                else:
                    at = skipped(data, following, size, tag)
            else:
                turn = bisect_left(last, first, turn)
                final = last[turn]
                self._is_part[first : final + 1] = True
                count += final + 1 - first
                if self._is_long[final]:
                    length, start = varint(data, places[final] + 1, size)
                    self._starts[final], self._stops[final] = start, start + length
                at = int(self._stops[final])
            if count > MOST_PARTS:
                raise too_many("series and symbols")
        return at, count

    def parts(self) -> tuple[Places, Places, npt.NDArray[np.bool_]]:
        """Return where the parts that were gone through begin and end, and which are series."""
        which = self._is_part
        starts, stops, is_series = self._starts[which], self._stops[which], self._is_series[which]
        if not self._unusual:
            return starts, stops, is_series
        others = np.array(self._unusual, np.int64).T
        starts, stops = np.append(starts, others[0]), np.append(stops, others[1])
        order = np.argsort(starts)
        return starts[order], stops[order], np.append(is_series, np.ones(len(self._unusual), np.bool_))[order]
