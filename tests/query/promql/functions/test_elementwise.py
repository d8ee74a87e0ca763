"""Functions of one number and of dates, at their edges and against the standard library."""

import datetime as dt
import math
from collections.abc import Callable

import numpy as np
import pytest

from kobs.query.promql.functions.dates import DATES
from kobs.query.promql.functions.mathematics import ELEMENTWISE, greater, lesser, rounded

INF, NAN = math.inf, math.nan
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
VALUES = [0.0, -0.0, 0.3, -0.3, 1.0, -1.0, 2.5, -2.5, 1000.0, 1e-300, 1e300, 700.0]


def apply(function: str, value: float) -> float:
    return float(ELEMENTWISE[function](np.array([[value]]))[0, 0])


PLAIN: dict[str, Callable[[float], float]] = {
    **{name: getattr(math, name) for name in ("acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos")},
    **{name: getattr(math, name) for name in ("cosh", "exp", "floor", "log10", "log2", "sin", "sinh", "sqrt", "tan")},
    "abs": abs,
    "deg": math.degrees,
    "ln": math.log,
    "rad": math.radians,
    "sgn": lambda value: math.copysign(1, value) if value else value,
    "tanh": math.tanh,
}


def test_every_function_is_compared() -> None:
    assert set(PLAIN) == set(ELEMENTWISE)


@pytest.mark.parametrize("function", sorted(ELEMENTWISE))
def test_functions_of_a_number(function: str) -> None:
    for value in VALUES:
        try:
            expected = PLAIN[function](value)
        except ValueError:
            expected = {("ln", 0.0): -INF, ("log2", 0.0): -INF, ("log10", 0.0): -INF}.get((function, value), NAN)
            if function == "atanh" and abs(value) == 1:
                expected = math.copysign(INF, value)
        except OverflowError:
            expected = -INF if function == "sinh" and value < 0 else INF
        assert apply(function, value) == pytest.approx(expected, rel=1e-14, nan_ok=True), value


@pytest.mark.parametrize(
    ("function", "value", "expected"),
    [
        ("ceil", -0.3, -0.0),
        ("sgn", -0.0, -0.0),
        ("sgn", NAN, NAN),
        ("sqrt", -0.0, -0.0),
        ("log2", 8.0, 3.0),
        ("log2", 5e-324, -1074.0),
        ("log10", 1000.0, 2.9999999999999996),
        ("exp", -INF, 0.0),
        ("ln", -1.0, NAN),
        ("ln", INF, INF),
        ("log10", INF, INF),
        ("acosh", 0.5, NAN),
        ("sin", INF, NAN),
    ],
    ids=str,
)
def test_edges_are_those_of_go(function: str, value: float, expected: float) -> None:
    assert repr(apply(function, value)) == repr(expected)


def test_rounding_goes_up_from_the_middle() -> None:
    values = np.array([2.5, -2.5, 0.49, 7.0, NAN, INF])
    assert repr(rounded(values, np.array([1.0])).tolist()) == "[3.0, -2.0, 0.0, 7.0, nan, inf]"
    assert rounded(np.array([0.12345]), np.array([0.001]))[0] == 0.123
    assert rounded(np.array([7.0]), np.array([5.0]))[0] == 5.0


def test_lesser_and_greater_of_two() -> None:
    one = np.array([0.0, -0.0, NAN, NAN, NAN, 1.0, -INF])
    other = np.array([-0.0, 0.0, 1.0, INF, -INF, NAN, NAN])
    assert repr(lesser(one, other).tolist()) == "[-0.0, -0.0, nan, nan, -inf, nan, -inf]"
    assert repr(greater(one, other).tolist()) == "[0.0, 0.0, nan, inf, nan, nan, nan]"


PARTS: dict[str, Callable[[dt.datetime], int]] = {
    "day_of_month": lambda at: at.day,
    "day_of_week": lambda at: at.isoweekday() % 7,
    "day_of_year": lambda at: at.timetuple().tm_yday,
    "days_in_month": lambda at: ((at.replace(day=28) + dt.timedelta(days=4)).replace(day=1) - dt.timedelta(days=1)).day,
    "hour": lambda at: at.hour,
    "minute": lambda at: at.minute,
    "month": lambda at: at.month,
    "year": lambda at: at.year,
}


@pytest.mark.parametrize("function", sorted(DATES))
def test_parts_of_dates(function: str) -> None:
    first = dt.datetime(1601, 1, 1, tzinfo=dt.UTC)
    times = [first + dt.timedelta(days=day * 13.77) for day in range(20_000)]
    times += [
        dt.datetime(year, month, 28, 23, 59, tzinfo=dt.UTC) for year in (1900, 2000, 2024) for month in range(1, 13)
    ]
    times += [dt.datetime(2024, 2, 29, tzinfo=dt.UTC), dt.datetime(1969, 12, 31, 23, 59, 59, tzinfo=dt.UTC)]
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    seconds = np.array([(at - epoch).total_seconds() for at in times])
    whole = [epoch + dt.timedelta(seconds=math.trunc(second)) for second in seconds]
    assert DATES[function](seconds).tolist() == [PARTS[function](at) for at in whole]


@pytest.mark.parametrize("function", sorted(DATES))
def test_what_is_no_time_is_the_earliest_one(function: str) -> None:
    found = DATES[function](np.array([NAN, INF, -INF, 1e30, -(2.0**63)]))
    assert len(set(found.tolist())) == 1
