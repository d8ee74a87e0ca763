"""Range functions written down plainly, a window at a time, from what Prometheus' documentation says they mean.

Sums are exact (`math.fsum`) and regressions are made of fractions, so that this is no second copy of the same rounding.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Window:
    """Times (ms) and values of the samples of a window, in the order of time, and its two ends."""

    samples: Sequence[tuple[int, float]]
    start_ms: int
    end_ms: int

    def values(self) -> list[float]:
        return [value for _, value in self.samples]

    def pairs(self) -> list[tuple[float, float]]:
        """Return each value with the next."""
        return list(itertools.pairwise(self.values()))

    def seconds(self) -> float:
        return (self.end_ms - self.start_ms) / 1000


def rate(window: Window) -> float | None:
    return _extrapolated(window, is_counter=True, seconds=window.seconds())


def increase(window: Window) -> float | None:
    return _extrapolated(window, is_counter=True)


def delta(window: Window) -> float | None:
    return _extrapolated(window, is_counter=False)


def _extrapolated(window: Window, *, is_counter: bool, seconds: float = 1.0) -> float | None:
    if len(window.samples) < 2:
        return None
    grown = window.samples[-1][1] - window.samples[0][1]
    if is_counter:
        grown += sum(before for before, now in window.pairs() if now < before)
    covered = (window.samples[-1][0] - window.samples[0][0]) / 1000
    distance = covered / (len(window.samples) - 1)
    to_start = (window.samples[0][0] - window.start_ms) / 1000
    to_end = (window.end_ms - window.samples[-1][0]) / 1000
    to_start = distance / 2 if to_start >= distance * 1.1 else to_start
    to_end = distance / 2 if to_end >= distance * 1.1 else to_end
    if is_counter and grown > 0 and window.samples[0][1] >= 0:
        to_start = min(to_start, covered * (window.samples[0][1] / grown))
    return grown * ((covered + to_start + to_end) / covered / seconds)


def irate(window: Window) -> float | None:
    if len(window.samples) < 2:
        return None
    (then_ms, then), (now_ms, now) = window.samples[-2:]
    return (now if now < then else now - then) / ((now_ms - then_ms) / 1000)


def idelta(window: Window) -> float | None:
    return None if len(window.samples) < 2 else window.samples[-1][1] - window.samples[-2][1]


def changes(window: Window) -> float | None:
    found = sum(1 for a, b in window.pairs() if a != b and not (math.isnan(a) and math.isnan(b)))
    return found if window.samples else None


def resets(window: Window) -> float | None:
    return sum(1 for a, b in window.pairs() if b < a) if window.samples else None


def count_over_time(window: Window) -> float | None:
    return len(window.samples) or None


def present_over_time(window: Window) -> float | None:
    return 1 if window.samples else None


def last_over_time(window: Window) -> float | None:
    return window.samples[-1][1] if window.samples else None


def min_over_time(window: Window) -> float | None:
    numbers = [value for value in window.values() if not math.isnan(value)]
    return min(numbers) if numbers else math.nan if window.samples else None


def max_over_time(window: Window) -> float | None:
    numbers = [value for value in window.values() if not math.isnan(value)]
    return max(numbers) if numbers else math.nan if window.samples else None


def sum_over_time(window: Window) -> float | None:
    return _sum(window.values()) if window.samples else None


def avg_over_time(window: Window) -> float | None:
    if not window.samples:
        return None
    values = window.values()
    if all(map(math.isfinite, values)):
        return float(sum(map(Fraction, values)) / len(values))
    return _sum(values)


def quantile_over_time(window: Window, level: float) -> float | None:
    if not window.samples:
        return None
    if math.isnan(level) or not 0 <= level <= 1:
        return math.nan if math.isnan(level) else math.copysign(math.inf, level)
    return _quantile(window.values(), level)


def mad_over_time(window: Window) -> float | None:
    if not window.samples:
        return None
    middle = _quantile(window.values(), 0.5)
    return _quantile([abs(value - middle) for value in window.values()], 0.5)


def stdvar_over_time(window: Window) -> float | None:
    if not window.samples:
        return None
    values = window.values()
    if not all(map(math.isfinite, values)):
        return math.nan
    mean = sum(map(Fraction, values)) / len(values)
    variance = sum((Fraction(value) - mean) ** 2 for value in values) / len(values)
    try:
        return float(variance)
    except OverflowError:
        return math.inf


def stddev_over_time(window: Window) -> float | None:
    variance = stdvar_over_time(window)
    return None if variance is None else math.sqrt(variance)


def deriv(window: Window) -> float | None:
    line = _line(window)
    return None if line is None else line[0]


def predict_linear(window: Window, seconds: float) -> float | None:
    line = _line(window)
    return None if line is None else line[0] * seconds + line[1]


def _line(window: Window) -> tuple[float, float] | None:
    """Return slope and value of the line of least squares at the window's end."""
    if len(window.samples) < 2:
        return None
    if not all(map(math.isfinite, window.values())):
        return math.nan, math.nan
    xs = [Fraction(time_ms - window.end_ms, 1000) for time_ms, _ in window.samples]
    ys = [Fraction(value) for value in window.values()]
    x_mean, y_mean = sum(xs) / len(xs), sum(ys) / len(ys)
    slope = sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True)) / sum((x - x_mean) ** 2 for x in xs)
    return float(slope), float(y_mean - slope * x_mean)


def double_exponential_smoothing(window: Window, smoothing: float, trend: float) -> float | None:
    if len(window.samples) < 2:
        return None
    before, level = 0.0, window.samples[0][1]
    slope = window.samples[1][1] - level
    for number, (_, value) in enumerate(window.samples[1:]):
        if number:
            slope = trend * (level - before) + (1 - trend) * slope
        before, level = level, smoothing * value + (1 - smoothing) * (level + slope)
    return level


def _quantile(values: list[float], level: float) -> float:
    ordered = sorted(values, key=lambda value: (not math.isnan(value), 0.0 if math.isnan(value) else value))
    place = level * (len(ordered) - 1)
    low = math.floor(place)
    high = min(len(ordered) - 1, low + 1)
    return ordered[low] * (1 - (place - low)) + ordered[high] * (place - low)


def _sum(values: list[float]) -> float:
    if not all(map(math.isfinite, values)):
        return sum(values)
    try:
        return float(sum(map(Fraction, values)))
    except OverflowError:
        return math.inf


FUNCTIONS: dict[str, Callable[..., float | None]] = {
    each.__name__: each
    for each in (
        rate,
        increase,
        delta,
        irate,
        idelta,
        changes,
        resets,
        count_over_time,
        present_over_time,
        last_over_time,
        min_over_time,
        max_over_time,
        sum_over_time,
        avg_over_time,
        quantile_over_time,
        mad_over_time,
        stdvar_over_time,
        stddev_over_time,
        deriv,
        predict_linear,
        double_exponential_smoothing,
    )
}
