"""Messages of remote write become the columns that the protobuf library put into them, whatever their form."""

import math
import struct
from collections.abc import Callable

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from kobs.errors import RejectedError
from kobs.model.samples import MetricType
from kobs.wire import remote_write, remote_write_parts, remote_write_v1, remote_write_v2
from kobs.wire.remote_write import Known, Labels, Said, Written
from tests.remote_write_messages import CLASSES, STALE, Series, message_v1, message_v2

NOW_MS = 1_795_396_980_123
UP = {"__name__": "up", "job": "node", "instance": "n1"}
DOWN = {"__name__": "down", "job": "node"}

Make = Callable[..., bytes]


class Numbers:
    """Numbers of label sets, in the order in which they come; those without a name are not allowed."""

    def __init__(self) -> None:
        self.seen: list[Labels | None] = []

    def __call__(self, labels: Labels | None) -> int:
        self.seen.append(labels)
        if labels is None or not dict(labels).get(b"__name__"):
            return -7
        return len(self.seen) - 1


class Reader:
    """Reads one message after another with what it remembers."""

    def __init__(self, version: int) -> None:
        self.read_message = {1: remote_write_v1.read, 2: remote_write_v2.read}[version]
        self.make: Make = {1: message_v1, 2: message_v2}[version]
        self.known = Known()
        self.numbers = Numbers()

    def read(self, message: bytes) -> Written:
        written = self.read_message(message, self.known, self.numbers)
        self.known.describe(written.described)
        return written

    def rows(self, *series: Series) -> list[tuple[dict[str, str], int, int]]:
        """Return labels, time and bits of the value of each sample of a message of these series."""
        written = self.read(self.make(*series))
        bits = written.values.view(np.uint64).tolist()
        return [
            (self.labels(number), time_ms, value)
            for number, time_ms, value in zip(written.series.tolist(), written.times_ms.tolist(), bits, strict=True)
        ]

    def labels(self, number: int) -> dict[str, str]:
        labels = self.numbers.seen[number]
        assert labels is not None
        return {name.decode(): value.decode() for name, value in labels}


@pytest.fixture(params=[1, 2], ids=["1.0", "2.0"])
def reader(request: pytest.FixtureRequest) -> Reader:
    return Reader(request.param)


def bits(value: float) -> int:
    return int(struct.unpack("<Q", struct.pack("<d", value))[0])


def expected(*series: Series) -> list[tuple[dict[str, str], int, int]]:
    return [(dict(each.pairs()), time_ms, bits(value)) for each in series for time_ms, value in each.samples]


def test_samples_come_back_to_the_bit(reader: Reader) -> None:
    """Twice: the second time the label sets are known, and most samples are read by their places."""
    values = (1.5, 0.0, -0.0, math.inf, math.nan, STALE, 5e-324, -1e308)
    series = [Series({**UP, "n": str(index)}, [(NOW_MS + index, value)]) for index, value in enumerate(values)]
    series.append(Series(DOWN, [(NOW_MS + index, value) for index, value in enumerate(values)]))
    assert reader.rows(*series) == expected(*series)
    assert reader.rows(*series) == expected(*series)
    assert len(reader.numbers.seen) == len(series)


@pytest.mark.parametrize("time_ms", [0, 1, 127, 128, -1, 2**35 - 1, 2**35, 2**42 - 1, 2**42, 2**63 - 1, -(2**63)])
def test_a_time_of_any_length_is_read(reader: Reader, time_ms: int) -> None:
    for value in (0.0, 2.0):
        series = Series(UP, [(time_ms, value)])
        assert reader.rows(series) == expected(series)
        assert reader.rows(series, series) == expected(series, series)


def test_a_label_value_that_looks_like_a_sample_is_a_label_value(reader: Reader) -> None:
    """Its bytes have to be UTF-8 for the library: those of a sample whose value and time are small characters."""
    looks = "\x12\x10\x09" + "\x01" * 8 + "\x10" + "\x01" * 6
    series = [Series({**UP, "z": looks}, [(NOW_MS, 1.0)]), Series({**UP, "z": looks}), Series(UP, [(NOW_MS, 2.0)])]
    if reader.make is message_v2:
        series.pop(1)
    for _ in range(2):
        assert reader.rows(*series) == expected(*series)


