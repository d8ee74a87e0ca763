"""A request that comes again late, after others: what its agent gave up on is not stored a second time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from kobs.config import ServerSettings, StorageSettings
from kobs.ingest.logs import LogIngest
from kobs.model.logs import LogSource, SourceKind
from kobs.model.scope import Scope
from kobs.query.verify import Verify
from kobs.storage.clickhouse import Store
from kobs.wire import frames
from kobs.wire.ship import Batch, BatchStatus, LineFormat, LogRequest, Stream

pytestmark = pytest.mark.clickhouse


@pytest.fixture
def store_url(engine_folder: Path) -> str:
    """The embedded engine alone: nothing here depends on where the store is."""
    return f"chdb://{engine_folder}"


def _frame(*, line_format: LineFormat, segment: int, sequence: int, retry: bool = False) -> bytes:
    if line_format is LineFormat.CRI:
        source = LogSource(
            kind=SourceKind.CONTAINER, node="n1", namespace="shop", pod="web-1", uid="1", container="app"
        )
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(segment // 10**9))
        payload = f"{stamp}.{segment % 10**9:09d}Z stdout F in {segment}\n".encode()
    else:
        source = LogSource(kind=SourceKind.FILE, node="n1", path="/var/log/app.log")
        payload = f"in {segment}\n".encode()
    size = len(payload)
    batch = Batch(stream=0, segment=segment, start=0, end=size, length=size, read_ns=segment, retry=retry)
    request = LogRequest(
        agent="a1",
        node="n1",
        sequence=sequence,
        sent_ns=segment,
        streams=[Stream(source=source, format=line_format)],
        batches=[batch],
    )
    return frames.encode(frames.FrameKind.LOGS, request, [payload])


def _run(store: Store, scenario: Callable[[LogIngest], Awaitable[None]]) -> None:
    async def with_ingest() -> None:
        ingest = LogIngest(store, ServerSettings(insert_delay_ms=0), StorageSettings(), scope=Scope.all())
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(ingest.run())
            await scenario(ingest)
            running.cancel()

    asyncio.run(with_ingest())


@pytest.mark.parametrize("line_format", [LineFormat.CRI, LineFormat.PLAIN])
def test_a_late_copy_of_a_request_for_an_older_file_adds_nothing(store: Store, line_format: LineFormat) -> None:
    """Its retry was answered, the agent went on with the next file, and then the first copy arrives."""
    first = time.time_ns() // 10**9 * 10**9
    late = _frame(line_format=line_format, segment=first, sequence=1)

    async def scenario(ingest: LogIngest) -> None:
        requests = [
            _frame(line_format=line_format, segment=first, sequence=2, retry=True),
            _frame(line_format=line_format, segment=first + 1, sequence=3),
            late,
        ]
        for frame in requests:
            (answer,) = (await ingest.accept(frame)).batches
            assert answer.status is BatchStatus.STORED

    _run(store, scenario)
    report = asyncio.run(Verify(store).verify(Scope.all()))
    assert store.select("SELECT count() AS rows FROM logs")["rows"].to_pylist() == [2]
    assert report["ok"]
