"""Batches become rows: positions, times, retention, and what is left out."""

import random
from typing import Any

import pytest

from kobs.config import StorageSettings
from kobs.errors import RejectedError
from kobs.ingest.batches import BatchRows, Placed
from kobs.ingest.rows import RowBuilder, Rows
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


def _builder() -> RowBuilder:
    settings = StorageSettings.model_validate({"keep_days": 30, "keep": [{"namespace": "short-.*", "days": 1}]})
    return RowBuilder(settings, max_body_bytes=1000)


def _batch(payload: bytes, **batch: int) -> Batch:
    start = batch.pop("start", 0)
    return Batch(
        stream=0,
        segment=batch.pop("segment", 7),
        start=start,
        end=batch.pop("end", start + len(payload)),
        length=len(payload),
        read_ns=_NOW_NS,
        **batch,
    )


def _rows(*given: tuple[Stream, bytes, Batch]) -> Rows:
    placed: list[Placed] = []
    at = 0
    for index, (stream, payload, batch) in enumerate(given):
        placed.append(Placed(index, batch, stream, at))
        at += len(payload)
    return _builder().build(b"".join(payload for _, payload, _ in given), placed, attempt=257, today=_TODAY)


class Columns:
    """The columns of a table as lists."""

    def __init__(self, rows: Rows, which: int = 0) -> None:
        built: BatchRows = rows.batches[which]
        self.table = rows.table.slice(built.first, built.end - built.first)

    def __getattr__(self, name: str) -> list[Any]:
        column = self.table[name]
        return (column.cast("int64") if name == "ts" else column).to_pylist()  # type: ignore[no-any-return]  # no types


def _build(stream: Stream, payload: bytes, **batch: int) -> tuple[Columns, list[LossReason]]:
    rows = _rows((stream, payload, _batch(payload, **batch)))
    return Columns(rows), [drop.reason for drop in rows.batches[0].drops]


def _cri(time: str, content: str, *, stream: str = "stdout", tag: str = "F") -> bytes:
    return f"{time} {stream} {tag} {content}\n".encode()


def test_a_row_has_its_position_and_covers_its_bytes() -> None:
    first = _cri("2026-11-23T10:00:00.000000001Z", "one")
    second = _cri("2026-11-23T10:00:00.000000002Z", "two", stream="stderr")

    columns, drops = _build(CONTAINER, first + second, start=500)

    assert columns.offset == [500, 500 + len(first)]
    assert columns.size == [len(first), len(second)]
    assert columns.body == [b"one", b"two"]
    assert columns.segment == [7, 7]
    assert columns.attempt == [1, 1]
    assert columns.stream[0] != columns.stream[1]
    assert drops == []


def test_a_line_over_a_rotation_counts_in_both_segments() -> None:
    first = _cri("2026-11-23T10:00:00Z", "begin ", tag="P")
    second = _cri("2026-11-23T10:00:01Z", "end")
    third = _cri("2026-11-23T10:00:01Z", "next")

    columns, _ = _build(
        CONTAINER, first + second + third, end=len(first), tail_segment=9, tail_end=len(second) + len(third)
    )

    assert columns.body == [b"begin end", b"next"]
    assert columns.segment == [7, 9]
    assert columns.offset == [0, len(second)]
    assert columns.size == [len(first), len(third)]
    assert columns.tail_segment == [9, 0]
    assert columns.tail_size == [len(second), 0]


@pytest.mark.parametrize("time", ["1970-01-01T00:00:01Z", "2400-01-01T00:00:00Z", "2026-12-23T10:00:00Z"])
def test_absurd_times_are_clamped_by_the_time_of_reading(time: str) -> None:
    columns, _ = _build(CONTAINER, _cri(time, "x"))

    assert columns.ts == [_NOW_NS]


def test_plain_lines_have_their_own_time_or_that_of_reading() -> None:
    columns, _ = _build(FILE, b"no time\n2026-11-23T01:00:00Z with a time\n")

    assert columns.ts[0] == _NOW_NS
    assert columns.ts[1] != _NOW_NS


def test_what_is_older_than_its_retention_is_left_out_with_its_bytes() -> None:
    old = _cri("2026-01-01T10:00:00Z", "old")
    new = _cri("2026-11-23T10:00:00Z", "new")

    rows = _rows((CONTAINER, old + new, _batch(old + new)))

    assert Columns(rows).body == [b"new"]
    (drop,) = rows.batches[0].drops
    assert (drop.reason, drop.bytes, drop.rows, drop.in_row) == (LossReason.EXPIRED_ON_ARRIVAL, len(old), 1, False)
    assert (rows.batches[0].first, rows.batches[0].end) == (0, 1)


