"""Samples on disk come back as they were put, oldest first; what is cut, damaged or dropped is on record."""

import errno
import os
import struct
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kobs.collectors import sample_spool
from kobs.collectors.sample_losses import SampleLosses
from kobs.collectors.sample_spool import Columns, SampleSpool
from kobs.model.labels import canonical
from kobs.model.samples import STALE_NAN_BITS
from kobs.wire.samples import SampleLossReason

STALE = struct.unpack("<d", struct.pack("<Q", STALE_NAN_BITS))[0]


class Spool:
    """A spool and what names its series: number 3 is the series `m3`."""

    def __init__(self, folder: Path, *, most_bytes: int = 2**20) -> None:
        self.losses = SampleLosses(folder / "losses.json")
        self.folder = folder
        self.spool = SampleSpool(folder, most_bytes=most_bytes, losses=self.losses)
        self.named = {number: canonical({"__name__": f"m{number}"}) for number in range(100)}

    def append(self, *samples: tuple[int, float, int]) -> None:
        times, values, numbers = zip(*samples, strict=True)
        self.spool.append(Columns(array("q", times), array("d", values), array("I", numbers)), self.named.__getitem__)

    def drain(self) -> list[list[tuple[int, bytes, bytes]]]:
        """Return the records, each with time, bits of the value and series of its samples."""
        records = []
        while (found := self.spool.oldest()) is not None:
            columns = found.columns
            records.append(
                [
                    (time_ms, struct.pack("<d", value), found.series[number])
                    for time_ms, value, number in zip(columns.times_ms, columns.values, columns.numbers, strict=True)
                ]
            )
            self.spool.sent()
        return records

    def lost(self) -> list[tuple[SampleLossReason, int, int, int]]:
        return [(loss.reason, loss.first_ms, loss.last_ms, loss.samples) for loss in self.losses.to_tell()]

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.spool"))


MakeSpool = Callable[..., Spool]


@pytest.fixture
def make_spool(tmp_path: Path) -> Iterator[MakeSpool]:
    """What opens the spool of one folder, as often as a test wants; a crash closes nothing, but a test has to."""
    made: list[Spool] = []

    def make(**options: int) -> Spool:
        made.append(Spool(tmp_path, **options))
        return made[-1]

    yield make
    for each in made:
        each.spool.close()


def row(time_ms: int, value: float, number: int) -> tuple[int, bytes, bytes]:
    return time_ms, struct.pack("<d", value), canonical({"__name__": f"m{number}"})


def noise(count: int, *, time_ms: int) -> list[tuple[int, float, int]]:
    """Return samples that hardly compress."""
    values = struct.unpack(f"<{count}d", os.urandom(8 * count))
    return [(time_ms, value, number % 100) for number, value in enumerate(values)]


def test_samples_come_back_oldest_first_to_the_bit(make_spool: MakeSpool) -> None:
    spool = make_spool()
    spool.append((1, 1.5, 3), (2, STALE, 4))
    spool.append((3, -0.0, 3))
    assert len(spool.spool) == 3
    assert spool.drain() == [[row(1, 1.5, 3), row(2, STALE, 4)], [row(3, -0.0, 3)]]
    assert spool.spool.is_empty()
    assert spool.files() == []
    assert spool.lost() == []


def test_a_record_stays_the_oldest_until_it_is_sent(make_spool: MakeSpool) -> None:
    spool = make_spool()
    spool.append((1, 1.0, 3))
    first = spool.spool.oldest()
    spool.append((2, 2.0, 3))
    again = spool.spool.oldest()
    assert first is not None
    assert again is not None
    assert first.columns == again.columns
    spool.spool.sent()
    assert spool.drain() == [[row(2, 2.0, 3)]]


def test_the_next_run_finds_what_was_not_sent(make_spool: MakeSpool) -> None:
    """The series that an earlier record named are known, though that record was sent."""
    spool = make_spool()
    spool.append((1, 1.0, 3))
    spool.append((2, 2.0, 3), (2, 5.0, 4))
    spool.append((3, 3.0, 4))
    assert spool.spool.oldest() is not None
    spool.spool.sent()
    again = make_spool()
    assert len(again.spool) == 3
    again.append((4, 4.0, 9))
    assert again.drain() == [[row(2, 2.0, 3), row(2, 5.0, 4)], [row(3, 3.0, 4)], [row(4, 4.0, 9)]]
    assert again.files() == []


def test_a_number_that_names_another_series_later_is_told_apart(make_spool: MakeSpool) -> None:
    spool = make_spool()
    spool.append((1, 1.0, 3))
    spool.named[3] = canonical({"__name__": "m7"})
    spool.append((2, 2.0, 3))
    assert spool.drain() == [[row(1, 1.0, 3)], [row(2, 2.0, 7)]]


