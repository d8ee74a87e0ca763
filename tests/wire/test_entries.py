"""How the bytes of a batch become entries, format by format."""

import json
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from kobs.wire.entries import Entries, open_from, split
from kobs.wire.ship import LineFormat

SECOND = 1_000_000_000
NOON = 1_795_348_800 * SECOND
"""2026-11-22T12:00:00Z"""


def line(content: bytes, *, seconds: float = 0, stream: bytes = b"stdout", tag: bytes = b"F") -> bytes:
    whole, fraction = divmod(round(seconds * SECOND), SECOND)
    return b"2026-11-22T12:%02d:%02d.%09dZ %s %s %s\n" % (whole // 60, whole % 60, fraction, stream, tag, content)


def split_cri(payload: bytes, **options: object) -> Entries:
    return split(payload, format=LineFormat.CRI, read_ns=7, **options)  # type: ignore[arg-type]  # options by name


def test_recorded_node_gives_the_expected_lines(recorded: Callable[[str], Path]) -> None:
    folder = recorded("logs") / "cri"
    wanted = defaultdict(list)
    for text in (folder / "expected.jsonl").read_text().splitlines():
        record = json.loads(text)
        first_ns = int(datetime.fromisoformat(record["first_time"][:19] + "+00:00").timestamp()) * SECOND
        first_ns += int(record["first_time"][20:29])
        wanted[record["file"]].append((first_ns, record["stream"] == "stderr", record["line"].encode()))
    count = 0
    for name, records in wanted.items():
        payload = (folder / name).read_bytes()
        found = split_cri(payload, group=False)
        entries = list(zip(found.times_ns, found.stderr, found.bodies, strict=True))
        if name.endswith("init/0.log"):
            assert entries.pop()[2] == b"this line is not finished ye"
        assert entries == sorted(records)
        assert sum(found.sizes) == len(payload)
        assert found.malformed == 0
        count += len(entries)
    assert count == 182


@pytest.mark.parametrize(
    ("text", "time_ns", "stderr", "body"),
    [
        (b"2026-11-22T12:00:00.000000001Z stdout F a b", NOON + 1, False, b"a b"),
        (b"2026-11-22T13:30:00.000000001+01:30 stderr F a", NOON + 1, True, b"a"),
        (b"2026-11-22T06:30:00.1-0530 stdout F a", NOON + SECOND // 10, False, b"a"),
        (b"2026-11-22T12:00:00Z stdout F a", NOON, False, b"a"),
        (b"2026-11-22T12:00:00.123456Z stdout F a", NOON + 123_456_000, False, b"a"),
        (b"2026-11-22T12:00:00.000000000Z stdout F:x:y a", NOON, False, b"a"),
        (b"2026-11-22T12:00:00.000000000Z stdout F ", NOON, False, b""),
        (b"2026-11-22T12:00:00.000000000Z stdout F", NOON, False, b""),
        (b"2026-11-22T12:00:00.000000000+00:00 stderr F", NOON, True, b""),
        (b"2026-11-22T12:00:00.000000000Z stdout F  a \r", NOON, False, b" a \r"),
    ],
)
@pytest.mark.parametrize("before", [b"", line(b"first"), b"2026-11-22T12:00:00.000000000+00:00 stdout F first\n"])
def test_cri_lines_of_each_form_are_read(text: bytes, time_ns: int, stderr: bool, body: bytes, before: bytes) -> None:  # noqa: FBT001  (a parameter of the test)
    found = split_cri(before + text + b"\n", group=False)
    assert (found.times_ns[-1], found.stderr[-1], found.bodies[-1]) == (time_ns, stderr, body)
    assert found.malformed == 0


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"no CRI at all",
        b"2026-11-22T12:00:00.000000000Z stdout",
        b"2026-11-22T12:00:00.000000000Z stdin F a",
        b"2026-11-22T12:00:00.000000000Z stdout X a",
        b"2026-11-22T12:00:00.000000000Z stdout FF a",
        b"2026-11-22T12:00:00.0000000001Z stdout F a",
        b"2026-11-22T12:00:00.00000_000Z stdout F a",
        b"2026-11-22T12:00:00.+00000000Z stdout F a",
        b"2026-13-22T12:00:00.000000000Z stdout F a",
        b"2026-02-30T12:00:00.000000000Z stdout F a",
        b"2026-11-22T24:00:00.000000000Z stdout F a",
        b"2026-11-22T12:00:60.000000000Z stdout F a",
        b"2026-11-22T12:00:00.000000000+24:00 stdout F a",
        b"2026-11-22T12:00:00,000000000Z stdout F a",
        b'{"log":"a","stream":"stdout","time":"2026-11-22T12:00:00Z"}',
        b"\x00" * 40,
    ],
)
def test_lines_that_are_not_cri_are_kept_and_counted(text: bytes) -> None:
    found = split_cri(text + b"\n" + line(b"a", seconds=1) + text + b"\n")
    assert found.bodies == [text, b"a", text]
    assert found.times_ns == [7, NOON + SECOND, NOON + SECOND]
    assert found.malformed == 2


def test_parts_are_joined_by_stream_at_the_time_of_the_first() -> None:
    payload = b"".join(
        [
            line(b"a1", tag=b"P"),
            line(b"b1", tag=b"P", stream=b"stderr", seconds=1),
            line(b"a2", tag=b"P:x", seconds=2),
            line(b"b2", stream=b"stderr", seconds=3),
            b"junk\n",
            line(b"", seconds=4),
        ]
    )
    found = split_cri(payload)
    assert found.bodies == [b"a1a2", b"b1b2", b"junk"]
    assert found.times_ns == [NOON, NOON + SECOND, NOON + 3 * SECOND]
    assert found.stderr == [False, True, False]
    assert found.offsets == [0, len(line(b"a1")), payload.index(b"junk")]
    assert sum(found.sizes) == len(payload)
    assert found.sizes[2] == 5


