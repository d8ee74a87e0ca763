"""Paths tell sources, first lines tell segments."""

from pathlib import Path

import pytest

from kobs.collectors.logs.discovery import start_pattern
from kobs.collectors.logs.identity import (
    container_source,
    cri_time_ns,
    first_line,
    head_of,
    is_rotation_of,
    segment_of,
)
from kobs.config import AgentSettings
from kobs.model.logs import LogSource, SourceKind
from kobs.wire.ship import LineFormat, Stream

ROOT = Path("/var/log/pods")
CRI = Stream(source=LogSource(kind=SourceKind.CONTAINER, node="n"), format=LineFormat.CRI)
PLAIN = Stream(source=LogSource(kind=SourceKind.FILE, node="n", path="/x.log"), format=LineFormat.PLAIN)


@pytest.mark.parametrize(
    "name", ["3.log", "3.log.20261122-101400", "3.log.20261122-101400.gz"], ids=["live", "rotated", "compressed"]
)
def test_a_container_file_has_its_source_under_each_of_its_names(name: str) -> None:
    source = container_source(ROOT, ROOT / "shop_web-1_uid-1" / "app" / name, cluster="c", node="n")

    assert source is not None
    assert (source.namespace, source.pod, source.uid, source.container, source.restart) == (
        "shop",
        "web-1",
        "uid-1",
        "app",
        3,
    )


@pytest.mark.parametrize("path", ["shop_web_u/app/x.log", "shop_web_u/app/1.log.tmp", "shop_web/app/1.log", "a/1.log"])
def test_other_files_below_the_folder_have_no_source(path: str) -> None:
    assert container_source(ROOT, ROOT / path, cluster="c", node="n") is None


@pytest.mark.parametrize(
    ("name", "live", "expected"),
    [
        ("syslog.1", "syslog", True),
        ("syslog.2.gz", "syslog", True),
        ("app.log-20261122", "app.log", True),
        ("app.log-20261122.gz", "app.log", True),
        ("app.log.2026-11-22", "app.log", True),
        ("app.log.old", "app.log", True),
        ("app.log.gz", "app.log", True),
        ("app.log", "app.log", False),
        ("app.log2", "app.log", False),
        ("app.logger", "app.log", False),
        ("app.log.tmp", "app.log", False),
        ("app.log.1.tmp", "app.log", False),
    ],
)
def test_rotated_names_are_told_from_others(name: str, live: str, expected: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert is_rotation_of(name, live) is expected


def test_a_container_segment_is_the_time_of_its_first_line() -> None:
    line = b"2026-11-22T10:15:00.100000001Z stdout F x"

    assert segment_of(CRI, line, inode=1) == segment_of(CRI, line, inode=2) == 1795342500100000001


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"1970-01-01T00:00:01Z stdout F x", 10**9),
        (b"1970-01-01T01:00:01.5+01:00 stderr P x", 1_500_000_000),
        (b"1969-12-31T23:00:01-01:00 stderr P x", 10**9),
        (b"2024-02-29T12:00:00.000000009Z stdout F ", 1709208000_000000009),
        (b"no time", None),
        (b"2026-11-22T10:15:00Z nowhere F x", None),
    ],
)
def test_times_of_runtime_lines(line: bytes, expected: int | None) -> None:
    assert cri_time_ns(line) == expected


def test_a_plain_segment_follows_inode_and_first_line() -> None:
    numbers = {
        segment_of(PLAIN, b"a", inode=1),
        segment_of(PLAIN, b"a", inode=2),
        segment_of(PLAIN, b"b", inode=1),
        segment_of(PLAIN, b"a", inode=1, generation=1),
    }

    assert len(numbers) == 4
    assert all(0 <= number < 2**63 for number in numbers)


def test_the_first_line_is_known_once_it_is_complete() -> None:
    assert first_line(b"") is None
    assert first_line(b"not yet") is None
    assert first_line(b"\nrest") == b""
    assert first_line(b"line\nrest") == b"line"
    assert first_line(b"x" * 5000) == b"x" * 4096
    assert head_of(b"line") == head_of(b"line") != head_of(b"other")


def test_a_source_id_depends_on_each_part_of_its_identity() -> None:
    base = {"kind": SourceKind.CONTAINER, "cluster": "c", "node": "n", "namespace": "a", "pod": "b", "uid": "u"}
    sources = [LogSource(**base, container="x", restart=0)]
    for name, value in {**base, "container": "x", "restart": 0}.items():
        if name != "kind":
            sources.append(LogSource(**{**base, "container": "x", name: 1 if value == 0 else f"{value}2"}))

    assert len({source.id() for source in sources}) == len(sources)


def test_the_first_multiline_rule_that_matches_whole_names_wins() -> None:
    settings = AgentSettings.model_validate(
        {
            "multiline": [
                {"namespace": "shop", "container": "app.*", "start": "^A"},
                {"path": "/var/log/.*", "start": "^B"},
                {"namespace": "shop", "start": "^C"},
            ]
        }
    )

    def pattern(**source: str) -> str:
        return start_pattern(settings.multiline, LogSource(kind=SourceKind.CONTAINER, node="n", **source))

    assert pattern(namespace="shop", container="app-1") == "^A"
    assert pattern(namespace="shop", container="my-app") == "^C"
    assert pattern(namespace="shopping", container="app") == ""
    assert pattern(path="/var/log/x.log") == "^B"
    assert pattern(path="/var/log/\udcff.log") == "^B"
