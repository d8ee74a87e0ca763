"""What an evaluation asks of whoever has the samples: the store's `Leaves`, or series in memory."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kobs.query.promql.tree import Aggregation, MatrixSelector, VectorSelector
from kobs.query.promql.values import Block, Moments, Points

Floats = NDArray[np.float64]


class SelectorReads(Protocol):
    """What reads the samples of selectors: the store, or series in memory.

    `@` and `offset` of a selector are its own to follow; where its modifier `@` is set, all moments have one window.
    """

    def instant(self, selector: VectorSelector, moments: Moments, *, lookback_ms: int) -> Block:
        """Return the newest values in the look-back before each moment."""

    def timestamps(self, selector: VectorSelector, moments: Moments, *, lookback_ms: int) -> Block:
        """Return the times of the newest values, in seconds."""

    def range_function(
        self, function: str, selector: MatrixSelector, moments: Moments, parameters: tuple[Floats, ...]
    ) -> Block:
        """Return a function of the samples in the window before each moment, under the series' whole labels."""

    def points(self, selector: MatrixSelector, time_ms: int) -> Points:
        """Return the samples in the window before one moment."""

    def aggregate(self, node: Aggregation, moments: Moments) -> Block | None:
        """Return a whole aggregation, or None where it is to be worked out here."""
