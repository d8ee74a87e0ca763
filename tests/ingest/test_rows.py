"""Batches become rows: positions, times, retention, and what is left out."""

import random

import pytest

from kobs.config import StorageSettings
from kobs.ingest.rows import Columns, RowBuilder, leave_out
from kobs.model.logs import LogSource, LossReason, SourceKind
from kobs.wire.ship import Batch, LineFormat, Stream

_DAY_NS = 86_400_000_000_000
_NOW_NS = 20_780 * _DAY_NS + 10**15
_TODAY = _NOW_NS // _DAY_NS

CONTAINER = Stream(
    source=LogSource(kind=SourceKind.CONTAINER, cluster="c", node="n", namespace="shop", pod="web", container="app"),
    format=LineFormat.CRI,
)
FILE = Stream(source=LogSource(kind=SourceKind.FILE, node="n", path="/var/log/app.log"), format=LineFormat.PLAIN)


def _build(stream: Stream, payload: bytes, **batch: int) -> tuple[Columns, list[LossReason]]:
    columns = Columns()
    settings = StorageSettings.model_validate({"keep_days": 30, "keep": [{"namespace": "short-.*", "days": 1}]})
    builder = RowBuilder(settings, max_body_bytes=1000)
    whole = Batch(
        stream=0,
        segment=batch.pop("segment", 7),
        start=batch.get("start", 0),
        end=batch.pop("end", batch.get("start", 0) + len(payload)),
        length=len(payload),
        read_ns=_NOW_NS,
        **{name: value for name, value in batch.items() if name != "start"},
    )
    built = builder.add(columns, stream, whole, payload, attempt=257, today=_TODAY)
    return columns, [drop.reason for drop in built.drops]


def _cri(time: str, content: str, *, stream: str = "stdout", tag: str = "F") -> bytes:
    return f"{time} {stream} {tag} {content}\n".encode()


def test_a_row_has_its_position_and_covers_its_bytes() -> None:
    first = _cri("2026-11-23T10:00:00.000000001Z", "one")
    second = _cri("2026-11-23T10:00:00.000000002Z", "two", stream="stderr")

    columns, drops = _build(CONTAINER, first + second, start=500)

    assert columns.offsets == [500, 500 + len(first)]
    assert columns.sizes == [len(first), len(second)]
    assert columns.bodies == [b"one", b"two"]
    assert columns.segments == [7, 7]
    assert columns.attempts == [1, 1]
    assert columns.streams[0] != columns.streams[1]
    assert drops == []


def test_a_line_over_a_rotation_counts_in_both_segments() -> None:
    first = _cri("2026-11-23T10:00:00Z", "begin ", tag="P")
    second = _cri("2026-11-23T10:00:01Z", "end")
    third = _cri("2026-11-23T10:00:01Z", "next")

    columns, _ = _build(
        CONTAINER, first + second + third, end=len(first), tail_segment=9, tail_end=len(second) + len(third)
    )

    assert columns.bodies == [b"begin end", b"next"]
    assert columns.segments == [7, 9]
    assert columns.offsets == [0, len(second)]
    assert columns.sizes == [len(first), len(third)]
    assert columns.tail_segments == [9, 0]
    assert columns.tail_sizes == [len(second), 0]


@pytest.mark.parametrize("time", ["1970-01-01T00:00:01Z", "2400-01-01T00:00:00Z", "2026-12-23T10:00:00Z"])
def test_absurd_times_are_clamped_by_the_time_of_reading(time: str) -> None:
    columns, _ = _build(CONTAINER, _cri(time, "x"))

    assert columns.times_ns == [_NOW_NS]


def test_plain_lines_have_their_own_time_or_that_of_reading() -> None:
    columns, _ = _build(FILE, b"no time\n2026-11-23T01:00:00Z with a time\n")

    assert columns.times_ns[0] == _NOW_NS
    assert columns.times_ns[1] != _NOW_NS


def test_what_is_older_than_its_retention_is_left_out_with_its_bytes() -> None:
    old = _cri("2026-01-01T10:00:00Z", "old")
    new = _cri("2026-11-23T10:00:00Z", "new")
    columns = Columns()
    builder = RowBuilder(StorageSettings(), max_body_bytes=1000)
    batch = Batch(stream=0, segment=7, start=0, end=len(old + new), length=len(old + new), read_ns=_NOW_NS)

    built = builder.add(columns, CONTAINER, batch, old + new, attempt=0, today=_TODAY)

    assert columns.bodies == [b"new"]
    (drop,) = built.drops
    assert (drop.reason, drop.bytes, drop.rows, drop.in_row) == (LossReason.EXPIRED_ON_ARRIVAL, len(old), 1, False)
    assert (built.first, built.end) == (0, 1)


def test_retention_follows_the_first_rule_that_matches_the_whole_namespace() -> None:
    settings = StorageSettings.model_validate(
        {"keep_days": 30, "keep": [{"namespace": "short-.*", "days": 1}, {"namespace": ".*", "days": 7}]}
    )
    builder = RowBuilder(settings, max_body_bytes=1000)

    assert [builder.keep_days(name) for name in ("short-a", "x-short-a", "")] == [1, 7, 7]


def test_a_body_beyond_the_limit_is_cut_and_still_covers_its_bytes() -> None:
    payload = b"y" * 5000 + b"\n"

    columns, drops = _build(FILE, payload)

    assert columns.bodies == [b"y" * 1000]
    assert columns.sizes == [5001]
    assert drops == [LossReason.LINE_TOO_LONG]


@pytest.mark.parametrize("seed", range(30))
def test_every_byte_of_random_bytes_is_covered_once(seed: int) -> None:
    rng = random.Random(seed)
    payload = bytes(rng.choice(b"ab \n\t{}\xff0:Z") for _ in range(rng.randrange(1, 3000)))
    stream = rng.choice([CONTAINER, FILE])

    columns, _ = _build(stream, payload, start=11)

    assert sum(columns.sizes) == len(payload)
    assert len(set(columns.offsets)) == len(columns.offsets)


def test_the_same_batch_gives_the_same_rows() -> None:
    payload = _cri("2026-11-23T10:00:00Z", "one") + _cri("2026-11-23T10:00:00Z", "  two")

    assert _build(CONTAINER, payload) == _build(CONTAINER, payload)


def test_rows_are_chosen_by_their_flags() -> None:
    columns, _ = _build(FILE, b"a\nb\nc\n")

    assert leave_out(columns, [True, False, True]).bodies == [b"a", b"c"]


def test_journal_records_cover_the_numbers_since_the_one_before() -> None:
    stream = Stream(source=LogSource(kind=SourceKind.JOURNAL, node="n", path="journal"), format=LineFormat.JOURNAL)

    def record(number: int, text: str) -> bytes:
        return (
            f'{{"__CURSOR":"s=ab;i={number:x};b=1;m=1;t=1;x=1","__REALTIME_TIMESTAMP":"1795400000000000",'
            f'"MESSAGE":"{text}","PRIORITY":"3","_SYSTEMD_UNIT":"ssh.service"}}\n'
        ).encode()

    columns, _ = _build(stream, record(12, "a") + record(15, "b"), start=10, end=16)

    assert columns.offsets == [12, 15]
    assert columns.sizes == [3, 3]
    assert columns.severities == ["error", "error"]
    assert columns.bodies == [b"a", b"b"]
