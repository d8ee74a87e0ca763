"""Frames of samples on their way to a server: one request at a time, an answer or an error that says what next."""

from kobs import telemetry
from kobs.collectors.servers import ServerError, Servers
from kobs.config import AgentSettings
from kobs.errors import RejectedError
from kobs.wire.samples import SampleAnswer

_ANSWER_SECONDS = 60.0
_PATH = "/kobs/v1/ship/samples"
_REJECTED = frozenset({400, 413, 422})
"""Statuses of a server that will not take this very frame another time either."""

log = telemetry.get_logger(__name__)
_requests = telemetry.counter("kobs_agent_sample_requests_total", "Requests with samples, by outcome.", ("outcome",))


class SampleDelivery:
    """The way of frames to the servers."""

    def __init__(self, settings: AgentSettings) -> None:
        self._servers = Servers(settings, answer_seconds=_ANSWER_SECONDS)

    @property
    def problem(self) -> str:
        """Why no server takes samples now; empty if one does."""
        return self._servers.problem

    async def close(self) -> None:
        """Close connections."""
        await self._servers.close()

    async def post(self, frame: bytes) -> SampleAnswer:
        """Send a frame and return the answer.

        Raises: RetryableError where it should be sent again, RejectedError where that helps nothing.
        """
        server, problem = self._servers.current, self._servers.problem
        try:
            answer = await self._servers.ask(_PATH, frame, SampleAnswer, final=_REJECTED)
        except RejectedError as error:
            _requests.labels("rejected").inc()
            log.error("The server refuses samples for good.", server=server, error=error)
            raise
        except ServerError as error:
            _requests.labels("failed").inc()
            if not problem:
                log.warning("The server takes no samples; they wait here.", server=server, error=error)
            raise
        if problem:
            log.info("The server takes samples again.", server=server)
        _requests.labels("answered").inc()
        return answer
