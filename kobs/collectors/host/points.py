"""A point: one value that a part of the machine shows, before it has a time and the machine's own labels."""

from typing import NamedTuple


class Point(NamedTuple):
    """The value of one series; `labels` are without `__name__`, pairs of name and value."""

    name: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()


def labelled(**labels: str) -> tuple[tuple[str, str], ...]:
    """Return labels as a point has them, in the order of their names."""
    return tuple(sorted(labels.items()))
