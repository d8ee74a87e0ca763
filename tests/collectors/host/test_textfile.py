"""Files of metrics: what is shown of them, and what a wrong one does."""

import os
from collections.abc import Collection
from pathlib import Path

import pytest

from kobs.collectors.host.points import Point
from kobs.collectors.host.reading import HostReader
from kobs.collectors.host.roots import Roots
from kobs.collectors.host.textfile import TextfileCollector, TextfileError, parse
from kobs.model.samples import MetricType
from kobs.telemetry import REGISTRY

GOOD = """\
# HELP backup_seconds How long it took, \\\\ and \\n a line.
# TYPE backup_seconds histogram
backup_seconds_bucket{db="a b",le="1"} 1
backup_seconds_bucket{ db = "a b" , le="+Inf", } 2
backup_seconds_sum{db="a b"} 1.5e+00
backup_seconds_count{db="a b"} 2

# a comment
# TYPE backup_ok gauge
backup_ok{db="x\\"y\\\\z\\n"} NaN
  backup_plain   -Inf
"""


def collect(
    *folders: Path, taken: Collection[str] = ()
) -> tuple[TextfileCollector, dict[tuple[str, ...], float], float]:
    """Return the collector, its points by name and labels, and whether something was wrong."""
    collector = TextfileCollector([str(folder) for folder in folders])
    points = collector.collect(taken)
    values = {(point.name, *(value for _, value in point.labels)): point.value for point in points}
    return collector, values, values.pop(("node_textfile_scrape_error",))


def errors(reason: str) -> float:
    return REGISTRY.get_sample_value("kobs_agent_textfile_errors_total", {"reason": reason}) or 0.0


def test_all_forms_of_a_good_text() -> None:
    histogram, gauge, plain = parse(GOOD)
    assert (histogram.name, histogram.type) == ("backup_seconds", MetricType.HISTOGRAM)
    assert histogram.help == "How long it took, \\ and \n a line."
    assert histogram.points == [
        Point("backup_seconds_bucket", 1.0, (("db", "a b"), ("le", "1"))),
        Point("backup_seconds_bucket", 2.0, (("db", "a b"), ("le", "+Inf"))),
        Point("backup_seconds_sum", 1.5, (("db", "a b"),)),
        Point("backup_seconds_count", 2.0, (("db", "a b"),)),
    ]
    assert gauge.points[0].labels == (("db", 'x"y\\z\n'),)
    assert str(gauge.points[0].value) == "nan"
    assert (plain.type, plain.points) == (MetricType.UNKNOWN, [Point("backup_plain", float("-inf"))])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 1\nb 2", "line 2: expected a line feed at the end"),
        ("a 1\nb\n", "line 2: expected a number as value of b, got ''"),
        ("a 1_000\n", "line 1: expected a number as value of a, got '1_000'"),
        ("a \u0661\n", "line 1: expected a number as value of a"),
        ("a 1 1700000000000\n", "line 1: expected no timestamp"),
        ("1a 1\n", "line 1: expected the name of a metric"),
        ('a{b="c" 1\n', "line 1: expected a label"),
        ('a{b="c"} \n', "line 1: expected a number as value of a"),
        ('a{b="c",b="d"} 1\n', "line 1: the label b appears twice"),
        ('a{b="\\q"} 1\n', r"line 1: unknown escape \\q"),
        ("a{b=c} 1\n", "line 1: expected a label"),
        ("# TYPE a count\na 1\n", "line 1: expected one of counter, gauge"),
        ("# TYPE a gauge\n# TYPE a gauge\na 1\n", "line 2: a second TYPE of a"),
        ("a 1\n# TYPE a gauge\n", "line 2: a second TYPE of a, or one after"),
        ("# HELP a x\n# HELP a y\na 1\n", "line 2: a second HELP of a"),
        ("# TYPE 1a gauge\n", "line 1: expected the name of a metric after TYPE"),
        ("<html>\n", "line 1: expected the name of a metric, got '<html>'"),
    ],
    ids=lambda value: value[:24],
)
def test_a_wrong_text_is_refused_with_line_and_reason(text: str, message: str) -> None:
    with pytest.raises(TextfileError, match=message):
        parse(text)


