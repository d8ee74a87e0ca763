"""The numbers under which series are shipped, and who holds them: a series goes when its last holder lets it go.

Two targets may show a series with the same labels; it has one number then, and the end of one target is not the end of
the series.
"""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from kobs.model.samples import Family


class Shipping(Protocol):
    """The way of samples to the servers, as far as scraping needs it."""

    def register(self, labels: Mapping[str, str]) -> int:
        """Return the number of a series, the same for equal labels while they are registered."""

    def release(self, numbers: Iterable[int]) -> None:
        """Give numbers back, one call of `register` each."""

    def put_columns(self, times_ms: "array[int]", values: "array[float]", numbers: "array[int]") -> None:
        """Queue samples, in columns of types q, d and I."""

    def describe(self, job: str, families: Iterable[Family]) -> None:
        """Note what a job says of its metric names."""


class HeldSeries:
    """The series of all targets of an agent."""

    def __init__(self, shipping: Shipping) -> None:
        self._shipping = shipping
        self._holders = array("I")

    def hold(self, labels: Mapping[str, str]) -> int:
        """Return the number of a series, which the caller holds from now on, once more for each call."""
        number = self._shipping.register(labels)
        missing = number + 1 - len(self._holders)
        if missing > 0:
            self._holders.extend(array("I", [0]) * max(missing, 1024))
        self._holders[number] += 1
        return number

    def let_go(self, numbers: Sequence[int]) -> None:
        """Hold each of some series once less."""
        for number in numbers:
            self._holders[number] -= 1
        if numbers:
            self._shipping.release(numbers)

    def holders(self, number: int) -> int:
        """Return how often a series is held."""
        return self._holders[number]
