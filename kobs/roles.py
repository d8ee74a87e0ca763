"""The processes of kobs, one function each: what it is made of, in which order it starts and stops.

A role opens what it needs, hands it to the stages as arguments, and closes it again. The supervisor here is the only
place that catches every exception: a defect in one task ends the process with its traceback, not silently.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from kobs import __version__, config, telemetry
from kobs.config import Settings
from kobs.errors import ConfigError, KobsError
from kobs.model.scope import Scope
from kobs.wire.ship import AgentReport

if TYPE_CHECKING:
    import uvicorn

    from kobs.api.prometheus.router import PrometheusParts
    from kobs.ingest.logs import LogIngest
    from kobs.storage.clickhouse import Store

_STOP_SECONDS = 10.0
_GATHER_SECONDS = 0.5
"""How long an agent's samples wait for others, so that many small targets share a request and a tail stays quick."""

log = telemetry.get_logger(__name__)


def run(role: Coroutine[None, None, None]) -> int:
    """Run a role until it ends or a signal stops it; return the exit code."""
    import uvloop  # noqa: PLC0415 - only what runs an event loop needs it

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_until_signal(role))
    except Exception as error:  # the supervisor: a defect is told with its traceback, and ends kobs
        cause = _first(error)
        if isinstance(cause, KobsError):
            raise cause from None
        log.exception("A part of kobs failed, so that kobs ends.", error=cause)
        return 1
    return 0


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _until_signal(role: Coroutine[None, None, None]) -> None:
    """Run a role as a task that SIGINT and SIGTERM cancel."""
    task = asyncio.ensure_future(role)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def agent(settings: Settings, *, parent: int | None = None) -> None:
    """Collect on this node and ship to a server. With `parent`, end when that pipe closes."""
    from kobs.collectors.host.sampling import run as run_host_metrics  # noqa: PLC0415 - by role
    from kobs.collectors.logs.agent import LogAgent  # noqa: PLC0415
    from kobs.collectors.logs.state import State  # noqa: PLC0415
    from kobs.collectors.metrics_listener import MetricsListener  # noqa: PLC0415
    from kobs.collectors.sample_shipping import SampleShipping  # noqa: PLC0415
    from kobs.collectors.scraping.agent import Scraping  # noqa: PLC0415
    from kobs.collectors.scraping.reporting import TargetReporting  # noqa: PLC0415

    _raise_file_limit()
    folder = settings.agent.state or settings.up.data / "agent"
    state = State(folder)
    shipping = SampleShipping(
        settings.agent,
        cluster=settings.cluster,
        node=settings.node,
        folder=folder / "samples",
        gather_seconds=_GATHER_SECONDS,
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            listener = MetricsListener(settings.agent)
            await listener.start()
            scraping = Scraping(settings, shipping, own_address=listener.address)

            def problems() -> list[str]:
                return [problem for problem in (listener.problem, shipping.problem, *scraping.problems()) if problem]

            logs = LogAgent(settings.agent, state, cluster=settings.cluster, node=settings.node, problems=problems)
            running = [
                tasks.create_task(logs.run()),
                tasks.create_task(shipping.run()),
                tasks.create_task(run_host_metrics(settings, shipping)),
                tasks.create_task(scraping.run()),
                tasks.create_task(TargetReporting(settings, scraping).run()),
                tasks.create_task(_watch_loop_lag()),
            ]
            if parent is not None:
                await _closed(parent)
                for task in running:
                    task.cancel()
    finally:
        # Collectors may have put stale markers as they ended.
        shipping.close()
        state.close()


async def server(settings: Settings) -> None:
    """Take in what agents ship, and answer."""
    settings.check_listen()
    with _listening(settings) as listener:
        async with _serving(settings, listener):
            log.info("kobs listens.", address=_url(listener), version=__version__)
            await asyncio.Event().wait()


async def up(settings: Settings, announce: "Callable[[UpReport], None]") -> None:
    """Run server and store here, and the agent as a child that ships over loopback.

    `announce` is called every second with how it goes.
    """
    settings.check_listen()
    with _locked(settings.up.data) as lock, _listening(settings) as listener:
        _tell_address(lock, _url(listener))
        async with contextlib.AsyncExitStack() as stack:
            # The child is started before the engine is opened, which a process should not fork with, and stopped
            # before the server, so that what it has read is still taken.
            child = contextlib.AsyncExitStack()
            if settings.up.collect:
                await child.enter_async_context(_child_agent(settings, listener))
            stack.push_async_exit(child)
            # without collecting, the store holds what others send and nothing else
            serving = _serving(settings, listener, stores_own_metrics=settings.up.collect)
            parts = await stack.enter_async_context(serving)
            stack.push_async_callback(child.aclose)
            while True:
                reports = parts.log_ingest.reports()
                store_bytes = await parts.store.run(parts.store.tables_bytes)
                announce(UpReport(_url(listener), settings.up.data, store_bytes, reports))
                await asyncio.sleep(1.0)


@dataclass(frozen=True, slots=True)
class UpReport:
    """How `kobs up` goes: its address, its folder, the store's size, and the agents' last reports by node."""

    url: str
    data: Path
    store_bytes: int
    agents: Mapping[str, AgentReport]


@dataclass(frozen=True, slots=True)
class _Parts:
    store: "Store"
    log_ingest: "LogIngest"


@contextlib.asynccontextmanager
async def _serving(
    settings: Settings, listener: socket.socket, *, stores_own_metrics: bool = True
) -> AsyncIterator[_Parts]:
    """Open the store, start ingest and API, and close them in the other order."""
    from kobs.api.app import Services, create_app  # noqa: PLC0415 - by role
    from kobs.ingest.logs import LogIngest  # noqa: PLC0415
    from kobs.ingest.own_metrics import OwnMetrics  # noqa: PLC0415
    from kobs.ingest.remote_write import RemoteWriteIngest  # noqa: PLC0415
    from kobs.ingest.retention import Retention  # noqa: PLC0415
    from kobs.ingest.samples import SampleIngest  # noqa: PLC0415
    from kobs.ingest.targets import TargetIngest  # noqa: PLC0415
    from kobs.query.federation import Federation  # noqa: PLC0415
    from kobs.query.labels import StreamLabels  # noqa: PLC0415
    from kobs.query.ledger import Ledger  # noqa: PLC0415
    from kobs.query.logs import LogSearch  # noqa: PLC0415
    from kobs.query.status import StatusReader  # noqa: PLC0415
    from kobs.query.tail import TailPoller  # noqa: PLC0415
    from kobs.query.verify import Verify  # noqa: PLC0415

    store = await asyncio.to_thread(_open_store, settings)
    try:
        scope = Scope.all()  # a role reads for itself: look-ups of ingest and sweeps are nobody's request
        timeout_seconds = settings.server.search_timeout_seconds
        labels = StreamLabels(store)
        log_ingest = LogIngest(store, settings.server, settings.storage, scope=scope)
        retention = Retention(store, settings.storage, scope=scope)
        sample_ingest = SampleIngest(store, settings.server, settings.storage)
        tail = TailPoller(store, scope=scope, labels=labels, timeout_seconds=timeout_seconds)
        services = Services(
            settings=settings.server,
            log_ingest=log_ingest,
            metrics_ingest=sample_ingest,
            remote_write=RemoteWriteIngest(sample_ingest, store, settings.server),
            log_search=LogSearch(store, labels=labels, timeout_seconds=timeout_seconds),
            tail=tail,
            ledger=Ledger(store),
            status=StatusReader(store),
            prometheus=_prometheus(store, settings),
            federation=Federation(store),
            targets_ingest=TargetIngest(store),
            verify=Verify(store),
        )
        web = _web_server(create_app(services))
        async with asyncio.TaskGroup() as tasks:
            parts = [log_ingest.run(), sample_ingest.run(), retention.run(), tail.run(), _watch_loop_lag()]
            if stores_own_metrics and settings.server.own_metrics_seconds:
                own_labels = {"instance": settings.node, "role": "server"}
                own = OwnMetrics(
                    sample_ingest,
                    interval_seconds=settings.server.own_metrics_seconds,
                    labels=own_labels | ({"cluster": settings.cluster} if settings.cluster else {}),
                )
                parts.append(own.run())
            running = [tasks.create_task(part) for part in parts]
            answering = tasks.create_task(web.serve(sockets=[listener]))
            try:
                yield _Parts(store, log_ingest)
            finally:
                # First no more requests, then what they wait for.
                web.should_exit = True
                await asyncio.wait({answering}, timeout=_STOP_SECONDS)
                for task in running:
                    task.cancel()
    finally:
        await asyncio.to_thread(store.close)


def _prometheus(store: "Store", settings: Settings) -> "PrometheusParts":
    """Return what answers Prometheus' API."""
    from kobs.api.prometheus.router import PrometheusParts  # noqa: PLC0415 - by role
    from kobs.api.prometheus.status import ServerFacts  # noqa: PLC0415
    from kobs.query.metric_catalog import MetricCatalog  # noqa: PLC0415
    from kobs.query.metrics import Metrics  # noqa: PLC0415
    from kobs.query.promql.limits import QueryLimits  # noqa: PLC0415
    from kobs.query.promql.queueing import HeavyQueue  # noqa: PLC0415
    from kobs.query.targets import TargetView  # noqa: PLC0415

    metrics = Metrics(
        store,
        limits=QueryLimits.of(settings.query),
        timeout_seconds=settings.query.timeout_seconds,
        remembered_bytes=settings.query.remembered_bytes,
        queue=HeavyQueue(running=settings.query.heavy_queries, waiting=settings.query.heavy_waiting),
    )
    return PrometheusParts(metrics, MetricCatalog(store), ServerFacts.of(settings), TargetView(store))


def _open_store(settings: Settings) -> "Store":
    from kobs.storage.clickhouse import Store  # noqa: PLC0415

    storage = settings.storage
    folder = (settings.up.data / "store").absolute()
    if not storage.url:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Store(
        storage.url or f"chdb://{folder}",
        database=storage.database,
        threads=storage.threads,
        max_memory_bytes=storage.max_memory_bytes,
        query_timeout_seconds=storage.query_timeout_seconds,
    )


def _web_server(app: Callable[..., Any]) -> "uvicorn.Server":
    import uvicorn  # noqa: PLC0415

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # signals are the role's

    return Server(
        uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            ws="websockets-sansio",
            # senders that write every 15 s keep their connection, and do not meet its end while they write
            timeout_keep_alive=75,
            timeout_graceful_shutdown=int(_STOP_SECONDS) - 2,
        )
    )