def test_fields_that_are_not_known_are_left_out(reader: Reader) -> None:
    if reader.make is message_v1:
        request = CLASSES["test.WriteRequest"].FromString(message_v1(Series(UP, [(NOW_MS, 1.0)])))
        request.timeseries[0].later = "x" * 200
    else:
        request = CLASSES["test.Request2"].FromString(message_v2(Series(UP, [(NOW_MS, 1.0)])))
        request.timeseries[0].created_timestamp = NOW_MS - 1
        request.timeseries[0].samples[0].start_timestamp = NOW_MS - 1
    unknown_before = b"\x98\x3f\x05" + b"\x9d\x3f\x01\x02\x03\x04" + b"\x99\x3f" + b"\x00" * 8
    message = unknown_before + request.SerializeToString() + unknown_before
    for _ in range(2):
        written = reader.read(message)
        assert written.times_ms.tolist() == [NOW_MS]
        assert written.values.tolist() == [1.0]


def test_labels_may_come_after_samples_and_between_them() -> None:
    reader = Reader(1)
    one = CLASSES["test.TimeSeries"].FromString(CLASSES["test.TimeSeries"]().SerializeToString())
    one.labels.add(name="__name__", value="up")
    label = one.SerializeToString()
    other = CLASSES["test.TimeSeries"]()
    other.labels.add(name="job", value="node")
    sample = CLASSES["test.TimeSeries"]()
    sample.samples.add(value=1.0, timestamp=NOW_MS)
    body = label + sample.SerializeToString() + other.SerializeToString()
    message = b"\x0a" + bytes([len(body)]) + body
    for _ in range(2):
        written = reader.read(message)
        assert reader.labels(int(written.series[0])) == {"__name__": "up", "job": "node"}


def test_what_is_not_kept_is_counted(reader: Reader) -> None:
    written = reader.read(
        reader.make(
            Series(UP, [(NOW_MS, 1.0)], exemplars=2), Series(DOWN, histograms=3), Series({"job": "x"}, [(NOW_MS, 1.0)])
        )
    )
    assert (written.exemplars, written.histograms) == (2, 3)
    assert written.series.tolist() == [0, -7]
    assert written.faulty == [(-7, '{job="x"}')]


def test_metadata_of_a_family_is_told_each_time() -> None:
    written = Reader(1).read(
        message_v1(metadata=[(1, "up_total", "Whether.", "s"), (4, "g", "", ""), (99, "x", "", "")])
    )
    assert written.said == [
        Said(MetricType.COUNTER, "Whether.", "s", name="up_total"),
        Said(MetricType.GAUGE_HISTOGRAM, "", "", name="g"),
        Said(MetricType.UNKNOWN, "", "", name="x"),
    ]


def test_metadata_of_a_series_is_told_when_it_changes() -> None:
    reader = Reader(2)
    said = [
        reader.read(message_v2(Series(UP, [(NOW_MS, 1.0)], metadata=metadata), symbols=symbols)).said
        for metadata, symbols in [
            ((2, "Whether.", ""), ("",)),
            ((2, "Whether.", ""), ("", "other", "symbols")),
            ((2, "If.", "s"), ("",)),
        ]
    ]
    assert said == [
        [Said(MetricType.GAUGE, "Whether.", "", series=0)],
        [],
        [Said(MetricType.GAUGE, "If.", "s", series=0)],
    ]


@pytest.mark.parametrize(
    "refs", [[1], [1, 2, 3], [1, 99], [4_000_000_000, 1]], ids=["one", "odd", "nowhere", "far away"]
)
def test_references_that_lead_nowhere_make_a_series_not_allowed_and_no_other(refs: list[int]) -> None:
    reader = Reader(2)
    for _ in range(2):
        written = reader.read(message_v2(Series(UP, [(NOW_MS, 1.0)]), Series(UP, [(NOW_MS, 2.0)], refs=refs)))
        assert written.values[written.series >= 0].tolist() == [1.0]
        assert written.faulty == [(-7, "a series whose labels cannot be read")]


def test_many_symbols_make_longer_references() -> None:
    reader = Reader(2)
    series = [Series({**UP, "n": f"value {index}"}, [(NOW_MS, index)]) for index in range(20_000)]
    assert reader.rows(*series) == expected(*series)
    assert reader.rows(*series[::-1]) == expected(*series[::-1])


