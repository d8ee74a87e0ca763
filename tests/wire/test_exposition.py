"""Expositions in pieces: what is read of them, and what is refused with line and reason."""

import csv
import math
import random

import pytest

from kobs.model.samples import MetricType
from kobs.wire.exposition.lines import MetaLine
from kobs.wire.exposition.numbers import canonical_number, parse_numbers
from kobs.wire.exposition.parsing import MOST_LINE_BYTES, OPENMETRICS, TEXT, ExpositionError, Format, Parser
from tests.parts import recorded

Sample = tuple[dict[str, str], float, int | None]


class Reading:
    """A target's memory between two scrapes."""

    def __init__(self, form: Format = TEXT) -> None:
        self.form = form
        self.known: dict[bytes, int] = {}
        self.meta: dict[bytes, MetaLine | None] = {}
        self.labels: list[dict[str, str]] = []

    def resolve(self, text: bytes, labels: dict[str, str]) -> int:
        self.labels.append(labels)
        self.known[text] = len(self.labels) - 1
        return self.known[text]

    def parse(self, body: bytes, *, piece_bytes: int = 1 << 16) -> Parser:
        parser = Parser(self.form, self.known, self.resolve, meta=self.meta)
        for start in range(0, len(body), piece_bytes):
            parser.feed(body[start : start + piece_bytes])
        parser.finish()
        return parser

    def read(self, body: bytes, *, piece_bytes: int = 1 << 16) -> list[Sample]:
        parsed = self.parse(body, piece_bytes=piece_bytes)
        plain = zip(parsed.numbers, parsed.values, strict=True)
        timed = zip(parsed.timed_numbers, parsed.timed_values, parsed.times_ms, strict=True)
        found: list[Sample] = [(self.labels[number], value, None) for number, value in plain]
        return found + [(self.labels[number], value, time_ms) for number, value, time_ms in timed]


def openmetrics(text: bytes) -> bytes:
    return text + b"# EOF\n"


@pytest.mark.parametrize(
    ("line", "labels", "value", "time_ms"),
    [
        (b"up 1", {"__name__": "up"}, 1.0, None),
        (b"up{} 1", {"__name__": "up"}, 1.0, None),
        (b'up{a="b",} 1', {"__name__": "up", "a": "b"}, 1.0, None),
        (b'  up \t{ a = "b" , c="d" }\t1e3  1700000000 ', {"__name__": "up", "a": "b", "c": "d"}, 1e3, 1700000000),
        (b'up{a="b"}1', {"__name__": "up", "a": "b"}, 1.0, None),
        (b'up{a="b" c="d"} 1', {"__name__": "up", "a": "b", "c": "d"}, 1.0, None),
        (b'a:b{c="x} 5",d="\\\\\\n\\""} -.5', {"__name__": "a:b", "c": "x} 5", "d": '\\\n"'}, -0.5, None),
        ('{"häuser","straße \\"x\\""="é"} 3'.encode(), {"__name__": "häuser", 'straße "x"': "é"}, 3.0, None),
        (b'{"up"} 1', {"__name__": "up"}, 1.0, None),
        (b"up +Inf", {"__name__": "up"}, math.inf, None),
        (b"up -inf 5", {"__name__": "up"}, -math.inf, 5),
        (b"up 1.", {"__name__": "up"}, 1.0, None),
    ],
)  # fmt: skip
def test_a_line_of_the_text_format_is_read(
    line: bytes, labels: dict[str, str], value: float, time_ms: int | None
) -> None:
    reading = Reading()
    for _ in range(2):  # the second time its series is known
        assert reading.read(b"# TYPE up gauge\n" + line) == [(labels, value, time_ms)]


