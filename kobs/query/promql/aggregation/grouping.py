"""Which series of a vector an aggregation takes together."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kobs.model.labels import METRIC_NAME
from kobs.query.promql.labelsets import only, without
from kobs.query.promql.values import Labels, LabelSets, derived

Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups in the order in which their first series come.

    Shape: labels G; order (S,) the series by group, in their order within one; starts and sizes (G,) of groups there.
    """

    labels: tuple[Labels, ...]
    order: Rows
    starts: Rows
    sizes: Rows

    def rows(self) -> Iterator[Rows]:
        """Yield the series of each group."""
        for start, size in zip(self.starts.tolist(), self.sizes.tolist(), strict=True):
            yield self.order[start : start + size]

    def turns(self) -> Iterator[tuple[Rows, Rows]]:
        """Yield groups and one series of each, until each series has had its turn, in their order within a group."""
        slots = np.arange(len(self.sizes))
        for turn in range(int(self.sizes.max(initial=0))):
            slots = slots[self.sizes[slots] > turn]
            yield slots, self.order[self.starts[slots] + turn]

    def split(self, longest: int) -> tuple["Groups", "Groups"]:
        """Return runs of at most `longest` series of a group, and the groups of these runs."""
        pieces = -(-self.sizes // longest)
        firsts = np.cumsum(pieces) - pieces
        number = np.arange(int(pieces.sum())) - np.repeat(firsts, pieces)
        starts = np.repeat(self.starts, pieces) + number * longest
        sizes = np.minimum(np.repeat(self.sizes, pieces) - number * longest, longest)
        runs = Groups(tuple([()] * len(starts)), self.order, starts, sizes)
        return runs, Groups(self.labels, np.arange(len(starts)), firsts, pieces)


def grouped(labels: tuple[Labels, ...], names: tuple[str, ...], *, is_without: bool) -> Groups:
    """Return the groups of series that have the same values of some labels, or of all but some and the name."""
    return derived(labels, ("grouped", names, is_without), lambda: _grouped(labels, names, is_without=is_without))


def _grouped(labels: tuple[Labels, ...], names: tuple[str, ...], *, is_without: bool) -> Groups:
    numbers: dict[Labels, int] = {}
    if is_without:
        ignored = frozenset({*names, METRIC_NAME})
        of_series = [numbers.setdefault(without(each, ignored), len(numbers)) for each in labels]
    elif names:
        kept = frozenset(names)
        of_series = [numbers.setdefault(only(each, kept), len(numbers)) for each in labels]
    else:
        numbers = {(): 0} if labels else {}
        of_series = [0] * len(labels)
    found = np.array(of_series, dtype=np.intp)
    sizes = np.bincount(found, minlength=len(numbers)).astype(np.intp)
    return Groups(LabelSets(numbers), np.argsort(found, kind="stable"), np.cumsum(sizes) - sizes, sizes)
