"""Instant vectors for tests: written as label sets and values, where None is a moment at which a series is absent."""

import math
from collections.abc import Sequence

import numpy as np

from kobs.query.promql.values import Block, Labels

Row = Sequence[float | None]


def labels(text: str) -> Labels:
    """Return a label set written as `name a=b c=d`; the name may be missing: ` a=b`."""
    name, _, rest = text.partition(" ")
    pairs = [pair.split("=", 1) for pair in rest.split(" ") if pair]
    return tuple(sorted((key, value) for key, value in [("__name__", name), *pairs] if value))


def vector(rows: dict[str, Row]) -> Block:
    """Return a vector of series written as `labels` does, each with one value or None a moment."""
    values = np.array([[math.nan if value is None else value for value in row] for row in rows.values()], dtype=float)
    present = np.array([[value is not None for value in row] for row in rows.values()], dtype=bool)
    shape = (len(rows), max(map(len, rows.values()), default=0))
    # what an absent point holds means nothing: it must not be looked at
    values[~present] = 1e300
    return Block(tuple(map(labels, rows)), values.reshape(shape), present.reshape(shape))


def told(block: Block) -> dict[str, list[float | None]]:
    """Return a vector as `vector` takes it; series that are absent throughout are left out."""
    found: dict[str, list[float | None]] = {}
    for own, values, present in zip(block.labels, block.values.tolist(), block.present.tolist(), strict=True):
        if not any(present):
            continue
        name = dict(own).get("__name__", "")
        text = " ".join([name, *(f"{key}={value}" for key, value in own if key != "__name__")])
        assert text not in found, f"{text} is there twice"
        found[text] = [value if there else None for value, there in zip(values, present, strict=True)]
    return found


def same(found: dict[str, list[float | None]], expected: dict[str, Row]) -> bool:
    """Return whether two vectors are equal, where NaN is NaN and the signs of zeros count."""
    return {key: [repr(value) for value in row] for key, row in found.items()} == {
        key: [repr(None if value is None else float(value)) for value in row] for key, row in expected.items()
    }
