"""Binary operators on numbers: arrays that broadcast arrive, values and where they stay leave.

Source: Prometheus 3, `promql/engine.go`; Go's `math.Mod`, `math.Pow` and `math.Atan2`, which are C's.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def power(left: Floats, right: Floats) -> Floats:
    """Return powers as C's and Go's `pow` do."""
    found: Floats = np.power(left, right)
    halves = right == 0.5
    if halves.any():
        # numpy takes the root, which has another answer for -Inf and -0
        found = np.where(halves & (left == -np.inf), np.inf, np.where(halves & (left == 0), 0.0, found))
    return found


ARITHMETIC: dict[str, Callable[[Floats, Floats], Floats]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": power,
    "atan2": np.arctan2,
}
"""What makes another thing of its operands, so that the name of the metric goes."""

COMPARISON: dict[str, Callable[[Floats, Floats], Flags]] = {
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
    ">=": np.greater_equal,
    "<=": np.less_equal,
}


def of_numbers(operator: str, left: Floats, right: Floats) -> Floats:
    """Return the values of an operator between scalars; a comparison is 1 or 0."""
    if operator in ARITHMETIC:
        return ARITHMETIC[operator](left, right)
    return COMPARISON[operator](left, right).astype(np.float64)


def of_elements(
    operator: str, left: Floats, right: Floats, *, kept: Floats, returns_bool: bool
) -> tuple[Floats, Flags | None]:
    """Return the values of an operator between elements of vectors, and where they stay (None: everywhere).

    A comparison lets those of `kept` through for which it is true; with `returns_bool` it is 1 or 0.
    """
    if operator in ARITHMETIC:
        return ARITHMETIC[operator](left, right), None
    true = COMPARISON[operator](left, right)
    return (true.astype(np.float64), None) if returns_bool else (kept, true)
