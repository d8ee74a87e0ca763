"""Random expressions and chosen ones, asked of kobs's evaluation and of a real Prometheus 3 on the same samples.

Only the evaluation is asked: its samples are in memory, so that thousands of answers can be compared. Where Prometheus
itself has several right answers (ties of topk, which of several errors comes first), the expressions leave it out or
errors only have to be of the same kind.
"""

import pytest

from kobs.query.promql.values import Labels
from tests.oracle.comparing import difference, in_memory, theirs, write_series_to
from tests.oracle.expressions import BASE_MS, SPAN_MS, Expressions, samples
from tests.prometheus import Prometheus
from tests.query.promql.memory import Samples

SEED = 1
EXPRESSIONS = 600
STEPS_MS = (60_000, 47_000, 15_000, 300_000)


@pytest.fixture(scope="module")
def series(prometheus: Prometheus) -> dict[Labels, Samples]:
    made = samples(SEED)
    write_series_to(prometheus, made)
    return made


def compare(prometheus: Prometheus, series: dict[Labels, Samples], query: str, times_ms: tuple[int, int, int]) -> bool:
    """Compare both answers from a start to an end by a step, and their annotations; return whether there are points."""
    start_ms, end_ms, step_ms = times_ms
    expected, whole = theirs(prometheus, query, start_ms, end_ms, step_ms)
    found, notes = in_memory(query, series, start_ms, end_ms, step_ms)
    asked = f"{query} from {start_ms} to {end_ms} by {step_ms}"
    if isinstance(expected, str) or isinstance(found, str):
        assert isinstance(found, str), f"{asked}: {found} instead of {expected}"
        assert isinstance(expected, str), f"{asked}: {found} instead of {expected}"
        assert found[:25] == expected[:25], asked
        return False
    assert (where := difference(found, expected, relative=1e-9)) is None, f"{asked}: {where}"
    assert notes is not None
    for kind, told in (("warnings", notes.annotations().warnings), ("infos", notes.annotations().infos)):
        # Prometheus tells ten of each
        assert len(told) > 10 or sorted(whole.get(kind, [])) == sorted(told), asked
    return bool(expected)


def test_random_expressions(prometheus: Prometheus, series: dict[Labels, Samples]) -> None:
    made = Expressions(SEED)
    answered = 0
    for number in range(EXPRESSIONS):
        start_ms = BASE_MS + 600_000 + number % 7 * 1234 * (number % 2)
        end_ms = start_ms if number % 5 == 0 else start_ms + SPAN_MS // 2
        answered += compare(prometheus, series, made.one(), (start_ms, end_ms, STEPS_MS[number % 4]))
    assert answered > EXPRESSIONS // 3


CHOSEN = (
    # positions, and what the same words at several places come to
    "rate(g[5m])\n+ rate(h[5m])",
    "  increase((g{a='ö'} or g)[5m:1m])",
    "rate(( g[5m] ))",
    "sum(rate({__name__=~'g|h'}[5m]))",
    "quantile(1.5, g) + quantile(-Inf, h) + quantile(1234567, h)",
    "quantile_over_time(-0.00001, g[5m])",
    "histogram_quantile(2, b_bucket) or histogram_quantile((NaN), b_bucket)",
    "histogram_quantile(0.5, (g))",
    'histogram_quantile(0.5, label_replace(g, "le", "x\\"$1", "a", "(.*)"))',
    "limit_ratio(-1.5, g) and limit_ratio(1.5, h)",
    # errors
    'abs({__name__=~"g|h"})',
    '-{__name__=~"g|h"}',
    'rate({__name__=~"g|h"}[5m]) > 0',
    'label_replace(g, "t", "", "t", ".*") + 1',
    'label_replace(g, "", "", "t", ".*")',
    'label_join(g, "x", "", "")',
    'label_replace(g, "x", "", "t", "(")',
    'count_values("", g)',
    "topk(NaN, g)",
    "bottomk(1e100, g)",
    "limitk(-1e100 * 10, g) or limitk(-1e100, g)",
    "limit_ratio(NaN, g)",
    "g + on (a) h",
    "sum by (a) (g) + on (a) h",
    "g + on (a) group_left () h",
    "sum by (a) (g) + on (a) group_right (t) h",
    "g * on (a, b) group_left (b, t) sum by (a, b, t) (h)",
    "double_exponential_smoothing(g[5m], 0, 0.5)",
    "double_exponential_smoothing(g[5m], 0.5, 1)",
    # one step, no step, and steps of steps
    "sum_over_time(g[1m:10m])",
    "sum_over_time(g[10m:1m] offset -7s)",
    "max_over_time(rate(c_total[1m])[10m:])",
    "min_over_time(sum_over_time(g[2m:7s])[10m:13s] offset 1m)",
    "absent_over_time(nothing{a='1',b=~'2',c='3'}[5m])",
    "absent_over_time(g{a='1'}[1s])",
    "absent_over_time((g > 100)[5m:1m])",
    "absent(nothing{a='1',a='2',b='3'})",
    "absent(sum(nothing{a='1'}))",
    # what is the same at every moment
    "sum(g @ end()) + time()",
    "rate(c_total[5m] @ 1700001000) * 2",
    "predict_linear(g[10m] @ 1700001000, 3600)",
    "timestamp(g @ 1700001000)",
    "timestamp(timestamp(g))",
    "timestamp(-g)",
    "timestamp((g))",
    "quantile_over_time(scalar(h{a='0',b='0'}) / 10, g[5m] @ 1700001000)",
    "vector(time()) - vector(1)",
    "(g @ start()) - (g @ end())",
    "avg_over_time((g @ 1700001000)[5m:1m])",
    # names, numbers, sets
    "g + ignoring (t) h",
    "g == ignoring (t) h",
    "g > bool ignoring (t) h",
    "1 > bool 2",
    "(1 - 2) ^ 0.5 % 3",
    "scalar(g) + vector(scalar(sum(h)))",
    "{__name__=~'g|h', a='1'} or {__name__=~'g|h'}",
    "sum by (__name__) ({__name__=~'g|h'})",
    "sum without (a, __name__) (g)",
    "count by (nothing, a) (g)",
    "count_values without (a, t) ('v', ceil(g / 5))",
    "count_values by (a) ('a', ceil(g / 5))",
    "-g ^ 2",
    "+g",
    "g atan2 ignoring (t) h",
    "year(vector(NaN)) + month(vector(-1e18)) + day_of_year(vector(4.1e9)) + days_in_month(vector(-3e9))",
    "round(g, 0) or round(h, -3)",
    "clamp(g, 3, scalar(sum(h)))",
    "clamp_max(g, NaN) or clamp_min(h, -Inf)",
    "histogram_fraction(-Inf, 1, b_bucket) + histogram_fraction(0.5, 0.5, b_bucket)",
    "histogram_quantile(0.9, sum by (le) (rate(b_bucket[5m])))",
    "histogram_quantile(0.9, sum by (a, le) (b_bucket) offset 1m)",
    "mad_over_time(g[5m]) + stddev_over_time(g[5m])",
    "sort_by_label(g, 't')",
)


@pytest.mark.parametrize("query", CHOSEN)
def test_chosen_expressions(query: str, prometheus: Prometheus, series: dict[Labels, Samples]) -> None:
    for start_ms, end_ms in ((1_200_000, 1_200_000), (600_000, 2_400_000), (601_234, 3_000_000)):
        compare(prometheus, series, query, (BASE_MS + start_ms, BASE_MS + end_ms, 60_000))
