"""The application behind a real web server in a thread, over a real store, for tests that speak HTTP to it."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

import uvicorn

from kobs.api.app import Services, create_app
from kobs.api.prometheus.router import PrometheusParts
from kobs.api.prometheus.status import ServerFacts
from kobs.config import ServerSettings, Settings, StorageSettings
from kobs.ingest.logs import LogIngest
from kobs.ingest.remote_write import RemoteWriteIngest
from kobs.ingest.samples import SampleIngest
from kobs.ingest.targets import TargetIngest
from kobs.model.scope import Scope
from kobs.query.federation import Federation
from kobs.query.labels import StreamLabels
from kobs.query.ledger import Ledger
from kobs.query.logs import LogSearch
from kobs.query.metric_catalog import MetricCatalog
from kobs.query.metrics import Metrics
from kobs.query.status import StatusReader
from kobs.query.tail import TailPoller
from kobs.query.targets import TargetView
from kobs.query.verify import Verify
from kobs.storage.clickhouse import Store


class Server:
    """A running server. `stop` ends it and its connections."""

    def __init__(
        self, store: Store, settings: ServerSettings, *, port: int = 0, most_waiting_entries: int = 10_000
    ) -> None:
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="server")
        labels = StreamLabels(store)
        self.tail = TailPoller(
            store,
            scope=Scope.all(),
            labels=labels,
            timeout_seconds=30,
            interval_ms=50,
            most_waiting_entries=most_waiting_entries,
        )
        self._ingest = LogIngest(store, settings, StorageSettings(), scope=Scope.all())
        self._sample_ingest = SampleIngest(store, settings, StorageSettings())
        services = Services(
            settings=settings,
            log_ingest=self._ingest,
            metrics_ingest=self._sample_ingest,
            prometheus=PrometheusParts(
                Metrics(store), MetricCatalog(store), ServerFacts.of(Settings()), TargetView(store)
            ),
            federation=Federation(store),
            remote_write=RemoteWriteIngest(self._sample_ingest, store, settings),
            log_search=LogSearch(store, labels=labels, timeout_seconds=settings.search_timeout_seconds),
            tail=self.tail,
            ledger=Ledger(store),
            status=StatusReader(store),
            verify=Verify(store),
            targets_ingest=TargetIngest(store),
        )
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(
                create_app(services),
                host="127.0.0.1",
                port=port,
                log_level="warning",
                ws="websockets-sansio",
                lifespan="off",
                timeout_graceful_shutdown=2,
            )
        )
        self._thread.start()
        self._started.wait(timeout=20)
        self.port: int = self._uvicorn.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._uvicorn.should_exit = True
        self._thread.join(timeout=20)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            parts = (self.tail.run(), self._ingest.run(), self._sample_ingest.run())
            beside = [tasks.create_task(part) for part in parts]
            tasks.create_task(self._tell_started())
            await self._uvicorn.serve()
            for task in beside:
                task.cancel()

    async def _tell_started(self) -> None:
        while not self._uvicorn.started:  # noqa: ASYNC110 - the web server has a flag and no event
            await asyncio.sleep(0.005)
        self._started.set()


@contextlib.contextmanager
def serve(
    store: Store, settings: ServerSettings | None = None, *, port: int = 0, most_waiting_entries: int = 10_000
) -> Iterator[Server]:
    """Run a server until the block ends."""
    server = Server(store, settings or ServerSettings(), port=port, most_waiting_entries=most_waiting_entries)
    try:
        yield server
    finally:
        server.stop()
