"""Values as Prometheus' JSON: numbers are text in the shortest form, times are seconds with at most three decimals.

A matrix may have millions of points, so nothing is done for each of them but what must be: all values of a series are
written by one call, and the times of an evaluation once for all of its series. Series are written one by one as they
are asked for.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import compress

import numpy as np
import orjson
from numpy.typing import NDArray

from kobs.query.promql.values import Block, Labels, Points, derived

_ZEROS = {b"-5": b"0.0000", b"-6": b"0.00000"}
"""What stands before the digits of values with these exponents, which are common in rates; smaller ones keep theirs."""


def format_time(time_ms: int) -> str:
    """Return a time in seconds, with three digits of a fraction where there is one."""
    seconds, milliseconds = divmod(abs(time_ms), 1000)
    sign = "-" if time_ms < 0 else ""
    return f"{sign}{seconds}.{milliseconds:03d}" if milliseconds else f"{sign}{seconds}"


def format_value(value: float) -> str:
    """Return the shortest decimal text of a value; with an exponent below 1e-6 and from 1e21 on."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    if "e" not in text:
        return text.removesuffix(".0")
    if 1e-6 <= abs(value) < 1e21:
        return format(Decimal(text), "f")
    return text


def format_values(values: NDArray[np.float64]) -> list[bytes]:
    """Return the texts of many values, as `format_value` gives them.

    Shape: values (N,).
    """
    if not len(values):
        return []
    text = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
    if b"e" not in text and b"n" not in text:  # no exponent, no null for what is not finite
        return (text + b",").replace(b".0,", b",")[:-1].split(b",")
    texts = text.split(b",")
    for index, each in enumerate(texts):
        if each.endswith(b".0"):
            texts[index] = each[:-2]
        elif b"e" in each:
            texts[index] = _without_exponent(each) or format_value(float(values[index])).encode()
        elif each == b"null":
            texts[index] = format_value(float(values[index])).encode()
    return texts


def _without_exponent(text: bytes) -> bytes | None:
    """Return the text of a small value such as `-1.5e-5` as `-0.000015`; None where it is written otherwise."""
    mantissa, _, exponent = text.partition(b"e")
    zeros = _ZEROS.get(exponent)
    if zeros is None:
        return None
    sign = b"-" if mantissa.startswith(b"-") else b""
    return b"".join((sign, zeros, mantissa[len(sign) :].replace(b".", b"")))


def labels_json(labels: Labels) -> bytes:
    """Return a label set as an object."""
    return orjson.dumps(dict(labels))


def point_json(time_ms: int, value: float) -> bytes:
    """Return `[time, "value"]`."""
    return f'[{format_time(time_ms)},"{format_value(value)}"]'.encode()


def vector_series(block: Block, time_ms: int) -> Iterator[bytes]:
    """Yield the series of a block that are present at its one moment, as items of a vector's `result`."""
    chosen = np.flatnonzero(block.present[:, 0])
    head = f',"value":[{format_time(time_ms)},"'.encode()
    texts = format_values(block.values[chosen, 0])
    metrics = _metrics_json(block)
    for index, text in zip(chosen.tolist(), texts, strict=True):
        yield b"".join((b'{"metric":', metrics[index], head, text, b'"]}'))


def matrix_series(block: Block, times_ms: NDArray[np.int64]) -> Iterator[bytes]:
    """Yield the series of a block that are present at any moment, as items of a matrix' `result`."""
    heads = _heads(times_ms.tolist())
    whole = _Series(heads)
    counts = block.present.sum(axis=1).tolist()
    for index, metric in enumerate(_metrics_json(block)):
        if not counts[index]:
            continue
        values = block.values[index]
        if counts[index] == len(heads):
            yield whole.json(metric, values)
        else:
            present = block.present[index]
            yield _Series(list(compress(heads, present.tolist()))).json(metric, values[present])


def points_series(points: Points) -> Iterator[bytes]:
    """Yield samples with their own times, as items of a matrix' `result`."""
    bounds = points.bounds.tolist()
    for index, labels in enumerate(points.labels):
        first, end = bounds[index], bounds[index + 1]
        if first < end:
            series = _Series(_heads(points.times_ms[first:end].tolist()))
            yield series.json(labels_json(labels), points.values[first:end])


def _metrics_json(block: Block) -> list[bytes]:
    return derived(block.labels, "json", lambda: [labels_json(labels) for labels in block.labels])


def array(items: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the parts of an array of items."""
    before = b"["
    for item in items:
        yield before
        yield item
        before = b","
    yield b"[]" if before == b"[" else b"]"


def _heads(times_ms: Sequence[int]) -> list[bytes]:
    """Return what stands before the value of each point, with the end of the point before it."""
    return [f'"],[{format_time(time_ms)},"'.encode() for time_ms in times_ms]


class _Series:
    """The points of a series of given times, at least one; its values change from series to series."""

    def __init__(self, heads: Sequence[bytes]) -> None:
        self._parts = [b""] * (2 * len(heads))  # heads and values in turn, so that one join writes them all
        self._parts[0::2] = [heads[0].removeprefix(b'"],'), *heads[1:]]

    def json(self, metric: bytes, values: NDArray[np.float64]) -> bytes:
        """Return a series of a matrix; `metric` is its label set as an object."""
        self._parts[1::2] = format_values(values)
        return b"".join((b'{"metric":', metric, b',"values":[', *self._parts, b'"]]}'))
