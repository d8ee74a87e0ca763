"""Accepts remote write: a compressed message arrives, its samples are in the store when `write` returns.

What a message has that cannot be stored is counted by reason and left out, the rest is stored: series whose labels are
not allowed, samples of impossible times, exemplars and native histograms. Order does not matter, and a request that
comes twice counts once, because samples are idempotent in the store. Any number of senders may write at once.
"""

import asyncio
import enum
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import cramjam
import zstandard

from kobs.config import ServerSettings
from kobs.errors import RejectedError
from kobs.ingest.limits import Reason
from kobs.ingest.sample_writer import Samples, Work
from kobs.ingest.samples import SampleIngest
from kobs.ingest.series_table import MALFORMED, MOST_LABELS, NOT_UTF8, TOO_MANY, SeriesTable, fault_of
from kobs.model.labels import METRIC_NAME, from_canonical
from kobs.model.samples import MetricType
from kobs.storage.clickhouse import Store
from kobs.wire import remote_write_v1, remote_write_v2
from kobs.wire.remote_write import Known, Labels, Said, shown
from kobs.wire.samples import JobFamily

_MOST_KNOWN_BYTES = 512 * 1024**2
"""What is remembered of earlier requests; beyond it all of that is forgotten and read again."""
_MOST_NAMED = 10
_MOST_WINDOW = 1 << 27

_SUFFIXES: dict[MetricType, tuple[str, ...]] = {
    MetricType.HISTOGRAM: ("_bucket", "_sum", "_count"),
    MetricType.GAUGE_HISTOGRAM: ("_bucket", "_gsum", "_gcount"),
    MetricType.SUMMARY: ("_sum", "_count"),
}
"""What a series' name adds to that of its family."""


class Message(enum.StrEnum):
    """The messages that can be written, by the names of their types."""

    V1 = "prometheus.WriteRequest"
    V2 = "io.prometheus.write.v2.Request"


class Compression(enum.StrEnum):
    """How messages may be compressed."""

    SNAPPY = "snappy"
    ZSTD = "zstd"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a request: how many samples are stored, and what is not, by reason, the first of it named."""

    samples: int
    refused: "Counter[Reason]"
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A request that was read: what to store, and what to remember once it is."""

    work: Work
    known: Known
    described: dict[int, int]
    refused: "Counter[Reason]"
    examples: tuple[str, ...]


class RemoteWriteIngest:
    """The ingest of remote write, which shares series and inserts with that of the agents."""

    def __init__(self, ingest: SampleIngest, store: Store, settings: ServerSettings) -> None:
        self._ingest = ingest
        self._store = store
        self._most_bytes = settings.max_body_bytes
        # Reading is Python's work, which more threads at once only slow down; and what is read takes memory.
        self._turn = asyncio.Semaphore(1)
        self._lock = threading.Lock()
        self._known = Known()
        self._table = ingest.sessions.table()

    async def write(self, body: bytes, message: Message, compression: Compression) -> Receipt:
        """Store what a body holds, as far as it can be stored.

        Raises: RejectedError where nothing of it is stored and never will be; RetryableError and other KobsErrors where
            it may be sent again.
        """
        async with self._turn:
            prepared = await self._store.run(self._prepare, body, message, compression)
        await self._ingest.insert(prepared.work, prepared.refused)
        prepared.known.describe(prepared.described)
        return Receipt(len(prepared.work.samples), prepared.refused, prepared.examples)

    def _prepare(self, body: bytes, message: Message, compression: Compression) -> _Prepared:
        data = uncompressed(body, compression, most_bytes=self._most_bytes)
        table, known = self._remembered()
        read = remote_write_v1.read if message is Message.V1 else remote_write_v2.read
        written = read(data, known, lambda labels: _slot(table, labels))
        before = Samples(written.series, written.times_ms, written.values)
        samples, refused = self._ingest.kept(before)
        examples = [f"{text}: {fault_of(slot)}" for slot, text in written.faulty]
        if len(samples) < len(before):
            examples += self._outside(table, before, room=_MOST_NAMED - len(examples))
        for reason, count in (
            (Reason.NATIVE_HISTOGRAM, written.histograms),
            (Reason.EXEMPLAR, written.exemplars),
            (Reason.SERIES_WITHOUT_SAMPLES, written.empty),
        ):
            if count:
                refused[reason] += count
        work = Work(
            table=table,
            samples=samples,
            series=table.unwritten(samples.slots, samples.times_ms),
            families=self._ingest.new_families(_families(table, written.said)),
        )
        return _Prepared(work, known, written.described, refused, tuple(examples))

    def _remembered(self) -> tuple[SeriesTable, Known]:
        """Return the series table and what earlier requests have told, which names its slots."""
        table = self._ingest.sessions.table()
        with self._lock:
            if table is not self._table or self._known.size > _MOST_KNOWN_BYTES:
                self._table, self._known = table, Known()
            return table, self._known

    def _outside(self, table: SeriesTable, samples: Samples, *, room: int) -> Iterable[str]:
        """Name some series with samples whose time is not allowed."""
        first, last = self._ingest.allowed_ms()
        outside = samples.where((samples.slots >= 0) & ((samples.times_ms < first) | (samples.times_ms > last)))
        seen: set[int] = set()
        for slot, time_ms in zip(outside.slots[:1000].tolist(), outside.times_ms[:1000].tolist(), strict=True):
            if len(seen) >= room:
                return
            if slot not in seen:
                seen.add(slot)
                labels = [(name.encode(), value.encode()) for name, value in from_canonical(table.series(slot)).items()]
                yield f"{shown(labels)} at {time_ms} ms: expected a time from {first} to {last}"