def test_a_wrong_file_is_left_out_whole_and_hides_no_other(tmp_path: Path) -> None:
    (tmp_path / "a.prom").write_text("a 1\nbroken\n")
    (tmp_path / "b.prom").write_text("b 2\n")
    (tmp_path / "b.prom.tmp").write_text("half")
    os.utime(tmp_path / "b.prom", (1_700_000_000.9, 1_700_000_000.9))
    before = errors("malformed")
    _, values, error = collect(tmp_path)
    assert values == {("b",): 2.0, ("node_textfile_mtime_seconds", str(tmp_path / "b.prom")): 1_700_000_000.0}
    assert error == 1.0
    assert errors("malformed") == before + 1


def test_without_a_folder_nothing_is_wrong(tmp_path: Path) -> None:
    assert collect()[1:] == ({}, 0.0)
    assert collect(tmp_path)[1:] == ({}, 0.0)
    assert collect(tmp_path / "gone")[1:] == ({}, 1.0)


def test_folders_by_a_glob(tmp_path: Path) -> None:
    for folder in ("x1", "x2", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "m.prom").write_text(f"{folder} 1\n")
    _, values, error = collect(tmp_path / "x*")
    assert {key[0] for key in values} == {"x1", "x2", "node_textfile_mtime_seconds"}
    assert error == 0.0


@pytest.mark.parametrize(
    ("second", "shown"),
    [
        ('# TYPE m counter\nm{a="2"} 2\n', {("m", "1"): 1.0}),
        ('# HELP m Another.\n# TYPE m gauge\nm{a="2"} 2\n', {("m", "1"): 1.0}),
        ('# TYPE m gauge\nm{a="1"} 2\nm{a="2"} 2\n', {("m", "1"): 1.0, ("m", "2"): 2.0}),
        ("node_load1 2\n", {("m", "1"): 1.0}),
    ],
    ids=["type", "help", "series", "the machine's own"],
)
def test_of_what_collides_the_first_is_kept(tmp_path: Path, second: str, shown: dict[tuple[str, ...], float]) -> None:
    (tmp_path / "1.prom").write_text('# HELP m One.\n# TYPE m gauge\nm{a="1"} 1\n')
    (tmp_path / "2.prom").write_text(second)
    before = errors("collision")
    _, values, error = collect(tmp_path, taken={"node_load1"})
    assert {key: value for key, value in values.items() if key[0] != "node_textfile_mtime_seconds"} == shown
    assert error == 1.0
    assert errors("collision") == before + 1


def test_one_metric_in_two_files(tmp_path: Path) -> None:
    (tmp_path / "1.prom").write_text('# HELP m One.\nm{a="1"} 1\n')
    (tmp_path / "2.prom").write_text('m{a="2"} 2\n')
    _, values, error = collect(tmp_path)
    assert (values["m", "1"], values["m", "2"], error) == (1.0, 2.0, 0.0)


def test_bytes_that_are_no_text_and_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.prom").write_bytes(b"a 1\n\xff\n")
    (tmp_path / "b.prom").mkdir()
    (tmp_path / "c.prom").write_text("c 3\n")
    _, values, error = collect(tmp_path)
    assert values["c",] == 3.0
    assert error == 1.0


def test_a_file_tells_type_and_help_of_its_metrics(tmp_path: Path) -> None:
    (tmp_path / "a.prom").write_text(GOOD)
    reader = HostReader(Roots(), textfiles=[str(tmp_path)], named={})
    names = {point.name for point in reader.read()}
    families = {family.name: family for family in reader.families(sorted(names))}
    assert families["backup_seconds"].type is MetricType.HISTOGRAM
    assert families["backup_seconds"].unit == "seconds"
    assert families["backup_ok"].type is MetricType.GAUGE
    assert families["node_textfile_mtime_seconds"].type is MetricType.GAUGE