def test_nan_is_a_value() -> None:
    for form in (TEXT, OPENMETRICS):
        (sample,) = Reading(form).read(b"up NaN\n# EOF\n")
        assert math.isnan(sample[1])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"up", "expected a value"),
        (b"up 1 2 3", "expected a value, then at most a timestamp"),
        (b"up 1_000", "expected a number, got '1_000'"),
        (b"up 0x1p3", "expected a number"),
        (b"up 1e999", "out of range"),
        (b"up -nan", "expected a number"),
        ("up \u0661".encode(), "expected a number"),
        (b"up 1 -5", "timestamp"),
        (b"up 1 99999999999999999999", "timestamp is out of range"),
        (b"up 1\r", "expected a number"),
        (b'up{a="b} 1', "expected a label value in quotes"),
        (b'up{a="b",,} 1', "expected a label name"),
        (b'up{a="1",a="2"} 1', "appears twice"),
        (b'up{"down"} 1', "the metric name is given twice"),
        (b'{a="b"} 1', "no metric name"),
        (b'up{a="\xff"} 1', "is not UTF-8"),
        (b"0up 1", "expected a metric name"),
        (b"# TYPE up guage", "metric type 'guage': expected counter"),
        (b"# TYPE 0", "expected a metric name after TYPE"),
        (b"<html><body>Log in</body></html>", "expected a metric name, got '<html>"),
    ],
)
def test_what_breaks_the_text_format_is_told_with_its_line(line: bytes, reason: str) -> None:
    with pytest.raises(ExpositionError) as raised:
        Reading().read(b"# HELP up Whether.\nup 1\n\n" + line + b"\nup 1\n")
    assert raised.value.line == 4
    assert reason in str(raised.value)


@pytest.mark.parametrize("piece_bytes", [1, 2, 7, 100])
def test_pieces_may_be_cut_anywhere(piece_bytes: int) -> None:
    body = b'# HELP a Of\\n two lines.\n# TYPE a counter\na{x="1"} 1\n\n# a comment\na{x="2"} 2 5\nb 3'
    reading = Reading()
    for _ in range(2):
        parsed = reading.parse(body, piece_bytes=piece_bytes)
        assert list(parsed.values) == [1.0, 3.0]
        assert list(parsed.timed_values) == [2.0]
        assert list(parsed.times_ms) == [5]


def test_what_is_said_of_a_family_is_told_when_it_is_new() -> None:
    reading = Reading(OPENMETRICS)
    body = openmetrics(
        b"# TYPE a_seconds gauge\n# UNIT a_seconds seconds\n# HELP a_seconds A \\\\ \\n help.\na_seconds 1\n"
    )
    told = reading.parse(body).told
    assert told == [
        MetaLine("a_seconds", type=MetricType.GAUGE),
        MetaLine("a_seconds", unit="seconds"),
        MetaLine("a_seconds", help="A \\ \n help."),
    ]
    assert reading.parse(body).told == []
    changed = reading.parse(body.replace(b"gauge", b"unknown")).told
    assert changed == [MetaLine("a_seconds", type=MetricType.UNKNOWN)]


def test_an_exemplar_is_read_over_every_time() -> None:
    reading = Reading(OPENMETRICS)
    lines = [
        b'a_bucket{le="1.0"} 5 # {trace_id="x"} 0.5 1700000000.123',
        b'a_bucket{le="2.0"} 6 # {} 0.5',
        b'a_bucket{le="3.0",x=" # {"} 7 1.5 # {trace_id="} 1 # {"} 0.5',
        b'a_bucket{le="+Inf"} 8 # {trace_id="}"} 1e+06',
    ]
    body = openmetrics(b"".join(line + b"\n" for line in lines))
    for _ in range(2):
        samples = reading.read(body)
        assert {labels["le"]: (value, time_ms) for labels, value, time_ms in samples} == {
            "1.0": (5.0, None), "2.0": (6.0, None), "3.0": (7.0, 1500), "+Inf": (8.0, None),
        }  # fmt: skip


