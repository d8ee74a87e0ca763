"""The order of an instant query's series: by value, or by labels in natural order.

Source: Prometheus 3, `promql/functions.go` (`sort`, `sort_by_label`), `facette/natsort` (`Compare`).
"""

import functools
import re
from collections.abc import Callable

import numpy as np

from kobs.query.promql.labelsets import taken, value_of
from kobs.query.promql.values import Block, Labels

_CHUNKS = re.compile(r"\d+|\D+", re.A)
_LARGEST_INTEGER = 2**63


def by_value(block: Block, *, descending: bool) -> Block:
    """Return the series of one moment in the order of their values, NaN at the end either way."""
    rows = np.flatnonzero(block.present[:, 0])
    values = block.values[rows, 0]
    return taken(block, rows[np.argsort(-values if descending else values, kind="stable")])


def by_labels(block: Block, names: tuple[str, ...], *, descending: bool) -> Block:
    """Return the series in the natural order of some labels, then in the order of all labels.

    A series without one of the labels is after those that have it.
    """
    direction = -1 if descending else 1

    def compare(left: int, right: int) -> int:
        return direction * _compare(block.labels[left], block.labels[right], names)

    return taken(block, sorted(range(len(block.labels)), key=functools.cmp_to_key(compare)))


def _compare(left: Labels, right: Labels, names: tuple[str, ...]) -> int:
    for name in names:
        one, other = value_of(left, name), value_of(right, name)
        if one != other:
            # Prometheus' order of what has no such label depends on its sorting: last, as that mostly comes out
            return -1 if one and (not other or is_before(one, other)) else 1
    return (left > right) - (left < right)


def is_before(left: str, right: str) -> bool:
    """Return whether a text is before another in natural order: runs of digits count as numbers."""
    ours, theirs = _chunks(left), _chunks(right)
    for index, chunk in enumerate(ours):
        if index >= len(theirs):
            return False
        other = theirs[index]
        number, other_number = _number(chunk), _number(other)
        if number is not None and other_number is not None:
            if number != other_number:
                return number < other_number
        elif chunk != other:
            return chunk < other
        if index == len(ours) - 1:
            return True
        if index == len(theirs) - 1:
            return False
    return False


@functools.lru_cache(maxsize=4096)
def _chunks(text: str) -> tuple[str, ...]:
    return tuple(_CHUNKS.findall(text))


def _number(chunk: str) -> int | None:
    if not chunk.isascii() or not chunk.isdigit():
        return None
    number = int(chunk)
    return number if number < _LARGEST_INTEGER else None


ORDERS: dict[str, Callable[[Block], Block]] = {
    "sort": functools.partial(by_value, descending=False),
    "sort_desc": functools.partial(by_value, descending=True),
}
