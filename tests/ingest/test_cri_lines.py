"""Lines that are read together are the entries that `kobs.wire.entries.split` makes of each batch."""

from hypothesis import given, settings
from hypothesis import strategies as st

from kobs.ingest import cri_lines
from kobs.wire.entries import split
from kobs.wire.ship import LineFormat

_LIMIT = 60

_times = st.one_of(
    st.builds(
        "2026-11-{:02d}T{:02d}:{:02d}:{:02d}.{:09d}".format, *[st.integers(0, 61)] * 4, st.integers(0, 10**9 - 1)
    ),
    st.builds("2026-11-22T10:1{}:0{}.{:09d}".format, *[st.integers(0, 9)] * 2, st.integers(0, 10**9 - 1)),
    st.sampled_from(
        ["2026-02-29T00:00:00.000000000", "2028-02-29T23:59:59.999999999", "0000-01-01T00:00:00.000000000"]
    ),
    st.sampled_from(["2026-11-22T10:00:00.12345678", "2026-11-22T10:00:00", "2026-11-22 10:00:00.000000000", ""]),
)
_usual_zones = st.sampled_from(["Z"] * 6 + ["+00:00", "-05:30", "+0530", "+99:99", "z", ""])
_tags = st.sampled_from(
    [" stdout F "] * 8 + [" stderr F "] * 4 + [" stdout P ", " stderr P ", " stdout F", " stdout F:x "]
)
_contents = st.one_of(
    st.sampled_from(["level=info msg=started", '{"level":"info"}', "I1122 10:15:00.0  1 a.go:1] x", "", "x" * _LIMIT]),
    st.sampled_from(
        ["  indented", "\tat com.example", "Caused by: x", "Traceback (most recent call last):", "}", "x" * 61]
    ),
    st.sampled_from(
        ["Starting", "Traced", "... 9 more", "... and", "/usr/lib/a.js:3", "/usr/lib a", "panic: x", "[ok]"]
    ),
    st.text(st.characters(blacklist_characters="\n", blacklist_categories=("Cs",)), max_size=70),
)


@st.composite
def _batches(draw: st.DrawFn) -> bytes:
    """Bytes of a batch: mostly lines of one zone as runtimes write them, sometimes anything else."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=120))
    zone = draw(_usual_zones)
    odd = draw(st.booleans())
    lines = [
        (
            draw(_times if odd else st.just("2026-11-22T10:00:00.000000001"))
            + (draw(_usual_zones) if odd else zone)
            + draw(_tags if odd else st.sampled_from([" stdout F ", " stderr F "]))
            + draw(_contents)
        )
        for _ in range(draw(st.integers(0, 6)))
    ]
    ending = "" if odd and draw(st.booleans()) else "\n"
    return "".join(f"{line}\n" for line in lines[:-1]).encode() + (lines[-1] + ending if lines else "").encode()


@settings(max_examples=400, deadline=None)
@given(st.lists(_batches(), min_size=1, max_size=5), st.binary(max_size=30))
def test_lines_that_are_read_together_are_the_entries_of_their_batches(batches: list[bytes], between: bytes) -> None:
    """Also with bytes of other batches between them."""
    payload = b""
    places = []
    for batch in batches:
        places.append((len(payload), len(payload) + len(batch)))
        payload += batch + between

    found = cri_lines.read(payload, places, max_body_bytes=_LIMIT)

    for number, (begin, end) in enumerate(places):
        mine = (found.batches == number).nonzero()[0].tolist()
        if not found.is_read[number]:
            assert mine == []
            continue
        entries = split(payload[begin:end], format=LineFormat.CRI, read_ns=7, max_body_bytes=_LIMIT)
        assert [int(found.starts[line]) - begin for line in mine] == entries.offsets
        assert [int(found.ends[line] - found.starts[line]) + 1 for line in mine] == entries.sizes
        assert [payload[found.body_starts[line] : found.ends[line]] for line in mine] == entries.bodies
        assert [int(found.times_ns[line]) for line in mine] == entries.times_ns
        assert [bool(found.is_stderr[line]) for line in mine] == entries.stderr
        assert (entries.tails, entries.cut, entries.malformed) == ({}, {}, 0)


def test_usual_lines_are_read_and_a_batch_with_an_unusual_one_is_not() -> None:
    usual = b"2026-11-22T10:00:00.000000001Z stdout F a\n2026-11-22T10:00:00.000000002Z stderr F \n"
    other = b"2026-11-22T10:00:00.000000001+05:30 stdout F Starting\n"
    odd = b"2026-11-22T10:00:00.000000001Z stdout P a\n"
    payload = usual + odd + other + odd + usual
    places = []
    at = 0
    for piece in (usual, odd, other, odd, usual):
        places.append((at, at + len(piece)))
        at += len(piece)

    found = cri_lines.read(payload, places, max_body_bytes=_LIMIT)

    assert found.is_read.tolist() == [True, False, True, False, True]
    assert found.batches.tolist() == [0, 0, 2, 4, 4]
