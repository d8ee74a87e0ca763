"""Ships samples to a server: batches arrive from collectors, frames leave, in the order of their arrival.

Batches wait in memory, up to a number of samples; beyond it the oldest are dropped and counted. What waits when the
process ends is lost. One request is under way at a time; it is sent until a server has answered it, and an agent moves
on to the next server when one fails. A frame may be stored twice (its answer was lost), which the store takes as once.
"""

import asyncio
import ssl
import uuid
from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

import httpx
import msgspec

from kobs import __version__, telemetry
from kobs.config import AgentSettings
from kobs.errors import ConfigError, RejectedError, RetryableError
from kobs.model.samples import Family, Sample
from kobs.wire import frames
from kobs.wire.samples import JobFamily, SampleAnswer, SampleRequest, SampleStatus, encode

QUEUE_SAMPLES = 200_000
"""Samples that wait while no server answers: an hour and more of one machine's own metrics, in some 60 MB."""
FRAME_SAMPLES = 20_000
MOST_SERIES = 200_000
"""Series of one session; with more a new one begins, so that series that are gone do not stay in memory for ever."""

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0
_REFUSED_PAUSE_SECONDS = 10.0
_TRIES_A_SERVER = 2
_ANSWER_SECONDS = 60.0
_PATH = "/kobs/v1/ship/samples"
_REJECTED_STATUS = frozenset({400, 413, 422})
"""The server refuses this very frame: it will not take it another time either."""

log = telemetry.get_logger(__name__)
_requests = telemetry.counter("kobs_agent_sample_requests_total", "Requests with samples, by outcome.", ("outcome",))
_shipped = telemetry.counter("kobs_agent_samples_shipped_total", "Samples that a server has stored.")
_queued = telemetry.gauge("kobs_agent_queued_samples", "Samples that wait to be shipped.")

SeriesKey = tuple[tuple[str, str], ...]


