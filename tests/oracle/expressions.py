"""Random PromQL of every kind over a few metrics, and their samples: gaps, stale markers, NaN, infinities, resets."""

import struct

import numpy as np

from kobs.model.samples import STALE_NAN_BITS
from kobs.query.promql.values import Labels
from tests.query.promql.memory import Samples

STALE = struct.unpack("<d", struct.pack("<Q", STALE_NAN_BITS))[0]
BASE_MS = 1_700_000_000_000
SPAN_MS = 3_600_000
SCRAPE_MS = 15_000
BOUNDS = ("-1", "0", "0.1", "0.5", "1", "1.0", "2.5", "+Inf")

_GAUGES = ("g", "h")
_EACH = (
    *("abs", "ceil", "floor", "exp", "ln", "log2", "log10", "sqrt", "sgn", "deg", "rad", "sin", "cos", "tan", "atan"),
    *("asin", "acos", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "sort", "sort_desc", "timestamp", "round"),
    *("hour", "minute", "month", "year", "day_of_week", "day_of_month", "day_of_year", "days_in_month", "absent"),
)
_OVER_TIME = (
    *("rate", "increase", "delta", "irate", "idelta", "deriv", "changes", "resets", "absent_over_time"),
    *("avg_over_time", "min_over_time", "max_over_time", "sum_over_time", "count_over_time", "stddev_over_time"),
    *("stdvar_over_time", "last_over_time", "present_over_time", "mad_over_time"),
)
_AGGREGATIONS = ("sum", "avg", "min", "max", "count", "group", "stddev", "stdvar")