@pytest.mark.parametrize("cut", [1, 20, 40])
def test_a_record_that_was_being_written_at_a_crash_is_on_record_as_lost(make_spool: MakeSpool, cut: int) -> None:
    spool = make_spool()
    spool.append((1, 1.0, 3))
    size = spool.files()[0].stat().st_size
    spool.append((2_000, 2.0, 3), (3_000, 2.0, 4))
    whole = spool.files()[0].stat().st_size
    os.truncate(spool.files()[0], size + cut if cut != 40 else whole - 1)
    again = make_spool()
    assert again.drain() == [[row(1, 1.0, 3)]]
    (loss,) = again.lost()
    assert loss[0] is SampleLossReason.SPOOL_DAMAGED
    if cut == 40:
        # Its head was whole, so that it is known what is missing.
        assert loss[1:] == (2_000, 3_000, 2)


def test_a_damaged_record_is_lost_alone_with_those_that_only_it_could_name(make_spool: MakeSpool) -> None:
    spool = make_spool()
    spool.append((1, 1.0, 3))
    at = spool.files()[0].stat().st_size
    spool.append((2, 2.0, 3), (2, 2.0, 4))
    spool.append((3, 3.0, 3), (4, 4.0, 4))
    path = spool.files()[0]
    content = bytearray(path.read_bytes())
    content[at + 50] ^= 0xFF
    path.write_bytes(content)
    again = make_spool()
    assert again.drain() == [[row(1, 1.0, 3)], [row(3, 3.0, 3)]]
    # The damaged record, and of the one after it the sample of a series that it had named.
    assert again.lost() == [(SampleLossReason.SPOOL_DAMAGED, 2, 4, 3)]


def test_a_file_that_is_no_spool_is_left_and_on_record(tmp_path: Path, make_spool: MakeSpool) -> None:
    (tmp_path / "000000000007.spool").write_bytes(b"something else")
    spool = make_spool()
    assert spool.spool.is_empty()
    assert [loss[0] for loss in spool.lost()] == [SampleLossReason.SPOOL_DAMAGED]
    spool.append((1, 1.0, 3))
    assert [path.name for path in spool.files()] == ["000000000008.spool"]


def test_beyond_its_size_the_oldest_go_and_are_on_record(make_spool: MakeSpool) -> None:
    spool = make_spool(most_bytes=300_000)
    for turn in range(60):
        spool.append(*noise(1000, time_ms=turn))
    size = sum(path.stat().st_size for path in spool.files())
    assert size <= 300_000
    kept = spool.drain()
    ((reason, first_ms, last_ms, lost),) = spool.lost()
    assert reason is SampleLossReason.SPOOL_FULL
    assert lost + sum(map(len, kept)) == 60_000
    assert kept[0][0][0] == last_ms + 1
    assert (first_ms, kept[-1][0][0]) == (0, 59)


def test_what_is_dropped_while_it_is_sent_is_not_taken_for_what_comes_after(make_spool: MakeSpool) -> None:
    spool = make_spool(most_bytes=300_000)
    spool.append(*noise(1000, time_ms=0))
    assert spool.spool.oldest() is not None
    for turn in range(1, 60):
        spool.append(*noise(1000, time_ms=turn))
    waiting = len(spool.spool)
    spool.spool.sent()
    assert len(spool.spool) == waiting


def test_a_full_disk_raises_and_what_was_written_before_is_whole(
    make_spool: MakeSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = make_spool()
    spool.append((1, 1.0, 3))

    def fill(handle: object, content: bytes) -> None:
        handle.write(content[:10])  # type: ignore[attr-defined]  # a file
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        # A disk of a test cannot be filled without the rights of root.
        patched.setattr(sample_spool, "_write_all", fill)
        for _ in range(3):
            with pytest.raises(OSError, match="No space"):
                spool.append((2, 2.0, 3))
    spool.append((3, 3.0, 3))
    assert spool.drain() == [[row(1, 1.0, 3)], [row(3, 3.0, 3)]]
    assert spool.lost() == []


def test_losses_outlive_the_process_until_they_are_told(tmp_path: Path) -> None:
    losses = SampleLosses(tmp_path / "losses.json")
    losses.add(SampleLossReason.QUEUE_FULL, first_ms=5, last_ms=9, samples=2)
    losses.add(SampleLossReason.QUEUE_FULL, first_ms=1, last_ms=6, samples=3)
    told = losses.to_tell()
    losses.add(SampleLossReason.QUEUE_FULL, first_ms=10, last_ms=11, samples=4)
    losses.save()
    again = SampleLosses(tmp_path / "losses.json")
    assert [(loss.first_ms, loss.last_ms, loss.samples) for loss in again.to_tell()] == [(1, 9, 5), (10, 11, 4)]
    assert next(loss.id for loss in again.to_tell()) == told[0].id
    again.told(told)
    again.save()
    assert [loss.samples for loss in SampleLosses(tmp_path / "losses.json").to_tell()] == [4]


def test_losses_that_cannot_be_read_are_left(tmp_path: Path) -> None:
    (tmp_path / "losses.json").write_text("{")
    assert SampleLosses(tmp_path / "losses.json").to_tell() == []