@pytest.mark.parametrize("exemplar", [b"{a=b} 1", b'{a="b"}', b'{a="b"} x', b'{a="b"} 1 NaN', b'{"a"} 1'])
def test_a_broken_exemplar_is_refused(exemplar: bytes) -> None:
    with pytest.raises(ExpositionError, match="line 2"):
        Reading(OPENMETRICS).read(openmetrics(b"a 1\na 1 # " + exemplar + b"\n"))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"a 1\n", "line 1: the text does not end with # EOF"),
        (b"", "the text does not end with # EOF"),
        (b"a 1\n# EO", "does not end with # EOF"),
        (b"a 1\n# EOF\na 1\n", "line 3: text after # EOF"),
        (b"a 1\n\n# EOF\n", "line 2: an empty line"),
        (b"a  1\n# EOF\n", "line 1: expected a space and a value"),
        (b"# a comment\n# EOF\n", "line 1: expected # HELP, # TYPE, # UNIT or # EOF"),
    ],
)
def test_what_breaks_openmetrics_is_refused(body: bytes, reason: str) -> None:
    for piece_bytes in (1, 1000):
        with pytest.raises(ExpositionError, match=reason):
            Reading(OPENMETRICS).read(body, piece_bytes=piece_bytes)


def test_times_of_openmetrics_are_seconds() -> None:
    reading = Reading(OPENMETRICS)
    for _ in range(2):
        samples = reading.read(openmetrics(b"a 1 1.5\na 2 -1\na 3 1e30\n"))
        assert [time_ms for _, _, time_ms in samples] == [1500, -1000, 2**62]


def test_a_series_that_is_not_wanted_is_counted_only() -> None:
    reading = Reading()
    reading.known = {b"a": -7, b'b{c="d"}': 4}
    parsed = reading.parse(b'a 1\nb{c="d"} 2\na 3 5\nb{c="d"} 4 6\n')
    assert list(parsed.left_out) == [-7, -7]
    assert (list(parsed.numbers), list(parsed.values)) == ([4], [2.0])
    assert (list(parsed.timed_numbers), list(parsed.timed_values), list(parsed.times_ms)) == ([4], [4.0], [6])


def test_a_label_of_a_megabyte_is_read_and_an_endless_line_is_refused() -> None:
    value = b"x" * 2**20
    ((labels, _, _),) = Reading().read(b'a{b="' + value + b'"} 1\n', piece_bytes=1 << 16)
    assert labels["b"] == value.decode()
    with pytest.raises(ExpositionError, match=f"line 2: a line of more than {MOST_LINE_BYTES} bytes"):
        Reading().read(b'a 1\na{b="' + value * 9, piece_bytes=1 << 16)


@pytest.mark.parametrize(
    ("kind", "label", "given", "read"),
    [
        (b"histogram", "le", "1", "1.0"),
        (b"histogram", "le", "1000000", "1e+06"),
        (b"histogram", "le", "+Inf", "+Inf"),
        (b"summary", "quantile", "0.50", "0.5"),
        (b"summary", "le", "1", "1"),
        (b"gauge", "le", "1", "1"),
        (b"histogram", "le", "x", "x"),
    ],
)
def test_bounds_of_buckets_and_quantiles_have_one_form(kind: bytes, label: str, given: str, read: str) -> None:
    for line in ('a{{x="",{}="{}"}} 1\n', 'a{{x="\\n",{}="{}"}} 1\n'):
        ((labels, _, _),) = Reading().read(b"# TYPE a " + kind + b"\n" + line.format(label, given).encode())
        assert labels[label] == read


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("0", "0.0"), ("-0", "0.0"), ("-1", "-1.0"), ("1e-5", "1e-05"), ("0.0001", "0.0001"), ("123456", "123456.0"),
        ("16777216", "1.6777216e+07"), ("1e300", "1e+300"), ("0.1", "0.1"), ("-2.50", "-2.5"), ("NaN", "NaN"),
        ("-inf", "-Inf"), ("1e-300", "1e-300"), ("100", "100.0"), ("1234.5", "1234.5"), ("\u0661", "\u0661"),
    ],
)  # fmt: skip
def test_a_bound_is_written_as_go_writes_it(given: str, canonical: str) -> None:
    assert canonical_number(given) == canonical


def test_many_numbers_are_read_as_one_by_one() -> None:
    assert list(parse_numbers([b"1", b"-2.5e3", b"+.5"])) == [1.0, -2500.0, 0.5]
    assert list(parse_numbers([b"1", b"Inf", b"1e308", b"1e308"])) == [1.0, math.inf, 1e308, 1e308]
    assert list(parse_numbers([b"1e308", b"1e308"])) == [1e308, 1e308]
    for wrong in (b"", b"1e400", b"e", b"1-2", b"1_0"):
        with pytest.raises(ValueError, match=r"\w"):
            parse_numbers([b"1", wrong])