def samples(seed: int) -> dict[Labels, Samples]:
    """Return series of gauges `g` and `h`, counters `c_total` and histograms `b_bucket` from BASE_MS for SPAN_MS."""
    random = np.random.default_rng(seed)
    times = np.arange(BASE_MS, BASE_MS + SPAN_MS, SCRAPE_MS, dtype=np.int64)
    found: dict[Labels, Samples] = {}
    for name in _GAUGES:
        for number in range(6):
            values = np.round(random.normal(0, 5, len(times)), int(random.integers(0, 4)))
            values[random.random(len(times)) < 0.03] = random.choice([np.nan, np.inf, -np.inf, 0.0, -0.0])
            labels = {"__name__": name, "a": str(number % 3), "b": str(number // 3), "t": str(times[number])}
            _add(found, random, labels, times, values)
    for number in range(4):
        values = np.cumsum(random.integers(0, 20, len(times))).astype(float)
        for reset in random.integers(0, len(times), 3).tolist():
            values[reset:] -= values[reset]
        labels = {"__name__": "c_total", "a": str(number % 2), "b": str(number // 2)}
        _add(found, random, labels, times, values)
    for number in range(3):
        counts = np.cumsum(np.cumsum(random.poisson(0.7, (len(times), len(BOUNDS))), axis=0), axis=1)
        for index, bound in enumerate(BOUNDS):
            values = counts[:, index] * (1 - (random.random(len(times)) < 0.02) * 0.3)
            labels = {"__name__": "b_bucket", "a": str(number), "le": bound}
            _add(found, random, labels, times, values, gaps=0.002)
    return found


def _add(
    found: dict[Labels, Samples],
    random: np.random.Generator,
    labels: dict[str, str],
    times: np.ndarray,  # type: ignore[type-arg]  # int64 (N,)
    values: np.ndarray,  # type: ignore[type-arg]  # float64 (N,)
    *,
    gaps: float = 0.01,
) -> None:
    keep = np.ones(len(times), dtype=bool)
    shown = values.astype(float)
    for start in np.flatnonzero(random.random(len(times)) < gaps).tolist():
        shown[start] = STALE
        keep[start + 1 : start + int(random.integers(2, 60))] = False
    found[tuple(sorted(labels.items()))] = times[keep], shown[keep]


class Expressions:
    """Makes expressions, the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def one(self, depth: int = 3) -> str:
        """Return an expression whose value is a vector or a number."""
        return self.vector(depth) if self._random.random() < 0.9 else self.number(depth)

    def vector(self, depth: int) -> str:
        """Return an expression whose value is an instant vector."""
        if depth <= 0 or self._random.random() < 0.1:
            return self.selector() + self.modifiers()
        return self._of(
            [self._each, self._over_time, self._aggregation, self._binary, self._binary, self._with_number, self._other]
        )(depth - 1)

    def number(self, depth: int) -> str:
        """Return an expression whose value is a number."""
        if depth <= 0 or self._random.random() < 0.6:
            return self._choice(["0", "1", "2.5", "-1", "NaN", "Inf", "-Inf", "0.5", "time()", "pi()", "1e3", "5m"])
        if self._random.random() < 0.5:
            return f"scalar({self.vector(depth - 1)})"
        operator = self._choice(["+", "-", "*", "/", "%", "^", "atan2", "> bool", "== bool"])
        return f"({self.number(depth - 1)} {operator} {self.number(depth - 1)})"

    def selector(self) -> str:
        """Return a selector without modifiers."""
        name = self._choice(["g", "h", "g", "h", "c_total", "b_bucket"])
        return self._choice(
            [
                *(name, name, f'{name}{{a="1"}}', f'{name}{{a!="0"}}', f'{name}{{b=~"0|1",a="0"}}'),
                *(f'{name}{{b=""}}', '{__name__=~"g|h"}', f'{name}{{a="9"}}'),
            ]
        )

    def modifiers(self) -> str:
        """Return `offset`, `@`, both or nothing."""
        seconds = (BASE_MS // 1000) + int(self._random.integers(0, SPAN_MS // 1000))
        return self._choice(
            ["", "", "", "", " offset 3m", " offset -2m", f" @ {seconds}", " @ start()", f" @ {seconds}.5 offset 1m"]
        )

    def _each(self, depth: int) -> str:
        inner = self.vector(depth)
        return self._choice(
            [f"{self._choice(_EACH)}({inner})"] * 3
            + [
                f"clamp({inner}, {self.number(0)}, {self.number(0)})",
                f"clamp_min({inner}, {self.number(depth)})",
                f"clamp_max({inner}, {self.number(depth)})",
                f"round({inner}, {self.number(0)})",
                f"-({inner})",
                f"+{inner}",
                f"({inner})",
            ]
        )

    def _over_time(self, depth: int) -> str:
        length = self._choice(["15s", "1m", "4m", "137s", "10m"])
        number = self.number(depth)
        if depth <= 0 or self._random.random() < 0.6:
            ranged = f"{self.selector()}[{length}]{self.modifiers()}"
            predicted = f"predict_linear({ranged}, {self.number(0)})"
        else:
            step = self._choice(["", "30s", "47s", "1m"])
            at = self._choice(["", "", " @ start()", f" @ {BASE_MS // 1000 + 1844}"])
            ranged = f"({self.vector(depth)})[{length}:{step}]{at}"
            # a subquery with `@` makes Prometheus fail where the rest is not the same at every moment, and with an
            # offset as well it misplaces an `@` inside of it
            number, predicted = self._choice(["0.5", "0.9", "0", "1", "2"]), f"deriv({ranged})"
        return self._choice(
            [
                *[f"{self._choice(_OVER_TIME)}({ranged})"] * 5,
                f"quantile_over_time({number}, {ranged})",
                predicted,
                f"double_exponential_smoothing({ranged}, 0.3, 0.7)",
            ]
        )

    def _aggregation(self, depth: int) -> str:
        labels = self._choice(["", " by (a)", " by (a, b)", " without (a)", " without ()", " by (le)", " without (le)"])
        inner = self.vector(depth)
        return self._choice(
            [f"{self._choice(_AGGREGATIONS)}{labels} ({inner})"] * 3
            + [
                f"quantile{labels} ({self.number(0)}, {self.selector()})",
                f"quantile{labels} ({self._choice(['0.5', '0.9', '0', '1', '0.33'])}, {inner})",
                f'count_values{labels} ("v", round({inner}, 0.1))',
                # of values that differ: which of equal ones is chosen is not told
                f"topk{labels} ({self._choice(['1', '2', '3.7', '0'])}, deriv(c_total[7m]))",
                f"bottomk{labels} (100, {inner})",
                f"limit_ratio{labels} ({self._choice(['0.5', '-0.5', '1', '2'])}, {inner})",
            ]
        )

    def _binary(self, depth: int) -> str:
        left, right = self.vector(depth), self.vector(depth)
        if self._random.random() < 0.4:
            how = self._choice(["", "on (a)", "on (a, b)", "ignoring (b)", "on ()"])
            return f"({left}) {self._choice(['and', 'or', 'unless'])} {how} ({right})"
        operator = self._choice(
            ["+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<", ">=", "<= bool", "> bool"]
        )
        if self._random.random() < 0.5:
            # sides that match by their make
            left, right = f"sum by (a) ({left})", f"max by (a) ({right})"
        how = self._choice(
            [
                *("", "", "on (a)", "on (a, b)", "ignoring (b)", "on (a) group_left ()", "on (a) group_right (b)"),
                *("ignoring (b, le) group_left (b)", "on (b) group_left (le)"),
            ]
        )
        return f"({left}) {operator} {how} ({right})"

    def _with_number(self, depth: int) -> str:
        operator = self._choice(["+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<", ">= bool", "<", ">"])
        sides = [f"({self.vector(depth)})", self.number(depth)]
        if self._random.random() < 0.5:
            sides.reverse()
        return f"{sides[0]} {operator} {sides[1]}"

    def _other(self, depth: int) -> str:
        inner = self.vector(depth)
        return self._choice(
            [
                f'label_replace({inner}, "n", "$1-x", "a", "(.*)")',
                f'label_replace({inner}, "a", "", "b", "1")',
                f'label_join({inner}, "n", "-", "a", "b")',
                f"vector({self.number(depth)})",
                f"histogram_quantile({self._choice(['0.5', '0.9', '0', '1', '0.01'])}, b_bucket{self.modifiers()})",
                f"histogram_quantile({self.number(1)}, rate(b_bucket[2m]))",
                f"histogram_quantile(0.5, {inner})",
                f"histogram_fraction({self.number(0)}, {self.number(0)}, b_bucket)",
                f"histogram_fraction(0.2, {self._choice(['0.7', '1', 'Inf', '3'])}, sum by (le) (rate(b_bucket[2m])))",
                self._choice(["hour()", "minute()", "day_of_year()", "vector(time())"]),
            ]
        )

    def _choice(self, among: "list[str] | tuple[str, ...]") -> str:
        return among[int(self._random.integers(len(among)))]

    def _of(self, among: list) -> "object":  # type: ignore[type-arg]
        return among[int(self._random.integers(len(among)))]
