"""The table of logs: what an insert leaves to merges."""

import pyarrow as pa
import pytest

from kobs.config import StorageSettings
from kobs.ingest.batches import Placed
from kobs.ingest.rows import RowBuilder
from kobs.model.logs import LogSource, SourceKind
from kobs.storage import log_writes
from kobs.storage.clickhouse import Store
from kobs.wire.ship import Batch, LineFormat, Stream

pytestmark = pytest.mark.clickhouse

_NOW_NS = 1_795_348_800_000_000_000
_STREAM = Stream(source=LogSource(kind=SourceKind.CONTAINER, node="n", pod="web"), format=LineFormat.CRI)


def _rows(number: int) -> pa.Table:
    payload = b"2026-11-22T11:59:%02d.000000000Z stdout F needle%d in a haystack\n" % (number, number)
    batch = Batch(
        stream=0, segment=1, start=number * 100, end=number * 100 + len(payload), length=len(payload), read_ns=_NOW_NS
    )
    builder = RowBuilder(StorageSettings(), max_body_bytes=1000)
    return builder.build(payload, [Placed(0, batch, _STREAM, 0)], attempt=0, today=_NOW_NS // 86_400_000_000_000).table


def _count(store: Store, token: str) -> int:
    found = store.select(f"SELECT count() AS rows FROM logs WHERE hasToken(lower(body), '{token}')")
    return int(found["rows"][0].as_py())


def _index_bytes(store: Store) -> int:
    found = store.select(
        "SELECT sum(data_compressed_bytes) AS bytes FROM system.data_skipping_indices "
        "WHERE database = currentDatabase() AND table = 'logs' AND name = 'ix_token'"
    )
    return int(found["bytes"][0].as_py())


def test_words_are_found_before_and_after_a_merge_made_their_index(store: Store) -> None:
    for number in range(2):
        log_writes.insert_rows(store, _rows(number), received_ms=_NOW_NS // 1_000_000, comment="")

    assert [_count(store, token) for token in ("needle0", "needle1", "haystack", "needle2")] == [1, 1, 2, 0]
    assert _index_bytes(store) == 0

    store.command("OPTIMIZE TABLE logs FINAL")

    assert [_count(store, token) for token in ("needle0", "needle1", "haystack", "needle2")] == [1, 1, 2, 0]
    assert _index_bytes(store) > 0


def test_words_of_a_large_insert_are_indexed_at_once(store: Store) -> None:
    many = pa.concat_tables([_rows(0).slice(0, 1)] * log_writes._INDEXED_AT_ONCE)  # the limit is no setting

    log_writes.insert_rows(store, many, received_ms=_NOW_NS // 1_000_000, comment="")

    assert _index_bytes(store) > 0
