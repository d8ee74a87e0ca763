"""Where a log may be cut: whatever bytes follow, the two sides give the entries of the whole."""

import random

import pytest

from kobs.wire import cri, entries, grouping
from kobs.wire.entries import Entries, open_from, split
from kobs.wire.ship import LineFormat

WORDS = [
    *(b"hello", b"", b" ", b"  indented", b"\r", b"\xff\xfe\x00", b"2026-11-22 x START", b"exit status 2"),
    *(b"\tat x.y(Z.java:1)", b"Caused by: x", b"... 9 more", b"\t... 9 more", b"--- End of stack trace"),
    *(b"Traceback (most recent call last):", b'  File "x", line 1', b"KeyError: 'x'", b"  | x"),
    b"The above exception was the direct cause of the following exception:",
    b"During handling of the above exception, another exception occurred:",
    b"  + Exception Group Traceback (most recent call last):",
    *(b"panic: boom", b"goroutine 5 [running]:", b"main.main()", b"\t/app/main.go:4", b"created by main.main"),
    *(b"[signal SIGSEGV]", b"fatal error: x", b"http: panic serving 1: x", b"F1123 x", b"rax 0x1", b"runtime stack:"),
    *(
        b"/app/app.js:4",
        b"throw new Error()",
        b"      ^",
        b"TypeError: x",
        b"    at foo (/x.js:1:1)",
        b"Node.js v20.2.0",
    ),
    *(b"foo {", b"}", b"  ]", b"x: [", b"]"),
]
JUNK = [b"junk", b"", b" junk", b"2026-13-45T00:00:00.000000000Z stdout F x", b"2026-11-22T00:00:00Z stdout P"]


