"""What one query may take of the store and of memory, and the errors that say so.

An error names the limit, how much was asked for, and the setting. No limit cuts an answer.
"""

import time
from dataclasses import dataclass

from kobs.config import QuerySettings
from kobs.errors import LimitError


class QueryTimeoutError(LimitError):
    """A query took longer than it may."""


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """What one query may take; the settings of the section `query`."""

    series: int = 200_000
    """Series of one selector."""
    samples: int = 300_000_000
    """Samples that all selectors of a query read."""
    points: int = 20_000_000
    """Points (series x moments) that a selector may have in memory."""
    memory_bytes: int = 256 * 2**20
    """Memory of the samples that are in memory together, and of one statement."""
    light_samples: int = 5_000_000
    """Samples that a query may read without waiting for its turn."""

    @classmethod
    def of(cls, settings: QuerySettings) -> "QueryLimits":
        """Return the limits that settings say."""
        return cls(
            settings.max_series,
            settings.max_samples,
            settings.max_points,
            settings.max_memory_bytes,
            settings.heavy_samples,
        )

    def check_series(self, count: int) -> None:
        """Refuse a selector of too many series; `count` may be the limit plus one where nobody counted further.

        Raises: LimitError.
        """
        if count > self.series:
            raise LimitError(
                f"a selector has {count} series or more: the limit is {self.series} (query.max_series); "
                "add matchers or raise the limit"
            )

    def check_points(self, series: int, moments: int) -> None:
        """Refuse what would be too large in memory.

        Raises: LimitError.
        """
        if series * moments > self.points:
            raise LimitError(
                f"a selector has {series} series at {moments} moments, {series * moments} points: the limit is "
                f"{self.points} (query.max_points); select fewer series, a shorter time or a greater step"
            )

    def check_held(self, count: int) -> None:
        """Refuse a range selector whose samples themselves are the answer, where these are too many.

        Raises: LimitError.
        """
        if count > self.points:
            raise LimitError(
                f"a range selector answers {count} samples or more: the limit is {self.points} (query.max_points); "
                "select fewer series or a shorter range"
            )

    def check_samples(self, count: int) -> None:
        """Refuse to read further.

        Raises: LimitError.
        """
        if count > self.samples:
            raise LimitError(
                f"the query reads {count} samples or more: the limit is {self.samples} (query.max_samples); "
                "select fewer series or a shorter time"
            )


@dataclass(slots=True)
class Statistics:
    """What a query has cost so far."""

    series: int = 0
    """Series that its selectors found."""
    samples_read: int = 0
    peak_samples: int = 0
    """Samples and points that selectors had in memory at once, at most."""

    def note_peak(self, samples: int) -> None:
        """Note how many samples and points are in memory."""
        self.peak_samples = max(self.peak_samples, samples)


class Deadline:
    """When a query has to be done; None: never."""

    def __init__(self, timeout_seconds: float | None) -> None:
        self.timeout_seconds = timeout_seconds
        self._end = None if timeout_seconds is None else time.monotonic() + timeout_seconds

    def left_seconds(self) -> float | None:
        """Return how long the query may still take.

        Raises: QueryTimeoutError when it is over.
        """
        if self._end is None:
            return None
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.passed()
        return left

    def passed(self) -> QueryTimeoutError:
        """Return the error that says the time is over."""
        return QueryTimeoutError(
            f"query timed out: it took longer than {self.timeout_seconds or 0:g} s, the limit (query.timeout_seconds, "
            "or the request's own); ask for less"
        )
