"""What a benchmark found, and the table of all of them."""

import json
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One figure beside its budget."""

    name: str
    """The benchmark, as it is named on the command line."""
    work: str
    measured: float
    unit: str
    budget: float | None = None
    """None: told for its own sake."""
    more_is_better: bool = False
    data: str
    """What it was measured on."""

    @property
    def is_met(self) -> bool | None:
        """Whether the budget is met; None without one."""
        if self.budget is None:
            return None
        return self.measured >= self.budget if self.more_is_better else self.measured <= self.budget

    def better(self, other: "Result") -> "Result":
        """Return the better of two measurements of one thing."""
        return self if (self.measured > other.measured) == self.more_is_better else other


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How large and how long a benchmark is."""

    full: bool = False


def table(results: Iterable[Result]) -> str:
    """Return results as a text of aligned columns."""
    rows = [("work", "measured", "budget", "met", "measured on")]
    for result in results:
        met = {True: "yes", False: "NO", None: ""}[result.is_met]
        sign = ">= " if result.more_is_better else "<= "
        budget = "" if result.budget is None else sign + _number(result.budget)
        rows.append((result.work, f"{_number(result.measured)} {result.unit}", budget, met, result.data))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[4]]).rstrip()
        for row in rows
    )


def as_json(results: Iterable[Result]) -> str:
    """Return results as one JSON list."""
    fields = ("name", "work", "measured", "unit", "budget", "more_is_better", "data")
    return json.dumps(
        [{**{name: getattr(each, name) for name in fields}, "met": each.is_met} for each in results], indent=2
    )


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
