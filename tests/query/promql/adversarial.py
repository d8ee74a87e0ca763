"""Samples that are hard on range functions: resets, gaps, single samples, NaN, infinities, great and tiny numbers.

Everything is seeded. Times are ms after 0 unless said otherwise; a stale marker is among the values where it is asked
for. Samples lie on whole seconds, so that windows of whole seconds end exactly on some of them.
"""

import struct

import numpy as np
from numpy.typing import NDArray

from kobs.model.samples import STALE_NAN_BITS
from kobs.query.promql.values import Labels, Points

STALE = struct.unpack("<d", struct.pack("<Q", STALE_NAN_BITS))[0]
SPAN_MS = 1_800_000

_SHAPES = ("counter", "gauge", "constant", "huge", "cancelling", "nan", "infinite", "zeros", "steps")


def labels_of(number: int, metric: str = "adversarial") -> Labels:
    """Return the label set of a series."""
    shape = _SHAPES[number % len(_SHAPES)]
    return (("__name__", metric), ("number", str(number)), ("shape", shape))


def samples_of(number: int, *, seed: int, stale: bool = False) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return times (ms, from 0 to SPAN_MS, each once) and values of a series."""
    random = np.random.default_rng([seed, number])
    shape = _SHAPES[number % len(_SHAPES)]
    times = np.arange(0, SPAN_MS + 1, 15_000, dtype=np.int64)
    if number % 4 == 1:  # jitter
        times = np.unique(times + random.integers(-5, 6, len(times)) * 1000)
    if number % 5 == 2:  # gaps
        times = times[random.random(len(times)) > 0.4]
    if number % 5 == 3:  # an end and a beginning
        times = times[(times < SPAN_MS // 3) | (times > SPAN_MS // 2)]
    if number % 11 == 10:
        times = times[:1]
    count = len(times)
    values = _values(shape, count, random)
    if stale and count > 5:
        values[random.integers(0, count, max(1, count // 15))] = STALE
    return times, values


def _values(shape: str, count: int, random: np.random.Generator) -> NDArray[np.float64]:
    if shape == "counter":
        grown = np.cumsum(random.integers(0, 50, count).astype(np.float64))
        for reset in random.integers(0, count, 5):
            grown[reset:] -= grown[reset]
        return grown
    if shape == "constant":
        return np.full(count, 1e9 + 0.1)
    if shape == "huge":
        return random.random(count) * 1.7e308
    if shape == "cancelling":
        return np.asarray(random.choice([1e100, 1.0, -1e100, 1e-5, -1e16, 1e16], count))
    if shape == "zeros":
        return np.asarray(random.choice([0.0, -0.0, 1e-300, -5e-324], count))
    if shape == "steps":
        return np.floor(np.arange(count) / 3) * 0.1
    values = random.normal(10, 3, count)
    if shape == "nan":
        values[random.random(count) < 0.3] = np.nan
    if shape == "infinite":
        values[random.random(count) < 0.15] = np.inf
        values[random.random(count) < 0.1] = -np.inf
    return values


def points(count: int, *, seed: int = 1) -> Points:
    """Return the samples of `count` series, without stale markers."""
    found = [samples_of(number, seed=seed) for number in range(count)]
    bounds = np.cumsum([0, *(len(times) for times, _ in found)]).astype(np.int64)
    return Points(
        tuple(labels_of(number) for number in range(count)),
        bounds,
        np.concatenate([times for times, _ in found]),
        np.concatenate([values for _, values in found]),
    )
