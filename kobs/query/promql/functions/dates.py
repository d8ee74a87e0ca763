"""Parts of dates: seconds since 1970 arrive as floats, parts of the day and the year in UTC leave.

Source: Go's `time`, its conversion of floats to integers (towards zero; what has no integer is the least one).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]

_DAY_SECONDS = 86_400
_ERA_DAYS, _ERA_YEARS = 146_097, 400
_DAYS_TO_1970 = 719_468
"""From 1 March of the year 0."""
_DAYS_BEFORE_MONTH = np.array([0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334], dtype=np.int64)
_DAYS_IN_MONTH = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], dtype=np.int64)


def _seconds(values: Floats) -> _Integers:
    inside = (values >= -(2.0**63)) & (values < 2.0**63)
    return np.where(inside, np.where(inside, values, 0.0).astype(np.int64), np.iinfo(np.int64).min)


def _days(values: Floats) -> _Integers:
    return np.floor_divide(_seconds(values), _DAY_SECONDS)


def _of_day(values: Floats) -> _Integers:
    return np.mod(_seconds(values), _DAY_SECONDS)


def _date(values: Floats) -> tuple[_Integers, _Integers, _Integers]:
    """Return years, months from 1, days from 1, of the Gregorian calendar at all times."""
    days = _days(values) + _DAYS_TO_1970
    era = np.floor_divide(days, _ERA_DAYS)
    of_era = days - era * _ERA_DAYS
    year_of_era = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    # years that begin in March, so that the leap day is the last of one
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_from_march = (5 * of_year + 2) // 153
    day = of_year - (153 * month_from_march + 2) // 5 + 1
    month = np.where(month_from_march < 10, month_from_march + 3, month_from_march - 9)
    return year_of_era + era * _ERA_YEARS + (month <= 2), month, day


def _is_leap(year: _Integers) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    return found


def _floats(numbers: _Integers) -> Floats:
    return np.asarray(numbers, dtype=np.float64)


def _day_of_year(values: Floats) -> Floats:
    year, month, day = _date(values)
    return _floats(_DAYS_BEFORE_MONTH[month - 1] + day + (_is_leap(year) & (month > 2)))


def _days_in_month(values: Floats) -> Floats:
    year, month, _ = _date(values)
    return _floats(_DAYS_IN_MONTH[month - 1] + (_is_leap(year) & (month == 2)))


DATES: dict[str, Callable[[Floats], Floats]] = {
    "day_of_month": lambda values: _floats(_date(values)[2]),
    "day_of_week": lambda values: _floats(np.mod(_days(values) + 4, 7)),
    "day_of_year": _day_of_year,
    "days_in_month": _days_in_month,
    "hour": lambda values: _floats(_of_day(values) // 3600),
    "minute": lambda values: _floats(_of_day(values) // 60 % 60),
    "month": lambda values: _floats(_date(values)[1]),
    "year": lambda values: _floats(_date(values)[0]),
}
