"""Sends shipments until they are answered.

One request is under way at a time. What was not answered is sent again with the same boundaries, marked as a retry. An
agent that moves on to another server says which one may still be busy with its batches.
"""

import asyncio
import time
from typing import TypeVar

from kobs import telemetry
from kobs.collectors.logs.shipments import Shipment
from kobs.collectors.logs.sources import Log
from kobs.collectors.logs.state import State
from kobs.collectors.servers import REFUSED_PAUSE_SECONDS, ServerError, Servers
from kobs.config import AgentSettings
from kobs.errors import RetryableError
from kobs.wire import frames
from kobs.wire.ship import (
    AgentReport,
    Batch,
    BatchStatus,
    Claim,
    LogAnswer,
    LogRequest,
    Loss,
    PositionsAnswer,
    PositionsRequest,
    Stream,
)

_ANSWER_MARGIN_SECONDS = 30.0

Answer = TypeVar("Answer", LogAnswer, PositionsAnswer)

log = telemetry.get_logger(__name__)
_requests = telemetry.counter(
    "kobs_agent_log_requests_total", "Requests with logs, by what became of them.", ("outcome",)
)


class Delivery:
    """The way to the servers."""

    def __init__(
        self, settings: AgentSettings, state: State, *, cluster: str, node: str, answer_seconds: float = 60.0
    ) -> None:
        self._state = state
        self._cluster = cluster
        self._node = node
        self._servers = Servers(settings, answer_seconds=answer_seconds + _ANSWER_MARGIN_SECONDS, connections=2)
        self._sequence = 0
        self._answering: dict[str, str] = {}
        self._follows_another_run = bool(state.batches())
        self._uncertain = (state.last_server() or "unknown") if self._follows_another_run else ""
        self._uncertain_at = time.monotonic()
        self._lost_state = state.fresh

    @property
    def problem(self) -> str:
        """Why no server takes logs now; empty if one does."""
        return self._servers.problem

    async def close(self) -> None:
        """Close connections."""
        await self._servers.close()

    async def send(self, shipment: Shipment, report: AgentReport) -> LogAnswer:
        """Send a shipment until a server has answered it. Cancel to give up: nothing is lost by that."""
        retry = False
        while True:
            try:
                self._leave_other_run_behind()
                frame = await asyncio.to_thread(self._encode, shipment, report, retry=retry)
                answer = await self._post("/kobs/v1/ship/logs", frame, LogAnswer, uncertain=bool(shipment.batches))
            except RetryableError as error:
                retry = True
                await asyncio.sleep(error.retry_after_seconds)
                continue
            if len(answer.batches) != len(shipment.batches):
                server = self._servers.current
                self._servers.problem = f"{server} answered {len(answer.batches)} of {len(shipment.batches)} batches"
                retry = True
                await asyncio.sleep(REFUSED_PAUSE_SECONDS)
                continue
            waits = [each.retry_after_seconds for each in answer.batches if each.status is BatchStatus.RETRY]
            if waits:
                await asyncio.sleep(max(waits))
            return answer

    async def positions(self, asked: list[Log], *, open_claims: bool) -> PositionsAnswer:
        """Ask up to where sources are in the store, until a server has answered.

        An agent that begins without state has its whole node taken over by the first server that answers.
        """
        while True:
            request = PositionsRequest(
                agent=self._state.agent,
                cluster=self._cluster,
                node=self._node,
                previous_server=self._uncertain,
                moved_ms=self._moved_ms(),
                attempt=self._state.attempt(),
                lost_state=self._lost_state,
                open_claims=open_claims,
                streams=[entry.stream for entry in asked],
            )
            frame = frames.encode(frames.FrameKind.POSITIONS, request, [])
            try:
                answer = await self._post("/kobs/v1/ship/positions", frame, PositionsAnswer, uncertain=False)
                self._state.take_attempt(answer.attempt)
                self._lost_state = False
                return answer
            except RetryableError as error:
                await asyncio.sleep(error.retry_after_seconds)

    def _leave_other_run_behind(self) -> None:
        """Count a move where an earlier run may have sent batches: a server that stands still may insert them yet.

        Raises: RetryableError where the state cannot be written.
        """
        if self._follows_another_run:
            self._state.moved()
            self._follows_another_run = False

    def _encode(self, shipment: Shipment, report: AgentReport, *, retry: bool) -> bytes:
        streams: dict[int, int] = {}
        described: list[Stream] = []

        def index(source: int, stream: Stream) -> int:
            if source not in streams:
                streams[source] = len(described)
                described.append(stream)
            return streams[source]

        batches = [
            Batch(
                stream=index(batch.boundaries.source, batch.log.stream),
                segment=batch.boundaries.segment,
                start=batch.boundaries.start,
                end=batch.boundaries.end,
                length=len(batch.payload),
                read_ns=batch.boundaries.read_ns,
                utc_offset_s=batch.boundaries.utc_offset_s,
                grouping=batch.boundaries.grouping,
                tail_segment=batch.boundaries.tail_segment,
                tail_end=batch.boundaries.tail_end,
                retry=retry or batch.retry,
                head=batch.segment.head,
            )
            for batch in shipment.batches
        ]
        losses = [
            Loss(
                stream=index(loss.source, loss.stream),
                segment=loss.segment,
                start=loss.start,
                end=loss.end,
                reason=loss.reason,
                first_ns=loss.first_ns,
                last_ns=loss.last_ns,
                detail=loss.detail,
            )
            for loss in shipment.losses
        ]
        claims = [
            Claim(
                stream=index(claim.segment.source, claim.segment.stream),
                segment=claim.segment.segment,
                size=claim.size,
                closed=claim.closed,
                head=claim.segment.head,
            )
            for claim in shipment.claims
        ]
        self._sequence += 1
        request = LogRequest(
            agent=self._state.agent,
            cluster=self._cluster,
            node=self._node,
            sequence=self._sequence,
            sent_ns=time.time_ns(),
            attempt=self._state.attempt(),
            previous_server=self._uncertain,
            moved_ms=self._moved_ms(),
            streams=described,
            batches=batches,
            losses=losses,
            claims=claims,
            report=report,
        )
        return frames.encode(frames.FrameKind.LOGS, request, [batch.payload for batch in shipment.batches])

    def _moved_ms(self) -> int:
        return int((time.monotonic() - self._uncertain_at) * 1000) if self._uncertain else 0

    async def _post(self, path: str, frame: bytes, answer_type: type[Answer], *, uncertain: bool) -> Answer:
        """Ask the current server; `uncertain` says that without an answer it may have inserted batches.

        Raises: RetryableError.
        """
        server, problem = self._servers.current, self._servers.problem
        try:
            answer = await self._servers.ask(path, frame, answer_type)
        except ServerError as error:
            _requests.labels("failed").inc()
            if uncertain and error.may_have_acted:
                self._note_uncertain(server)
            if self._servers.problem != problem:
                message = "The server cannot be reached or refuses; logs wait in their files."
                log.warning(message, server=server, error=error)
            raise
        if problem:
            log.info("The server answers again.", server=server)
        _requests.labels("answered").inc()
        self._state.answered_by(answer.server)
        self._answering[server] = answer.server
        still_out = isinstance(answer, LogAnswer) and any(each.status is BatchStatus.RETRY for each in answer.batches)
        if isinstance(answer, LogAnswer) and not still_out:
            self._uncertain = ""
        return answer

    def _note_uncertain(self, server: str) -> None:
        """Note that a server may have inserted batches, or may still: whoever gets them next must know.

        Where several may, or one that has never answered, even the server that answered last must not take itself for
        the only one.
        """
        busy = self._answering.get(server, "unknown")
        self._uncertain = busy if self._uncertain in ("", busy) else "unknown"
        self._uncertain_at = time.monotonic()
        self._state.moved()
