"""A request's parameters: checked names, single and repeatable ones, times and numbers, and what is wrong with them."""

import datetime as dt
import re
from collections.abc import Iterable

from kobs.errors import QueryError
from kobs.model.log_filter import SourceFilter
from kobs.query.logs import LAST_NS

SOURCE_NAMES = frozenset({"cluster", "namespace", "pod", "container", "node"})
"""Repeatable parameters: exact values of labels."""

_MOST_VALUES = 1000
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)")
_DIGITS = re.compile(r"\d{1,19}")


class Parameters:
    """The parameters of one request, by name."""

    def __init__(
        self, items: Iterable[tuple[str, str]], *, single: frozenset[str], repeatable: frozenset[str] = frozenset()
    ) -> None:
        """Check the names.

        Raises: QueryError for an unknown name, a single one that comes twice, or values without end.
        """
        self._values: dict[str, list[str]] = {}
        for name, value in items:
            if name not in single and name not in repeatable:
                known = ", ".join(sorted(single | repeatable)) or "none"
                raise QueryError(f"{name[:100]}: unknown parameter; this endpoint knows {known}")
            values = self._values.setdefault(name, [])
            values.append(value)
            if name in single and len(values) > 1:
                raise QueryError(f"{name}: comes twice; it takes one value")
            if len(values) > _MOST_VALUES:
                raise QueryError(f"{name}: more than {_MOST_VALUES} values; ask in several requests")

    def text(self, name: str) -> str | None:
        """Return a single parameter's value, None where it is not there."""
        return next(iter(self._values.get(name, ())), None)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a repeatable parameter's different values, sorted."""
        return tuple(sorted(set(self._values.get(name, ()))))

    def integer(self, name: str, *, default: int, least: int, most: int, setting: str = "") -> int:
        """Return a whole number between bounds; `setting` names what the upper bound comes from.

        Raises: QueryError.
        """
        value = self.text(name)
        if value is None:
            return min(default, most)
        if _DIGITS.fullmatch(value) is None:
            raise QueryError(f"{name}={value[:100]!r}: expected a whole number from {least} to {most}")
        number = int(value)
        if number > most and setting:
            raise QueryError(
                f"{name}={number}: the limit is {most} ({setting}); ask for fewer and go on with the answer's cursor"
            )
        if not least <= number <= most:
            raise QueryError(f"{name}={number}: expected a whole number from {least} to {most}")
        return number

    def choice(self, name: str, *, default: str, choices: tuple[str, ...]) -> str:
        """Return one of some words.

        Raises: QueryError.
        """
        value = self.text(name)
        if value is None:
            return default
        if value not in choices:
            raise QueryError(f"{name}={value[:100]!r}: expected {' or '.join(choices)}")
        return value

    def time_ns(self, name: str) -> int | None:
        """Return a time as ns since 1970 UTC: given so, or in RFC 3339.

        Raises: QueryError.
        """
        value = self.text(name)
        return None if value is None else parse_time_ns(value, name=name)

    def sources(self) -> SourceFilter:
        """Return the filter of sources by SOURCE_NAMES."""
        return SourceFilter(
            clusters=self.texts("cluster"),
            namespaces=self.texts("namespace"),
            pods=self.texts("pod"),
            containers=self.texts("container"),
            nodes=self.texts("node"),
        )

    def window_ns(self) -> tuple[int | None, int | None]:
        """Return `start` and `end`.

        Raises: QueryError, also where the end is before the start.
        """
        start_ns, end_ns = self.time_ns("start"), self.time_ns("end")
        if start_ns is not None and end_ns is not None and end_ns < start_ns:
            raise QueryError(f"end={self.text('end')}: it is before start={self.text('start')}; swap them")
        return start_ns, end_ns


def parse_time_ns(value: str, *, name: str) -> int:
    """Return a time given as integer ns since 1970 UTC, or in RFC 3339, as ns.

    Raises: QueryError.
    """
    if _DIGITS.fullmatch(value) is not None and int(value) <= LAST_NS:
        return int(value)
    found = _TIME.fullmatch(value)
    if found is None:
        hint = "; in a URL, + is written %2B" if re.search(r"\d \d\d:\d\d$", value) else ""
        raise QueryError(
            f"{name}={value[:100]!r}: expected nanoseconds since 1970 as an integer, or RFC 3339 such as "
            f"2026-01-02T15:04:05Z{hint}"
        )
    day, clock, fraction, zone = found.groups()
    try:
        moment = dt.datetime.fromisoformat(f"{day}T{clock}{zone.upper().replace('Z', '+00:00')}")
    except ValueError as error:
        raise QueryError(f"{name}={value[:100]!r}: no such time ({error})") from None
    since = moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    time_ns = (since.days * 86_400 + since.seconds) * 1_000_000_000 + int((fraction or "").ljust(9, "0"))
    if not 0 <= time_ns <= LAST_NS:
        raise QueryError(f"{name}={value[:100]!r}: expected a time from 1970 to 2262")
    return time_ns
