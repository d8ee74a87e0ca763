"""What expressions evaluate to, over the moments of one evaluation.

An evaluation has T moments (`start_ms`, `end_ms`, `step_ms`; an instant query has one). Labels of a series are a tuple
of (name, value) pairs in the order of the names, `__name__` among them, no value empty: hashable, comparable, and the
order in which answers are given.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Labels = tuple[tuple[str, str], ...]

T = TypeVar("T")

_MOST_DERIVED = 16


class LabelSets(tuple[Labels, ...]):
    """Label sets of series that are asked for again and again, with what was worked out from them.

    Dropping, grouping, sorting and writing labels takes a step for each series, and gives the same each time.
    """

    def __init__(self, _: Iterable[Labels]) -> None:
        self._derived: dict[Hashable, Any] = {}

    def derived(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what `make` returned for a key before, or returns now. Nobody may change it."""
        found: T | None = self._derived.get(key)
        if found is None:
            found = make()
            if len(self._derived) >= _MOST_DERIVED:
                self._derived.clear()
            self._derived[key] = found
        return found


def derived(labels: tuple[Labels, ...], key: Hashable, make: Callable[[], T]) -> T:
    """Return what `make` returns, which depends on label sets and a key only: remembered with LabelSets."""
    return labels.derived(key, make) if isinstance(labels, LabelSets) else make()


@dataclass(frozen=True, slots=True)
class Moments:
    """The times of an evaluation, `start_ms` and every `step_ms` after it up to `end_ms`."""

    start_ms: int
    end_ms: int
    step_ms: int

    def count(self) -> int:
        """Return how many moments there are."""
        return (self.end_ms - self.start_ms) // self.step_ms + 1

    def times_ms(self) -> NDArray[np.int64]:
        """Return the moments. Shape: (T,)."""
        return np.arange(self.count(), dtype=np.int64) * self.step_ms + self.start_ms


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number at each moment. Shape: values (T,)."""

    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Text:
    """A string, the same at each moment."""

    value: str


@dataclass(frozen=True, slots=True)
class Block:
    """An instant vector at each moment: S series of different labels.

    Shape: labels S; values (S, T); present (S, T), False where the series has no value at the moment (NaN is a value).
    The value of an absent point means nothing. A series may be absent throughout.
    """

    labels: tuple[Labels, ...]
    values: NDArray[np.float64]
    present: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Points:
    """Samples of S series in time order, for range functions: series s has those from bounds[s] to bounds[s + 1].

    Shape: labels S; bounds int64 (S + 1,); times_ms int64 (N,); values float64 (N,). No stale markers.
    """

    labels: tuple[Labels, ...]
    bounds: NDArray[np.int64]
    times_ms: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(slots=True)
class Annotations:
    """Warnings and infos of one query, each text once, in the order of their coming."""

    warnings: dict[str, None] = field(default_factory=dict)
    infos: dict[str, None] = field(default_factory=dict)
