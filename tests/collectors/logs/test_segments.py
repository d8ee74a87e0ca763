"""Bytes of a segment by offset, whatever form the file has."""

import gzip
import os
import random
from pathlib import Path

import pytest

from kobs.collectors.logs.cutting import complete_to, lines_to
from kobs.collectors.logs.segments import DamagedError, open_segment
from kobs.wire.ship import LineFormat


@pytest.mark.parametrize("form", ["plain", "gz", "gz of two members"])
def test_any_range_can_be_read_in_any_order(tmp_path: Path, form: str) -> None:
    rng = random.Random(5)
    content = rng.randbytes(300_000)
    path = tmp_path / ("x.log" if form == "plain" else "x.log.gz")
    if form == "plain":
        path.write_bytes(content)
    elif form == "gz":
        path.write_bytes(gzip.compress(content))
    else:
        path.write_bytes(gzip.compress(content[:1000]) + gzip.compress(content[1000:]))
    opened = open_segment(path)
    for _ in range(20):
        offset, size = rng.randrange(0, 310_000), rng.randrange(1, 100_000)
        assert opened.read(offset, size) == content[offset : offset + size]
    opened.close()


@pytest.mark.parametrize("damage", ["cut off", "changed"])
def test_what_is_before_the_damage_is_read(tmp_path: Path, damage: str) -> None:
    content = b"".join(b"line %d %d\n" % (i, i * i) for i in range(50_000))
    whole = bytearray(gzip.compress(content))
    if damage == "cut off":
        del whole[len(whole) // 2 :]
    else:
        whole[len(whole) // 2] ^= 0xFF
        whole[len(whole) // 2 + 1] ^= 0xFF
    path = tmp_path / "x.log.gz"
    path.write_bytes(whole)
    opened = open_segment(path)
    got = b""
    with pytest.raises(DamagedError) as caught:  # noqa: PT012 - one of the reads raises
        while True:
            piece = opened.read(len(got), 65536)
            assert piece, "the damage went unnoticed"
            got += piece
    opened.close()

    assert len(got) > 1000
    assert caught.value.offset == len(got)
    if damage == "cut off":
        assert content.startswith(got)


def test_a_deleted_file_is_read_through_its_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(b"abc")
    opened = open_segment(path)
    path.unlink()

    assert opened.read(1, 10) == b"bc"
    assert opened.state().links == 0
    opened.close()


def test_a_fifo_does_not_block(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    os.mkfifo(path)
    opened = open_segment(path)
    with pytest.raises(OSError, match="seek"):
        opened.read(0, 10)
    opened.close()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"a\nb", 2),
        (b"T stdout F a\nT stderr P b\nT stdout F c\n", 13),
        (b"T stdout P a\nT stdout F b\n", 26),
        (b"T stdout P a\nT stderr F b\nT stdout F c\nT std", 39),
    ],
)
def test_lines_are_complete_up_to_a_partial_line(data: bytes, expected: int) -> None:
    assert complete_to(data, format=LineFormat.CRI) == expected
    assert lines_to(data) == data.rfind(b"\n") + 1
