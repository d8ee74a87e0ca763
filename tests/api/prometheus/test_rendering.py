"""Values as Prometheus' JSON, to the character."""

import json
import math
import random
import struct
from collections.abc import Iterator

import numpy as np
import pytest

from kobs.api.prometheus.rendering import (
    array,
    format_time,
    format_value,
    format_values,
    matrix_series,
    points_series,
    vector_series,
)
from kobs.query.promql.values import Block, Points

A = (("__name__", "a"), ("path", '/"\\é\n<&>'))
B = (("__name__", "b"),)
NAN, INF = math.nan, math.inf


def text(series: Iterator[bytes]) -> bytes:
    return b"".join(array(series))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (0.1, "0.1"),
        (1e-6, "0.000001"),
        (1.5e-7, "1.5e-07"),
        (9.99e-7, "9.99e-07"),
        (123456.789e-9, "0.000123456789"),
        (1e16, "10000000000000000"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (1e21, "1e+21"),
        (-1.5e21, "-1.5e+21"),
        (999999999999999900000.0, "999999999999999900000"),
        (9007199254740993.0, "9007199254740992"),
        (5e-324, "5e-324"),
        (NAN, "NaN"),
        (INF, "+Inf"),
        (-INF, "-Inf"),
    ],
    ids=str,
)
def test_values_are_written_as_prometheus_does(value: float, text: str) -> None:
    assert format_value(value) == text
    assert format_values(np.array([1.0, value, 2.5])) == [b"1", text.encode(), b"2.5"]


def test_many_values_are_written_as_each_of_them() -> None:
    """What is written for a series at once are the texts of its values one by one, whatever they are."""
    numbers = random.Random(7)
    bits = [struct.unpack("<d", struct.pack("<Q", numbers.getrandbits(64)))[0] for _ in range(2000)]
    round_ones = [float(numbers.randrange(-(10**exponent), 10**exponent)) for exponent in range(1, 23)]
    for values in (bits, round_ones, [each / 1000 for each in round_ones], [7.0], []):
        assert format_values(np.array(values, dtype=np.float64)) == [format_value(each).encode() for each in values]


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [(0, "0"), (1000, "1"), (1001, "1.001"), (1_435_781_451_780, "1435781451.780"), (-1500, "-1.500"), (-7, "-0.007")],
    ids=str,
)
def test_times_are_written_as_prometheus_does(time_ms: int, text: str) -> None:
    assert format_time(time_ms) == text


def test_a_vector_has_what_is_present() -> None:
    block = Block((A, B), np.array([[1.5], [NAN]]), np.array([[True], [False]]))
    assert text(vector_series(block, 1500)) == (
        '[{"metric":{"__name__":"a","path":"/\\"\\\\é\\n<&>"},"value":[1.500,"1.5"]}]'.encode()
    )
    whole = Block((A, B), np.array([[1.5], [NAN]]), np.array([[True], [True]]))
    assert [each["value"] for each in json.loads(text(vector_series(whole, 0)))] == [[0, "1.5"], [0, "NaN"]]


def test_a_matrix_leaves_out_moments_and_series_that_are_absent() -> None:
    values = np.array([[1.0, NAN, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    present = np.array([[True, True, True], [False, True, False], [False, False, False]])
    block = Block((A, B, (("c", "d"),)), values, present)
    assert json.loads(text(matrix_series(block, np.array([0, 500, 1000])))) == [
        {"metric": dict(A), "values": [[0, "1"], [0.5, "NaN"], [1, "3"]]},
        {"metric": dict(B), "values": [[0.5, "5"]]},
    ]


def test_samples_keep_their_own_times() -> None:
    points = Points((A, B, ()), np.array([0, 2, 2, 3]), np.array([1, 2000, 3]), np.array([1.0, INF, 0.25]))
    assert json.loads(text(points_series(points))) == [
        {"metric": dict(A), "values": [[0.001, "1"], [2, "+Inf"]]},
        {"metric": {}, "values": [[0.003, "0.25"]]},
    ]


def test_nothing_is_an_empty_list() -> None:
    nothing = Block((), np.zeros((0, 2)), np.zeros((0, 2), dtype=np.bool_))
    assert text(matrix_series(nothing, np.array([0, 1]))) == b"[]"
    assert text(vector_series(Block((), np.zeros((0, 1)), np.zeros((0, 1), dtype=np.bool_)), 0)) == b"[]"
