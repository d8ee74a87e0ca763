"""Classic histograms against one that is worked out bucket by bucket; what is missing, doubled or does not grow."""

import math

import numpy as np
import pytest

from kobs.errors import QueryEvaluationError
from kobs.query.promql.functions.histograms import bound, fractions, quantiles
from kobs.query.promql.notes import Notes
from kobs.query.promql.values import Block, Labels
from tests.query.promql.vectors import Row, same, told, vector

INF, NAN = math.inf, math.nan
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
Buckets = list[tuple[float, float]]


def almost(one: float, other: float) -> bool:
    if one == other or (math.isnan(one) and math.isnan(other)):
        return True
    total, difference = abs(one) + abs(other), abs(one - other)
    if one == 0 or other == 0 or total < 2.0**-1022:
        return difference < 1e-12 * 2.0**-1022
    return difference / min(total, 1.7976931348623157e308) < 1e-12


def joined(buckets: Buckets) -> Buckets:
    found: Buckets = []
    for upper, count in sorted(buckets, key=lambda bucket: bucket[0]):
        if found and found[-1][0] == upper:
            found[-1] = (upper, found[-1][1] + count)
        else:
            found.append((upper, count))
    return found


def plain_quantile(q: float, given: Buckets) -> tuple[float, bool]:
    if math.isnan(q) or q < 0 or q > 1:
        return (NAN if math.isnan(q) else -INF if q < 0 else INF), False
    buckets = joined(given)
    if buckets[-1][0] != INF:
        return NAN, False
    forced, before = False, buckets[0][1]
    for index, (upper, count) in enumerate(buckets[1:], 1):
        if count == before:
            continue
        if almost(before, count) or count < before:
            forced |= not almost(before, count)
            buckets[index] = (upper, before)
            continue
        before = count
    if len(buckets) < 2 or buckets[-1][1] == 0:
        return NAN, False
    rank = q * buckets[-1][1]
    index = next((n for n, (_, count) in enumerate(buckets[:-1]) if count >= rank), len(buckets) - 1)
    if index == len(buckets) - 1:
        return buckets[-2][0], forced
    if index == 0 and buckets[0][0] <= 0:
        return buckets[0][0], forced
    start, below = (0.0, 0.0) if index == 0 else buckets[index - 1]
    upper, count = buckets[index]
    with np.errstate(all="ignore"):
        share = float(np.float64(rank - below) / np.float64(count - below))
    return start + (upper - start) * share, forced


def plain_fraction(lower: float, upper: float, given: Buckets) -> float:
    buckets = joined(given)
    total = buckets[-1][1]
    if buckets[-1][0] != INF or total == 0 or math.isnan(lower) or math.isnan(upper):
        return NAN
    if lower >= upper:
        return 0.0

    def rank(value: float) -> float:
        start, before = 0.0 if buckets[0][0] > 0 else -INF, 0.0
        for end, count in buckets:
            if start >= value:
                return min(before, total)
            if end > value:
                share = count if start == -INF else before + (count - before) * (value - start) / (end - start)
                return min(share, total)
            start, before = end, count
        return total

    return (rank(upper) - rank(lower)) / total


def random_histograms(seed: int) -> Block:
    """Return histograms of which buckets are missing here and there, counts do not grow, or bounds are doubled."""
    random = np.random.default_rng(seed)
    labels: list[Labels] = []
    for number in range(12):
        texts = random.choice(["-1", "0", "0.5", "1", "1.0", "2.5", "10", "+Inf", "Inf"], 6, replace=False).tolist()
        labels += [(("h", str(number)), ("le", text)) for text in texts + (["+inf"] if number % 3 else [])]
    values = np.sort(random.integers(0, 30, (len(labels), 40)), axis=0).astype(float)
    values[random.random(values.shape) < 0.1] *= 0.5
    return Block(tuple(labels), values, random.random(values.shape) < 0.9)


def buckets_at(block: Block, number: int, moment: int) -> Buckets:
    """Return the buckets of a histogram that are there at a moment."""
    rows = [row for row, labels in enumerate(block.labels) if labels[0] == ("h", str(number))]
    return [
        (float(block.labels[row][1][1]), block.values[row, moment].item()) for row in rows if block.present[row, moment]
    ]