class SampleShipping:
    """The way of samples to the servers."""

    def __init__(self, settings: AgentSettings, *, cluster: str, node: str, queue_samples: int = QUEUE_SAMPLES) -> None:
        self._settings = settings
        self._cluster = cluster
        self._node = node
        self._queue_samples = queue_samples
        self._servers = list(settings.servers)
        self._failures = 0
        self._queue: deque[Sequence[Sample]] = deque()
        self._waiting = 0
        self._some = asyncio.Event()
        self._families: dict[tuple[str, str], JobFamily] = {}
        self._session = ""
        self._numbers: dict[SeriesKey, int] = {}
        self._known_series = 0
        self._told_families: dict[tuple[str, str], JobFamily] = {}
        self._begin_session()
        self.problem = ""

    @property
    def waiting(self) -> int:
        """Samples that wait, those on their way included."""
        return self._waiting

    def describe(self, job: str, families: Iterable[Family]) -> None:
        """Note what a job says of its metric names; it goes with the next samples."""
        for family in families:
            self._families[job, family.name] = JobFamily.of(job, family)

    def put(self, samples: Sequence[Sample]) -> None:
        """Queue samples; when there are too many, the oldest in the queue are dropped and counted."""
        for start in range(0, len(samples), FRAME_SAMPLES):
            self._queue.append(samples[start : start + FRAME_SAMPLES])
        self._waiting += len(samples)
        while self._waiting > self._queue_samples and self._queue:
            dropped = len(self._queue.popleft())
            self._waiting -= dropped
            telemetry.discarded("metrics", "queue_full", dropped)
        _queued.set(self._waiting)
        if self._queue:
            self._some.set()

    async def run(self) -> None:
        """Send what is queued, until cancelled."""
        async with httpx.AsyncClient(
            verify=_trust(self._settings.ca_file),
            timeout=httpx.Timeout(_ANSWER_SECONDS, connect=5.0),
            limits=httpx.Limits(max_connections=1),
            trust_env=False,
        ) as client:
            while True:
                await self._some.wait()
                while self._queue:
                    await self._send(client, self._take())
                self._some.clear()

    def _take(self) -> Sequence[Sample]:
        """Take a frame's samples off the queue; they count as waiting until they are sent."""
        taken = list(self._queue.popleft())
        while self._queue and len(taken) + len(self._queue[0]) <= FRAME_SAMPLES:
            taken += self._queue.popleft()
        return taken

    async def _send(self, client: httpx.AsyncClient, samples: Sequence[Sample]) -> None:
        """Send samples until a server has stored or refused them."""
        try:
            while True:
                try:
                    answer = await self._post(client, self._encode(samples))
                except RetryableError as error:
                    await asyncio.sleep(error.retry_after_seconds)
                    continue
                except RejectedError as error:
                    telemetry.discarded("metrics", error.reason, len(samples))
                    self._begin_session()
                    return
                if answer.status is SampleStatus.UNKNOWN_SERIES:
                    if self._known_series == 0:
                        # It was told all of them and still asks: not at once again.
                        await asyncio.sleep(_REFUSED_PAUSE_SECONDS)
                    self._begin_session()
                    continue
                self._known_series = len(self._numbers)
                self._told_families = dict(self._families)
                _shipped.inc(len(samples) - sum(answer.rejected.values()))
                if answer.rejected:
                    log.warning("The server refuses some samples for good.", reasons=answer.rejected)
                return
        finally:
            self._waiting -= len(samples)
            _queued.set(self._waiting)

    def _begin_session(self) -> None:
        self._session = uuid.uuid4().hex
        self._numbers = {}
        self._known_series = 0
        self._told_families = {}

    def _encode(self, samples: Sequence[Sample]) -> bytes:
        """Return the frame of samples with all that the server does not know yet."""
        if len(self._numbers) > MOST_SERIES:
            self._begin_session()
        numbers = self._numbers
        columns = array("I")
        for sample in samples:
            key = tuple(sorted(sample.labels.items()))
            columns.append(numbers.setdefault(key, len(numbers)))
        known = self._known_series
        request = SampleRequest(
            session=self._session,
            cluster=self._cluster,
            node=self._node,
            first_series=known,
            series=[dict(key) for key in islice(numbers, known, None)],
            families=[each for key, each in self._families.items() if self._told_families.get(key) != each],
            count=len(samples),
        )
        return encode(
            request,
            times_ms=array("q", [sample.time_ms for sample in samples]),
            values=array("d", [sample.value for sample in samples]),
            numbers=columns,
        )

    async def _post(self, client: httpx.AsyncClient, frame: bytes) -> SampleAnswer:
        server = self._servers[0]
        headers = {"Content-Type": frames.CONTENT_TYPE, "User-Agent": f"kobs-agent/{__version__}"}
        token = self._token()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            response = await client.post(server + _PATH, content=frame, headers=headers)
        except httpx.HTTPError as error:
            raise self._failed(server, str(error) or type(error).__name__, pause=None) from error
        if response.status_code in _REJECTED_STATUS:
            _requests.labels("rejected").inc()
            log.error("The server refuses samples for good.", server=server, error=response.text[:300])
            raise RejectedError(_reason(response), response.text[:300])
        if response.status_code != httpx.codes.OK:
            pause = _retry_after(response) if response.status_code in (429, 503) else _REFUSED_PAUSE_SECONDS
            raise self._failed(server, f"status {response.status_code}: {response.text[:300]}", pause=pause)
        try:
            answer = msgspec.json.decode(response.content, type=SampleAnswer)
        except msgspec.DecodeError as error:
            raise self._failed(server, f"unreadable answer: {error}", pause=None) from error
        if self.problem:
            log.info("The server takes samples again.", server=server)
        self.problem = ""
        self._failures = 0
        _requests.labels("answered").inc()
        return answer

    def _failed(self, server: str, reason: str, *, pause: float | None) -> RetryableError:
        self._failures += 1
        _requests.labels("failed").inc()
        if not self.problem:
            log.warning("The server takes no samples; they wait in memory.", server=server, error=reason)
        self.problem = f"{server}: {reason}"
        if self._failures % _TRIES_A_SERVER == 0:
            self._servers.append(self._servers.pop(0))
        if pause is None:
            pause = min(_FIRST_PAUSE_SECONDS * 2 ** min(self._failures - 1, 8), _LONGEST_PAUSE_SECONDS)
        return RetryableError(reason, retry_after_seconds=pause)

    def _token(self) -> str:
        if self._settings.token is not None:
            return self._settings.token.get_secret_value()
        if self._settings.token_file is not None:
            try:
                return self._settings.token_file.read_text().strip()
            except OSError as error:
                self.problem = f"agent.token_file {self._settings.token_file}: {error.strerror}"
        return ""


def _trust(ca_file: Path | None) -> ssl.SSLContext | bool:
    if ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"agent.ca_file {ca_file}: {error}; expected a file with certificates (PEM)") from error


def _reason(response: httpx.Response) -> str:
    """Return why a server refused a frame, from its error's type; bounded, as it becomes a label."""
    try:
        told = msgspec.json.decode(response.content, type=_Refusal).error.type
    except msgspec.DecodeError:
        return "refused"
    return told if told in _FRAME_REASONS else "refused"


class _RefusalError(msgspec.Struct, frozen=True):
    type: str


class _Refusal(msgspec.Struct, frozen=True):
    error: _RefusalError


_FRAME_REASONS = frozenset(
    {"malformed_frame", "wrong_checksum", "frame_too_large", "body_too_large", "too_many_samples"}
)


def _retry_after(response: httpx.Response) -> float:
    try:
        return min(max(float(response.headers.get("Retry-After", "1")), 0.1), 60.0)
    except ValueError:
        return 1.0
