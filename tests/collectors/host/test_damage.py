"""Files that are not as the kernel writes them: their collector fails, is shown as failed, and all others go on."""

from pathlib import Path

import pytest

from kobs.collectors.host.points import Point
from kobs.collectors.host.reading import HostReader
from kobs.collectors.host.roots import Roots
from tests.collectors.host.machine import RICH, rich_machine

TABLES = [name for name, content in RICH.items() if content.count("\n") > 1]


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    return rich_machine(tmp_path)


def success(points: list[Point]) -> dict[str, float]:
    return {point.labels[0][1]: point.value for point in points if point.name == "node_scrape_collector_success"}


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"\xff\xfe\n", b"1", b"-1\n", b"1 2 3\n" * 9, b"a:b c\n" * 9],
    ids=lambda content: repr(content)[:12],
)
def test_every_file_damaged_alike(roots: Roots, tmp_path: Path, content: bytes) -> None:
    for name in RICH:
        (tmp_path / name).write_bytes(content)
    points = HostReader(roots).read()
    assert len(success(points)) == len(set(success(points))) > 40
    assert success(points)["time"] == 1.0


@pytest.mark.parametrize("name", TABLES, ids=lambda name: name.replace("/", "-")[-30:])
def test_a_table_that_breaks_off(roots: Roots, tmp_path: Path, name: str) -> None:
    """Wherever it breaks off, only the collector that reads it may fail."""
    before = success(HostReader(roots).read())
    content = RICH[name].encode()
    for end in range(0, len(content), max(len(content) // 12, 1)):
        (tmp_path / name).write_bytes(content[:end])
        after = success(HostReader(roots).read())
        changed = {collector for collector, value in after.items() if value != before[collector]}
        assert len(changed) <= 1, changed