LISTED = {
    "kubelet-cadvisor": {
        "kubelet /metrics/cadvisor": "k8s-1.34/kubelet-cadvisor.prom",
        "coredns": "coredns-1.15-scrape-2.prom",
        "etcd": "k8s-1.34/etcd.prom",
        "kube-apiserver": "k8s-1.34/kube-apiserver.prom",
        "kube-controller-manager": "k8s-1.34/kube-controller-manager.prom",
        "kube-scheduler": "k8s-1.34/kube-scheduler.prom",
        "kube-state-metrics": "k8s-1.34/kube-state-metrics.prom",
    },
    "node-exporter": {"scrape": "scrape-1.prom", "fixture": "all-collectors-fixture.prom"},
}


@pytest.mark.parametrize(
    ("data", "source", "name"),
    [(data, source, name) for data, sources in LISTED.items() for source, name in sources.items()],
    ids=[source for sources in LISTED.values() for source in sources],
)
def test_a_recorded_exposition_holds_the_samples_that_are_listed(data: str, source: str, name: str) -> None:
    folder = recorded(data)
    with (folder / "families.tsv").open(newline="") as table:
        rows = [row for row in csv.DictReader(table, delimiter="\t") if row["source"] == source]
    expected = [sum(int(row[column]) for row in rows) for column in ("samples", "with_timestamp")]
    reading = Reading()
    for _ in range(2):
        parsed = reading.parse((folder / name).read_bytes(), piece_bytes=4096)
        assert [len(parsed.values) + len(parsed.timed_values), len(parsed.timed_values)] == expected


FRAGMENTS = [
    b"a", b"a:b", b"0", b"{", b"}", b'{x="1"}', b'{x="} 2",y="\\""}', b'{"q"}', b'"', b"=", b",", b"#", b" ", b"  ",
    b"\t", b"\n", b"1", b"2.5", b"-1", b"NaN", b"+Inf", b"1_0", b"1e400", b"1e5", b"1700000000000", b"1.5", b"# EOF\n",
    b"\\", b"\r", b"# TYPE a counter\n", b"# HELP a x\n", b"# ", b' # {t="1"} 1', b" # {} 2 3", b"\xc3\xa9", b"\xff",
    b"\0", b"le=",
]  # fmt: skip


@pytest.mark.parametrize("form", [TEXT, OPENMETRICS], ids=["text", "openmetrics"])
def test_known_series_are_read_as_new_ones_whatever_comes(form: Format) -> None:
    """The quick way, the careful one and pieces of any size agree on random texts: the same samples, the same error."""
    choose = random.Random(form.is_openmetrics)
    good = b'a 1\na{x="1"} 2\na{x="} 2",y="\\""} 3\n'
    outcomes: dict[str, int] = {}
    for _ in range(3000):
        lines = [b"".join(choose.choices(FRAGMENTS, k=choose.randrange(6))) for _ in range(choose.randrange(4))]
        body = good + b"\n".join([*lines, b"a 4"]) + b"\n" + (b"# EOF\n" if form.is_openmetrics else b"")
        known = Reading(form)
        known.read(good + (b"# EOF\n" if form.is_openmetrics else b""))
        readings = [(known, 1 << 16), (known, 1 << 16), (Reading(form), 1 << 16), (known, 1), (Reading(form), 7)]
        found = [outcome(reading, body, piece_bytes=size) for reading, size in readings]
        assert found == found[:1] * len(found), body
        outcomes[found[0][:5]] = outcomes.get(found[0][:5], 0) + 1
    assert min(outcomes["line "], outcomes["read "]) > 100


def outcome(reading: Reading, body: bytes, *, piece_bytes: int) -> str:
    try:
        return f"read {sorted(map(repr, reading.read(body, piece_bytes=piece_bytes)))}"
    except ExpositionError as error:
        return str(error)