@contextlib.contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    """Bind the server's address, so that a port in use is told before anything is opened.

    Raises: ConfigError.
    """
    host, port = settings.server.address()
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(1024)
            listener.setblocking(False)  # noqa: FBT003 - the socket's own signature
            yield listener
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES) or isinstance(error, socket.gaierror):
            raise ConfigError(
                f"server.listen {settings.server.listen}: {error.strerror}; choose another address with --listen"
            ) from error
        raise


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - a wildcard is reached over loopback too
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[IO[str]]:
    """Hold a data folder.

    Raises: ConfigError, with who holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (folder / "lock").open("a+")
    except OSError as error:
        raise ConfigError(f"up.data {folder}: {error.strerror}; choose another folder with --data") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            holder = lock.read().strip()
            raise ConfigError(
                f"up.data {folder}: another kobs uses this folder ({holder or 'it is starting'}); "
                "stop it, or choose another folder with --data"
            ) from error
        yield lock


def _tell_address(lock: IO[str], url: str) -> None:
    lock.truncate(0)
    lock.write(f"process {os.getpid()}, {url}\n")
    lock.flush()


@contextlib.asynccontextmanager
async def _child_agent(settings: Settings, listener: socket.socket) -> AsyncIterator[None]:
    """Run the agent as a child, and again when it ends by itself, until the block is left."""
    async with asyncio.TaskGroup() as tasks:
        keeper = tasks.create_task(_keep_child(settings, _url(listener)))
        try:
            yield
        finally:
            keeper.cancel()


async def _keep_child(settings: Settings, url: str) -> None:
    pause = 1.0
    while True:
        read_end, write_end = os.pipe()
        began = time.monotonic()
        child = await _start_agent(settings, url, read_end)
        os.close(read_end)
        try:
            code = await child.wait()
        finally:
            # The child reads the other end: that it closes is the sign to stop.
            os.close(write_end)
            if child.returncode is None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_STOP_SECONDS):
                        await child.wait()
                if child.returncode is None:
                    child.kill()
                    await child.wait()
        pause = 1.0 if time.monotonic() - began > 60 else min(pause * 2, 60.0)
        log.error("The agent ended and is started again.", code=code, pause_seconds=pause)
        await asyncio.sleep(pause)


async def _start_agent(settings: Settings, url: str, pipe: int) -> asyncio.subprocess.Process:
    arguments = [sys.executable, "-m", "kobs"]
    if settings.file is not None:
        arguments += ["--config", str(settings.file)]
    arguments += ["agent", "--server", url, "--parent-pipe", str(pipe), "--node", settings.node]
    arguments += ["--state", str(settings.agent.state or settings.up.data / "agent")]
    if settings.cluster:
        arguments += ["--cluster", settings.cluster]
    if settings.agent.scrape_config is not None:
        arguments += ["--scrape-config", str(settings.agent.scrape_config)]
    environment = dict(config.environment())
    if settings.server.token is not None:
        environment["KOBS_AGENT__TOKEN"] = settings.server.token.get_secret_value()
    # A session of its own: Ctrl-C is for the parent, which closes the pipe.
    return await asyncio.create_subprocess_exec(
        *arguments, pass_fds=[pipe], stdin=subprocess.DEVNULL, env=environment, start_new_session=True
    )


async def _watch_loop_lag() -> None:
    """Measure how late the event loop runs what is due: whatever blocks it shows here."""
    lag = telemetry.gauge("kobs_loop_lag_seconds", "How late the event loop ran a task that was due, at most in 10 s.")
    worst: list[float] = []
    while True:
        due = time.monotonic() + 0.5
        await asyncio.sleep(0.5)
        worst = [*worst[-19:], max(time.monotonic() - due, 0.0)]
        lag.set(max(worst))


async def _closed(descriptor: int) -> None:
    """Return when the other end of a pipe is closed."""
    loop = asyncio.get_running_loop()
    closed = asyncio.Event()
    loop.add_reader(descriptor, closed.set)
    try:
        await closed.wait()
    finally:
        loop.remove_reader(descriptor)


def _raise_file_limit() -> None:
    """Allow as many open files as the system grants: each live log file takes one."""
    import resource  # noqa: PLC0415

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
