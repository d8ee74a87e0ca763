"""Walking through windows sample by sample, all windows side by side: the r-th sample of each window in one step.

Sums whose rounding depends on the order of their terms come out bit for bit as in a loop over each window, and the loop
here is as long as the longest window only.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kobs.query.promql.ranges.windows import Floats, Integers, Windows


@dataclass(frozen=True, slots=True)
class Ranked:
    """Windows in the order of falling length, so that those which still have an r-th sample are the first ones."""

    order: Integers
    first: Integers
    counts: Integers
    active: Integers
    """How many windows have more than r samples, by r."""

    def steps(self) -> Iterator[tuple[int, int]]:
        """Yield each rank and how many windows have a sample of it."""
        yield from enumerate(self.active.tolist())

    def in_asked_order(self, values: Floats) -> Floats:
        """Return values of the windows in the order in which the windows came."""
        result = np.empty_like(values)
        result[self.order] = values
        return result


def ranked(windows: Windows) -> Ranked:
    """Return windows in the order of falling length."""
    counts = windows.counts()
    order = np.argsort(-counts, kind="stable")
    longest = int(counts.max(initial=0))
    of_length = np.bincount(counts, minlength=longest + 1)
    return Ranked(order, windows.first[order], counts[order], (len(counts) - np.cumsum(of_length))[:longest])


class CompensatedSum:
    """Neumaier's sums, one for each window: what rounding loses of each term is kept beside the sum.

    An infinite sum has lost nothing, as Prometheus sees it.
    """

    def __init__(self, count: int) -> None:
        self.total = np.zeros(count)
        self.lost = np.zeros(count)

    def add(self, terms: Floats) -> None:
        """Add a term to each of the first sums, as many as there are terms."""
        total = self.total[: len(terms)]
        lost = self.lost[: len(terms)]
        added, error = with_error(total, terms)
        lost += error
        lost[np.isinf(added)] = 0.0
        total[:] = added

    def values(self) -> Floats:
        """Return the sums."""
        return np.where(np.isinf(self.total), self.total, self.total + self.lost)


def with_error(left: Floats, right: Floats) -> tuple[Floats, Floats]:
    """Return sums and, exactly, what their rounding lost."""
    added = left + right
    of_right = added - left
    return added, (left - (added - of_right)) + (right - of_right)


def changed_before(values: Floats, is_change: NDArray[np.bool_]) -> Integers:
    """Return how many changes from a sample to its next lie before each sample. Shape: is_change (N - 1,)."""
    before = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(is_change, out=before[2 : len(values) + 1])
    return before[1:]
