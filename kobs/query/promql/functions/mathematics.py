"""Functions of one number: arrays arrive and leave, in any shape, with Go's answers at the edges.

Source: Go's `math` (special cases; `Log2` and `Log10` by way of the binary exponent), Prometheus 3,
`promql/functions.go`.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_LN2 = 0.693147180559945309417232121458176568
_LN10 = 2.30258509299404568401799145468436421


def log2(values: Floats) -> Floats:
    """Return logarithms to the base 2."""
    fraction, exponent = np.frexp(values)
    found: Floats = np.where(fraction == 0.5, exponent - 1.0, np.log(fraction) * (1 / _LN2) + exponent)
    return found


def log10(values: Floats) -> Floats:
    """Return logarithms to the base 10."""
    return log2(values) * (_LN2 / _LN10)


def sign(values: Floats) -> Floats:
    """Return -1, 1, or the value itself where it is zero or NaN."""
    return np.where(values < 0, -1.0, np.where(values > 0, 1.0, values))


def lesser(left: Floats, right: Floats) -> Floats:
    """Return the lesser of two: -Inf even beside NaN, else NaN beside NaN, and -0 before 0."""
    found = np.minimum(left, right)
    found = np.where((left == 0) & (right == 0), np.where(np.signbit(left), left, right), found)
    return np.where((left == -np.inf) | (right == -np.inf), -np.inf, found)


def greater(left: Floats, right: Floats) -> Floats:
    """Return the greater of two: +Inf even beside NaN, else NaN beside NaN, and 0 before -0."""
    found = np.maximum(left, right)
    found = np.where((left == 0) & (right == 0), np.where(np.signbit(left), right, left), found)
    return np.where((left == np.inf) | (right == np.inf), np.inf, found)


def rounded(values: Floats, to_nearest: Floats) -> Floats:
    """Return the nearest multiples, the greater of two that are as near."""
    inverse = 1.0 / to_nearest
    return np.floor(values * inverse + 0.5) / inverse


ELEMENTWISE: dict[str, Callable[[Floats], Floats]] = {
    "abs": np.abs,
    "acos": np.arccos,
    "acosh": np.arccosh,
    "asin": np.arcsin,
    "asinh": np.arcsinh,
    "atan": np.arctan,
    "atanh": np.arctanh,
    "ceil": np.ceil,
    "cos": np.cos,
    "cosh": np.cosh,
    "deg": lambda values: values * 180 / np.pi,
    "exp": np.exp,
    "floor": np.floor,
    "ln": np.log,
    "log10": log10,
    "log2": log2,
    "rad": lambda values: values * np.pi / 180,
    "sgn": sign,
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "tan": np.tan,
    "tanh": np.tanh,
}