def test_parts_without_end_are_an_entry() -> None:
    assert split_cri(line(b"a", tag=b"P") + line(b"b", tag=b"P")).bodies == [b"ab"]


def test_parts_do_not_wait_for_ever() -> None:
    noise = line(b"x", stream=b"stderr")
    assert split_cri(line(b"a", tag=b"P") + noise * 999 + line(b"b")).bodies[0] == b"ab"
    assert split_cri(line(b"a", tag=b"P") + noise * 1000 + line(b"b")).bodies[0] == b"a"


def test_a_cut_through_a_character_is_mended_by_joining() -> None:
    found = split_cri(line(b"\xe6\x97", tag=b"P") + line(b"\xa5"))
    assert found.bodies == ["日".encode()]


def test_the_end_of_a_long_line_is_left_out_and_counted() -> None:
    payload = line(b"a") + line(b"12345", tag=b"P") * 3 + line(b"67") + line(b"12345678901234") + line(b"1234567890")
    found = split_cri(payload, max_body_bytes=10)
    assert found.bodies == [b"a", b"1234512345", b"1234567890", b"1234567890"]
    assert found.cut == {1: 7, 2: 4}
    assert sum(found.sizes) == len(payload)


def test_parts_that_are_each_too_long_count_once() -> None:
    payload = line(b"a") + line(b"123456", tag=b"P") + line(b"123456", tag=b"P") + line(b"12345678") + line(b"b")
    found = split_cri(payload, max_body_bytes=4)
    assert (found.bodies, found.cut) == ([b"a", b"1234", b"b"], {1: 16})


def test_a_long_plain_line_is_cut_too() -> None:
    found = split(b"short\n0123456789\n", format=LineFormat.PLAIN, read_ns=7, max_body_bytes=6)
    assert (found.bodies, found.cut, found.sizes) == ([b"short", b"012345"], {1: 4}, [6, 11])


def test_streams_are_grouped_apart() -> None:
    payload = line(b"a") + line(b"b", stream=b"stderr") + line(b" a2") + line(b"c") + line(b" b2", stream=b"stderr")
    found = split_cri(payload)
    assert found.bodies == [b"a\n a2", b"b\n b2", b"c"]
    assert found.stderr == [False, True, False]


@pytest.mark.parametrize(
    ("seconds", "bodies"),
    [(4.999999999, [b"a\n b"]), (5, [b"a", b" b"]), (-60, [b"a\n b"])],
    ids=["just before", "at", "clock set back"],
)
def test_a_late_line_does_not_continue_a_group(seconds: float, bodies: list[bytes]) -> None:
    assert split_cri(line(b"a", seconds=120) + line(b" b", seconds=120 + seconds)).bodies == bodies


def test_a_line_of_the_other_stream_ends_a_group_by_its_time() -> None:
    payload = line(b"a") + line(b"x", stream=b"stderr", seconds=5) + line(b" b", seconds=1)
    assert split_cri(payload).bodies == [b"a", b"x", b" b"]


def test_a_pause_ends_a_group_only_between_neighbours() -> None:
    payload = b"".join(line(b" a", seconds=4 * number) for number in range(10))
    assert len(split_cri(payload).bodies) == 1


def test_plain_lines_have_no_time_and_no_stream() -> None:
    found = split(b"a\r\n\nb", format=LineFormat.PLAIN, read_ns=7)
    assert found == Entries([0, 0, 0], [0, 3, 4], [3, 1, 1], {}, [b"a\r", b"", b"b"], [False] * 3, {}, 0)


def test_an_empty_payload_has_no_entries() -> None:
    for line_format in LineFormat:
        assert split(b"", format=line_format, read_ns=7) == Entries([], [], [], {}, [], [], {}, 0)
        assert open_from(b"", format=line_format) == 0


def test_payloads_may_be_views() -> None:
    assert split(memoryview(bytearray(b"a\n b\n")), format=LineFormat.PLAIN, read_ns=7).bodies == [b"a\n b"]
    assert open_from(memoryview(b"a\nb\n"), format=LineFormat.PLAIN) == 2


def test_an_entry_over_a_rotation_counts_its_bytes_beyond() -> None:
    old = line(b"a") + line(b"b", tag=b"P") + line(b"c", stream=b"stderr") + line(b"x")
    new = line(b" d", stream=b"stderr") + line(b"e") + line(b"f", stream=b"stderr") + line(b" g", stream=b"stderr")
    found = split_cri(old + new, boundary=len(old))
    size = len(line(b"a"))
    assert found.bodies == [b"a", b"bx", b"c\n d", b"e", b"f\n g"]
    assert found.sizes == [size, 2 * size, len(line(b"c", stream=b"stderr")), size, found.sizes[4]]
    assert found.tails == {2: len(line(b" d", stream=b"stderr"))}
    assert sum(found.sizes) + sum(found.tails.values()) == len(old + new)


def test_a_boundary_inside_a_line_divides_it() -> None:
    found = split(b"abc\ndef\n", format=LineFormat.PLAIN, read_ns=7, boundary=5)
    assert (found.sizes, found.tails) == ([4, 1], {1: 3})