def test_retention_follows_the_first_rule_that_matches_the_whole_namespace() -> None:
    settings = StorageSettings.model_validate(
        {"keep_days": 30, "keep": [{"namespace": "short-.*", "days": 1}, {"namespace": ".*", "days": 7}]}
    )
    builder = RowBuilder(settings, max_body_bytes=1000)

    assert [builder.keep_days(name) for name in ("short-a", "x-short-a", "")] == [1, 7, 7]


def test_a_body_beyond_the_limit_is_cut_and_still_covers_its_bytes() -> None:
    payload = b"y" * 5000 + b"\n"

    columns, drops = _build(FILE, payload)

    assert columns.body == [b"y" * 1000]
    assert columns.size == [5001]
    assert drops == [LossReason.LINE_TOO_LONG]


@pytest.mark.parametrize("seed", range(30))
def test_every_byte_of_random_bytes_is_covered_once(seed: int) -> None:
    rng = random.Random(seed)
    payload = bytes(rng.choice(b"ab \n\t{}\xff0:Z") for _ in range(rng.randrange(1, 3000)))
    stream = rng.choice([CONTAINER, FILE])

    columns, _ = _build(stream, payload, start=11)

    assert sum(columns.size) == len(payload)
    assert len(set(columns.offset)) == len(columns.offset)


def test_the_same_batch_gives_the_same_rows() -> None:
    payload = _cri("2026-11-23T10:00:00Z", "one") + _cri("2026-11-23T10:00:00Z", "  two")

    assert _build(CONTAINER, payload)[0].table.equals(_build(CONTAINER, payload)[0].table)


def test_rows_that_are_present_are_left_out_of_doubtful_batches_only() -> None:
    payloads = [_cri("2026-11-23T10:00:00Z", "one") + _cri("2026-11-23T10:00:00Z", "two"), b"a\nb\n"]
    rows = _rows((CONTAINER, payloads[0], _batch(payloads[0])), (FILE, payloads[1], _batch(payloads[1])))
    container, file = rows.batches
    present = {(container.source, 7, 0), (file.source, 7, 0)}

    assert rows.without(present, [container])["body"].to_pylist() == [b"two", b"a", b"b"]
    assert rows.without(present, rows.batches)["body"].to_pylist() == [b"two", b"b"]
    assert rows.without(set(), []) is rows.table


def test_a_batch_has_the_same_rows_whatever_comes_with_it() -> None:
    """Batches of all kinds in one request: each gives what it gives alone, though not in the order of the request."""
    usual = b"".join(_cri(f"2026-11-23T10:0{minute}:00.000000001Z", f"level=info n={minute}") for minute in range(9))
    trace = _cri("2026-11-23T10:00:00.000000000Z", "Traceback (most recent call last):") + _cri(
        "2026-11-23T10:00:00.000000000Z", '  File "a"'
    )
    given = [
        (stream, payload, _batch(payload, segment=number))
        for number, (stream, payload) in enumerate(
            [
                *((CONTAINER, usual), (FILE, b"no newline at its end"), (CONTAINER, usual), (CONTAINER, trace)),
                *((FILE, b""), (CONTAINER, b"not CRI\n"), (CONTAINER, usual), (CONTAINER, usual[:-1])),
            ]
        )
    ]

    rows = _rows(*given)

    assert len(rows.batches) == len(given)
    for which, built in enumerate(rows.batches):
        alone = _rows(given[built.placed.index])
        assert Columns(rows, which).table.to_pylist() == Columns(alone).table.to_pylist()
        assert built.labels == alone.batches[0].labels
        assert (built.first_ns, built.last_ns) == (alone.batches[0].first_ns, alone.batches[0].last_ns)


def test_a_batch_with_a_wrong_pattern_is_refused_and_the_others_are_not() -> None:
    wrong = Stream(source=CONTAINER.source, format=LineFormat.CRI, start_pattern="(")
    payload = _cri("2026-11-23T10:00:00Z", "one")

    rows = _rows((wrong, payload, _batch(payload)), (CONTAINER, payload, _batch(payload)))

    assert [(placed.index, type(error)) for placed, error in rows.refused] == [(0, RejectedError)]
    assert rows.table["body"].to_pylist() == [b"one"]


def test_journal_records_cover_the_numbers_since_the_one_before() -> None:
    stream = Stream(source=LogSource(kind=SourceKind.JOURNAL, node="n", path="journal"), format=LineFormat.JOURNAL)

    def record(number: int, text: str) -> bytes:
        return (
            f'{{"__CURSOR":"s=ab;i={number:x};b=1;m=1;t=1;x=1","__REALTIME_TIMESTAMP":"1795400000000000",'
            f'"MESSAGE":"{text}","PRIORITY":"3","_SYSTEMD_UNIT":"ssh.service"}}\n'
        ).encode()

    columns, _ = _build(stream, record(12, "a") + record(15, "b"), start=10, end=16)

    assert columns.offset == [12, 15]
    assert columns.size == [3, 3]
    assert columns.severity == ["error", "error"]
    assert columns.body == [b"a", b"b"]