def random_log(rng: random.Random, line_format: LineFormat) -> bytes:
    """Return a log of lines that mean something to the rules, in an order that means nothing."""
    count = rng.choice([3, 8, 20, 40, 80])
    if rng.random() < 0.05:
        lines = [rng.randbytes(rng.randrange(9)) for _ in range(count)]
    elif line_format is LineFormat.PLAIN:
        lines = [rng.choice(WORDS) for _ in range(count)]
    else:
        lines = []
        second = 1000
        steps = rng.choice([[0], [0, 0, 0, 0, 1, 1, 4, 5, 6, -3]])
        stdout, whole, junk = rng.choice([0.5, 0.95, 1]), rng.choice([0.5, 0.8, 1]), rng.choice([0, 0.1, 1])
        for _ in range(count):
            if rng.random() < junk:
                lines.append(rng.choice(JUNK))
                continue
            second += rng.choice(steps)
            clock = b"%02d:%02d:%02d" % (second // 3600, second // 60 % 60, second % 60)
            fraction = rng.choice([b".000000000", b".000000000", b".%09d" % rng.randrange(10**9)])
            zone = rng.choice([b"Z", b"+00:00"]) if junk else b"Z"
            stream = b"stdout" if rng.random() < stdout else b"stderr"
            tag = b"F" if rng.random() < whole else b"P"
            head = b"2026-11-22T%s%s%s %s %s " % (clock, fraction, zone, stream, tag)
            lines.append(head + rng.choice(WORDS))
    return b"\n".join(lines) + rng.choice([b"\n", b"\n", b"\n", b""])


def rows(found: Entries, *, start: int) -> list[tuple[object, ...]]:
    columns = zip(found.times_ns, found.offsets, found.sizes, found.bodies, found.stderr, strict=True)
    return [
        (time, start + offset, size, body, stderr, found.cut.get(index))
        for index, (time, offset, size, body, stderr) in enumerate(columns)
    ]


@pytest.fixture(params=["real limits", "small limits"])
def limits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small limits are reached by short logs, which a failure shows better than long ones."""
    if request.param == "small limits":
        monkeypatch.setattr(entries, "MAX_GROUP_LINES", 6)
        monkeypatch.setattr(grouping, "MAX_GROUP_LINES", 6)
        monkeypatch.setattr(cri, "MAX_GAP_LINES", 4)


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize("line_format", [LineFormat.CRI, LineFormat.PLAIN])
@pytest.mark.parametrize("seed", range(10))
def test_both_sides_of_a_cut_give_the_entries_of_the_whole(line_format: LineFormat, seed: int) -> None:
    cuts = 0
    for number in range(120):
        rng = random.Random(f"{line_format} {seed} {number}")
        log = random_log(rng, line_format)
        pattern = rng.choice(["", "", "", "", "START|hello"])
        max_body_bytes = rng.choice([1 << 20, 1 << 20, 50, 200])
        options = {"format": line_format, "start_pattern": pattern, "max_body_bytes": max_body_bytes}
        so_far = rng.randrange(len(log) + 1)
        cut = open_from(log[:so_far], **options)
        whole, left, right = (split(part, read_ns=7, **options) for part in (log, log[:cut], log[cut:]))
        assert rows(whole, start=0) == rows(left, start=0) + rows(right, start=cut), (log, so_far, cut, options)
        assert whole.malformed == left.malformed + right.malformed
        assert sum(whole.sizes) == len(log)
        assert whole.offsets == sorted(set(whole.offsets))
        assert 0 <= cut <= so_far
        cuts += cut > 0

        boundary = rng.randrange(len(log) + 1)
        divided = split(log, read_ns=7, boundary=boundary, **options)
        assert [size + divided.tails.get(index, 0) for index, size in enumerate(divided.sizes)] == whole.sizes
        below = [size for size, offset in zip(divided.sizes, divided.offsets, strict=True) if offset < boundary]
        assert sum(below) <= boundary
        assert all(divided.offsets[index] < boundary and tail > 0 for index, tail in divided.tails.items())
    assert cuts > 40


def test_a_single_stream_is_open_from_its_last_entry() -> None:
    log = b"a\nb\n  c\nd\n  e\n"
    assert open_from(log, format=LineFormat.PLAIN) == log.index(b"d")
    assert open_from(log + b"half a li", format=LineFormat.PLAIN) == log.index(b"d")


def test_nothing_is_complete_before_the_first_newline() -> None:
    for line_format in LineFormat:
        assert open_from(b"2026-11-22T00:00:00Z stdout F x", format=line_format) == 0


def test_a_blank_line_that_may_belong_to_a_trace_is_open() -> None:
    log = b"x\npanic: boom\n\n"
    assert open_from(log, format=LineFormat.PLAIN) == 2
    assert open_from(log + b"next\n", format=LineFormat.PLAIN) == len(log)


def cri_line(second: int, stream: bytes, content: bytes, *, tag: bytes = b"F") -> bytes:
    return b"2026-11-22T12:00:%02d.000000000Z %s %s %s\n" % (second, stream, tag, content)


def test_both_streams_hold_the_cut_back() -> None:
    first = cri_line(0, b"stdout", b"a")
    log = first + cri_line(0, b"stderr", b"b") + cri_line(1, b"stdout", b"c") + cri_line(2, b"stdout", b"d")
    assert open_from(log, format=LineFormat.CRI) == len(first)


def test_a_stream_that_fell_silent_does_not_hold_the_cut_back() -> None:
    log = cri_line(0, b"stderr", b"b") + cri_line(4, b"stdout", b"c")
    assert open_from(log, format=LineFormat.CRI) == 0
    last = cri_line(5, b"stdout", b"d")
    assert open_from(log + last, format=LineFormat.CRI) == len(log)
    busy = cri_line(0, b"stderr", b"b") + cri_line(0, b"stdout", b"c") * 1000
    assert open_from(busy, format=LineFormat.CRI) == len(busy) - len(cri_line(0, b"stdout", b"c"))


def test_parts_without_end_hold_the_cut_back() -> None:
    first = cri_line(0, b"stdout", b"a")
    log = first + cri_line(1, b"stderr", b"b", tag=b"P") + cri_line(50, b"stdout", b"c") * 3
    assert open_from(log, format=LineFormat.CRI) == len(first)


def test_an_entry_of_the_other_stream_is_not_cut_through() -> None:
    first = cri_line(0, b"stdout", b"a")
    log = first + cri_line(0, b"stderr", b"b") + cri_line(0, b"stdout", b"c") + cri_line(0, b"stderr", b" b2")
    log += cri_line(0, b"stderr", b"e")
    assert open_from(log, format=LineFormat.CRI) == len(first)