def test_references_may_be_unpacked() -> None:
    body = b"\x08\x01\x08\x02" + b"\x12\x09\x09" + struct.pack("<d", 1.0)
    message = b"\x22\x00\x22\x08__name__\x22\x02up" + b"\x2a" + bytes([len(body)]) + body
    reader = Reader(2)
    written = reader.read(message)
    assert reader.labels(int(written.series[0])) == {"__name__": "up"}


def test_symbols_must_begin_with_the_empty_text() -> None:
    with pytest.raises(RejectedError, match="empty text"):
        Reader(2).read(message_v2(Series(UP, [(NOW_MS, 1.0)]), symbols=("x",)))


def test_a_series_of_2_0_without_samples_is_counted() -> None:
    assert Reader(2).read(message_v2(Series(UP), Series(UP, histograms=1), Series(UP, exemplars=1))).empty == 1


def test_a_message_cut_at_any_byte_is_refused_or_has_less(reader: Reader) -> None:
    whole = reader.make(
        Series({**UP, "long": "x" * 200}, [(NOW_MS, 1.0), (NOW_MS + 1, 0.0)], exemplars=1, histograms=1),
        Series(DOWN, [(NOW_MS, 2.0)], metadata=(1, "help", "s")),
    )
    reader.read(whole)
    refused = 0
    for size in range(len(whole)):
        try:
            assert len(reader.read(whole[:size]).values) < 3
        except RejectedError as error:
            assert error.reason == "malformed_message"  # noqa: PT017 - either outcome is right, by the byte
            refused += 1
    assert refused > len(whole) - 30


@given(st.binary(max_size=200))
@settings(max_examples=500, deadline=None)
def test_noise_is_refused_or_read_and_nothing_else(noise: bytes) -> None:
    for version in (1, 2):
        reader = Reader(version)
        try:
            reader.read(noise)
        except RejectedError as error:
            assert error.reason == "malformed_message"  # noqa: PT017 - either outcome is right, by the bytes


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_message_with_a_changed_byte_is_refused_or_read_and_nothing_else(data: st.DataObject) -> None:
    version = data.draw(st.sampled_from([1, 2]))
    reader = Reader(version)
    whole = bytearray(
        reader.make(
            Series(UP, [(NOW_MS, 1.0), (NOW_MS + 1, 0.0)], metadata=(1, "a", "b")), Series(DOWN, [(NOW_MS, 2.0)])
        )
    )
    reader.read(bytes(whole))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        reader.read(bytes(whole))
    except RejectedError as error:
        assert error.reason == "malformed_message"  # noqa: PT017 - either outcome is right, by the byte


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (1, b"\x0a\x00" * 4),
        (2, b"\x22\x00" + b"\x2a\x00" * 4),
        (2, b"\x22\x00" * 4),
        (1, message_v1(Series(UP, [(NOW_MS, 1.0)] * 4))),
        (2, message_v2(Series(UP, [(NOW_MS, 1.0)] * 4))),
    ],
    ids=["empty series 1.0", "empty series 2.0", "symbols", "samples 1.0", "samples 2.0"],
)
def test_more_parts_than_memory_should_hold_are_refused(
    monkeypatch: pytest.MonkeyPatch, version: int, message: bytes
) -> None:
    for module in (remote_write, remote_write_parts, remote_write_v1, remote_write_v2):
        monkeypatch.setattr(module, "MOST_PARTS", 3)  # a small limit shows what 500,000 would
    with pytest.raises(RejectedError, match="more than 3") as raised:
        Reader(version).read(message)
    assert raised.value.reason == "too_many_samples"


def test_only_the_first_of_a_label_set_without_an_end_are_read() -> None:
    reader = Reader(1)
    labels = [(f"l{index}", "x") for index in range(5000)]
    reader.read(message_v1(Series(labels, [(NOW_MS, 1.0)])))
    reader.make = message_v2
    reader.read_message = remote_write_v2.read
    reader.read(message_v2(Series(labels, [(NOW_MS, 1.0)])))
    assert [len(seen or ()) for seen in reader.numbers.seen] == [1001, 1001]
    assert not reader.known.series