@pytest.mark.parametrize("seed", range(5))
def test_quantiles_of_random_histograms(seed: int) -> None:
    block = random_histograms(seed)
    quantile = np.random.default_rng(seed).choice([0.0, 0.25, 0.5, 0.9, 1.0, -1.0, 1.5, NAN], 40)
    notes = Notes("m")
    found = quantiles(block, quantile, notes, at=0)
    forced = False
    rows = {labels[0][1]: row for row, labels in enumerate(found.labels)}
    for number in range(12):
        for moment in range(40):
            buckets = buckets_at(block, number, moment)
            assert found.present[rows[str(number)], moment] == bool(buckets)
            if buckets:
                expected, was_forced = plain_quantile(quantile[moment].item(), buckets)
                value = found.values[rows[str(number)], moment].item()
                assert repr(value) == repr(expected), (quantile[moment], buckets)
                forced |= was_forced
    assert bool(notes.annotations().infos) == forced


@pytest.mark.parametrize("seed", range(5))
def test_fractions_of_random_histograms(seed: int) -> None:
    block = random_histograms(seed)
    random = np.random.default_rng(seed)
    lower = random.choice([-INF, -2.0, 0.0, 0.3, 1.0, NAN, 5.0], 40)
    upper = random.choice([INF, 0.5, 0.7, 3.0, 20.0, NAN], 40)
    found = fractions(block, lower, upper, Notes("m"), at=0)
    rows = {labels[0][1]: row for row, labels in enumerate(found.labels)}
    for number in range(12):
        for moment in range(40):
            buckets = buckets_at(block, number, moment)
            assert found.present[rows[str(number)], moment] == bool(buckets)
            if buckets:
                expected = plain_fraction(lower[moment].item(), upper[moment].item(), buckets)
                value = found.values[rows[str(number)], moment].item()
                assert value == pytest.approx(expected, nan_ok=True, rel=1e-15), (lower[moment], upper[moment], buckets)


def test_labels_but_the_bound_and_the_name_stay() -> None:
    rows: dict[str, Row] = {"h a=1 le=1": [2.0], "h a=1 le=+Inf": [4.0], "h a=2 le=1": [0.0], "h a=2 le=+Inf": [4.0]}
    assert same(told(quantiles(vector(rows), np.array([0.25]), Notes("m"), at=0)), {" a=1": [0.5], " a=2": [1.0]})
    named = vector({"h le=1": [2.0], "h le=+Inf": [4.0], "g le=1": [2.0], "g le=+Inf": [4.0]})
    with pytest.raises(QueryEvaluationError, match="vector cannot contain metrics with the same labelset"):
        quantiles(named, np.array([0.25]), Notes("m"), at=0)


def test_bounds_that_are_no_numbers_are_warned_of_and_left_out() -> None:
    notes = Notes("histogram_quantile(0.5, m)")
    rows: dict[str, Row] = {"h le=1": [2.0], "h le=+Inf": [4.0], "h le=one": [9.0], "h": [8.0], "h le=gone": [None]}
    assert same(told(quantiles(vector(rows), np.array([0.5]), notes, at=24)), {"": [1.0]})
    said = 'PromQL warning: bucket label "le" is missing or has a malformed value of '
    assert list(notes.annotations().warnings) == [f'{said}"one" (1:25)', f'{said}"" (1:25)']


def test_what_rounding_makes_is_not_told() -> None:
    notes = Notes("m")
    rows: dict[str, Row] = {"h le=1": [1.0], "h le=2": [1.0 - 1e-14], "h le=+Inf": [2.0]}
    quantiles(vector(rows), np.array([0.5]), notes, at=0)
    assert not notes.annotations().infos
    rows["h le=2"] = [0.9]
    quantiles(vector(rows), np.array([0.5]), notes, at=0)
    assert len(notes.annotations().infos) == 1


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1.0),
        ("+1.5e3", 1500.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("0x1p-2", 0.25),
        ("+Inf", INF),
        ("-inf", -INF),
        ("infinity", INF),
        ("", None),
        ("one", None),
        ("1_000", None),
        (" 1", None),
        ("1e999", None),
        ("0x1", None),
        ("\u0661", None),
    ],
)
def test_numbers_of_bounds(text: str, number: float | None) -> None:
    assert bound(text) == number
