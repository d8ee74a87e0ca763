"""The loop that keeps a node's logs flowing: look, cut, send, settle, and again.

While a shipment is under way or its server is away, looking goes on, so that rotated files are held open.
"""

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from kobs import __version__, telemetry
from kobs.collectors.logs.delivery import Delivery
from kobs.collectors.logs.discovery import Discovery
from kobs.collectors.logs.journal_tailing import JournalTail
from kobs.collectors.logs.registry import Registry
from kobs.collectors.logs.shipments import Shipment
from kobs.collectors.logs.sources import Log
from kobs.collectors.logs.state import State
from kobs.collectors.logs.tailing import Tailer
from kobs.config import AgentSettings
from kobs.errors import RetryableError
from kobs.wire.ship import AgentReport

_LOOK_WHILE_SENDING_SECONDS = 0.25
_REPORT_SECONDS = 10.0
_REQUEST_PAUSE_SECONDS = 0.1
"""Between two requests, so that the lines of many small writes share a request and its durable write."""

P = ParamSpec("P")
T = TypeVar("T")

log = telemetry.get_logger(__name__)
_backlog = telemetry.gauge("kobs_agent_log_backlog_bytes", "Log bytes that are known to be there and not stored yet.")
_held = telemetry.gauge("kobs_agent_log_held_bytes", "Unread bytes of files that only an open descriptor leads to.")
_streams = telemetry.gauge("kobs_agent_log_streams", "Log sources that may grow.")


class LogAgent:
    """Delivers all logs of a node."""

    def __init__(
        self,
        settings: AgentSettings,
        state: State,
        *,
        cluster: str,
        node: str,
        problems: Callable[[], list[str]] = list,
    ) -> None:
        """`problems` says what is wrong with other parts of the agent, for the report."""
        self._settings = settings
        self._state = state
        self._discovery = Discovery(settings, cluster=cluster, node=node)
        self._registry = Registry(state)
        self._journal = JournalTail(settings.journal, self._registry, cluster=cluster, node=node)
        self._tailer = Tailer(settings, state, self._registry, self._journal)
        self._delivery = Delivery(settings, state, cluster=cluster, node=node)
        # One thread for everything that touches files and the state: its steps never overlap.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="logs")
        self._next_report = 0.0
        self._next_sign_of_life = 0.0
        self._problem = ""
        self._other_problems = problems

    async def run(self) -> None:
        """Run until cancelled; then close files and make what was acknowledged durable."""
        try:
            while True:
                await self._round()
        finally:
            self._thread.submit(self._close).result()
            self._thread.shutdown()
            await self._delivery.close()

    async def _round(self) -> None:
        try:
            asked, open_claims, shipment = await self._in_thread(self._look_and_collect)
        except RetryableError as error:
            self._note_problem(str(error))
            await asyncio.sleep(error.retry_after_seconds)
            return
        self._note_problem("")
        if asked or open_claims:
            answer = await self._meanwhile_looking(self._delivery.positions(asked, open_claims=open_claims))
            await self._in_thread(self._tailer.place, asked, answer, now=time.monotonic())
            return
        began = time.monotonic()
        if shipment is None:
            if began < self._next_sign_of_life:
                await asyncio.sleep(self._settings.poll_ms / 1000)
                return
            shipment = Shipment([], [], [])
        self._next_sign_of_life = began + _REPORT_SECONDS
        answer_of_logs = await self._meanwhile_looking(self._delivery.send(shipment, self._report()))
        await self._in_thread(self._tailer.settle, shipment, answer_of_logs.batches)
        is_full = sum(len(batch.payload) for batch in shipment.batches) >= self._settings.request_bytes
        if not is_full and not shipment.leaves_rotated_files():
            await asyncio.sleep(max(_REQUEST_PAUSE_SECONDS - (time.monotonic() - began), 0.01))

    async def _meanwhile_looking(self, sending: Coroutine[None, None, T]) -> T:
        task = asyncio.ensure_future(sending)
        try:
            while True:
                done, _ = await asyncio.wait({task}, timeout=_LOOK_WHILE_SENDING_SECONDS)
                if done:
                    return task.result()
                await self._in_thread(self._look)
        finally:
            task.cancel()

    async def _in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        call = functools.partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _look_and_collect(self) -> tuple[list[Log], bool, Shipment | None]:
        """Return the sources to ask the server about and whether to ask for open claims, or else what to send."""
        self._look()
        asked, open_claims = self._tailer.to_place(), self._tailer.earlier_claims.must_ask
        if asked or open_claims:
            return asked, open_claims, None
        return [], False, self._tailer.collect(now=time.monotonic())

    def _look(self) -> None:
        now = time.monotonic()
        self._tailer.update(self._discovery.look(now), now=now)

    def _report(self) -> AgentReport:
        now = time.monotonic()
        if now >= self._next_report:
            self._next_report = now + _REPORT_SECONDS
            _backlog.set(self._tailer.backlog_bytes())
            _held.set(self._tailer.held_bytes())
            _streams.set(self._tailer.stream_count())
        problems = [*self._discovery.problems.values(), *self._registry.files.problems.values()]
        if self._journal.problem:
            problems.append(self._journal.problem)
        if self._problem:
            problems.append(self._problem)
        return AgentReport(
            version=__version__,
            streams=self._tailer.stream_count(),
            backlog_bytes=self._tailer.backlog_bytes(),
            held_bytes=self._tailer.held_bytes(),
            found=self._tailer.found(),
            problems=[*problems, *self._other_problems()][:20],
        )

    def _note_problem(self, problem: str) -> None:
        if problem and problem != self._problem:
            log.error("Nothing is sent until the state can be written.", error=problem)
        self._problem = problem

    def _close(self) -> None:
        try:
            self._tailer.flush()
        except RetryableError as error:
            log.warning("The last acknowledgements were not noted; they are asked again.", error=error)
        self._tailer.close()
        self._discovery.close()