def uncompressed(body: bytes, compression: Compression, *, most_bytes: int) -> bytes:
    """Return the message of a body, of at most `most_bytes`: the size that a body claims is looked at first.

    Raises: RejectedError("malformed_message" | "message_too_large").
    """
    try:
        if compression is Compression.SNAPPY:
            claimed = cramjam.snappy.decompress_raw_len(body) if body else 0
            if claimed > most_bytes:
                raise _too_large(claimed, most_bytes)
            return bytes(cramjam.snappy.decompress_raw(body)) if body else b""
        with zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW).stream_reader(body) as reader:
            data = reader.read(most_bytes + 1)
    except (cramjam.DecompressionError, zstandard.ZstdError) as error:
        raise RejectedError(
            Reason.MALFORMED_MESSAGE,
            f"the body cannot be uncompressed as {compression}: {error}; snappy means its block format",
        ) from error
    if len(data) > most_bytes:
        raise _too_large(len(data), most_bytes)
    return data


def _too_large(size: int, most_bytes: int) -> RejectedError:
    return RejectedError(
        Reason.MESSAGE_TOO_LARGE,
        f"the body has {size} bytes or more once it is uncompressed: the limit is {most_bytes} "
        "(server.max_body_bytes); send smaller requests",
    )


def _slot(table: SeriesTable, labels: Labels | None) -> int:
    """Return the slot of a label set, whatever the order of its labels; a label without a value is none."""
    if labels is None:
        return MALFORMED
    if len(labels) > MOST_LABELS:
        return TOO_MANY
    texts = [text for pair in sorted(labels) if pair[1] for text in pair]
    # 0xff ends names and values in the canonical form, and is in no text of UTF-8.
    key = b"\xff".join([*texts, b""])
    if key.count(b"\xff") != len(texts) or any(b"\xff" in name for name, value in labels if not value):
        return NOT_UTF8
    return table.register(key)


def _families(table: SeriesTable, said: Iterable[Said]) -> Iterable[JobFamily]:
    """Yield what is said of metric names; a message 1.0 does not tell who says it."""
    for each in said:
        if each.series < 0:
            yield JobFamily(job="", name=each.name, type=each.type, unit=each.unit, help=each.help)
            continue
        labels = from_canonical(table.series(each.series))
        name = labels[METRIC_NAME]
        for suffix in _SUFFIXES.get(each.type, ()):
            if name.endswith(suffix) and name != suffix:
                name = name.removesuffix(suffix)
                break
        yield JobFamily(job=labels.get("job", ""), name=name, type=each.type, unit=each.unit, help=each.help)
