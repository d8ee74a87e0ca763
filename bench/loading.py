"""Ready-made frames as agents send them, and a client that sends them one after another."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from bench.lines import ContainerLines
from bench.processes import Server
from kobs.config import AgentSettings
from kobs.model.logs import LogSource, SourceKind
from kobs.wire import frames
from kobs.wire.ship import Batch, BatchStatus, LineFormat, LogAnswer, LogRequest, Stream

_REQUEST_BYTES = AgentSettings().request_bytes
_CONTAINERS = 200


@dataclass(frozen=True, slots=True)
class Made:
    """A frame, its lines and its bytes of logs."""

    frame: bytes
    lines: int
    log_bytes: int


def make_frames(
    *, lines: int, batch_bytes: int, span_seconds: float, seed: int, needles: int = 0, node: str = "n1"
) -> Iterator[Made]:
    """Yield frames of one node's agent with about `lines` lines of 200 containers, the last of them written now.

    Requests are as large as an agent's, in batches of `batch_bytes`, the containers in turn and each once. `needles`
    lines, spread evenly, are those of `needle`.
    """
    containers = [ContainerLines(number, seed=seed) for number in range(_CONTAINERS)]
    streams = [Stream(source=_source(number, node), format=LineFormat.CRI) for number in range(_CONTAINERS)]
    reached = [0] * _CONTAINERS
    step_ns = int(span_seconds * 1e9 / lines)
    now_ns = time.time_ns() - int(span_seconds * 1e9)
    segment = now_ns
    number = sequence = done = planted = 0
    while done < lines:
        batches: list[Batch] = []
        pieces: list[bytes] = []
        room, count = _REQUEST_BYTES, 0
        described: dict[int, int] = {}
        while room > 0 and len(batches) < _CONTAINERS and done + count < lines:
            piece, its_lines = containers[number].framed(start_ns=now_ns, step_ns=step_ns, size=batch_bytes)
            if planted < needles and done + count >= (planted + 0.5) * lines / needles:
                head = piece[: piece.index(b" F ") + 3]
                piece += head + needle(planted).encode() + b"\n"
                its_lines += 1
                planted += 1
            now_ns += its_lines * step_ns
            batches.append(
                Batch(
                    stream=described.setdefault(number, len(described)),
                    segment=segment,
                    start=reached[number],
                    end=reached[number] + len(piece),
                    length=len(piece),
                    read_ns=time.time_ns(),
                )
            )
            reached[number] += len(piece)
            pieces.append(piece)
            room -= len(piece)
            count += its_lines
            number = (number + 1) % _CONTAINERS
        sequence += 1
        request = LogRequest(
            agent=f"bench-{node}",
            cluster="c1",
            node=node,
            sequence=sequence,
            sent_ns=time.time_ns(),
            streams=[streams[each] for each in described],
            batches=batches,
        )
        done += count
        frame = frames.encode(frames.FrameKind.LOGS, request, list(pieces))
        yield Made(frame, count, sum(map(len, pieces)))


def needle(number: int) -> str:
    """Return the content of a planted line; its token, of `needle_token`, is in no other line."""
    return f"level=info msg=found token={needle_token(number)}"


def needle_token(number: int) -> str:
    """Return the token of a planted line."""
    return f"k7f3needle{number}"


def send(server: Server, made: Made) -> None:
    """Send a frame; all of it must be stored."""
    answer = server.http.post(
        f"{server.url}/kobs/v1/ship/logs", content=made.frame, headers={"Content-Type": frames.CONTENT_TYPE}
    )
    answer.raise_for_status()
    batches = msgspec.json.decode(answer.content, type=LogAnswer).batches
    if any(batch.status is not BatchStatus.STORED for batch in batches):
        raise RuntimeError(f"not stored: {batches[0]}")


def _source(number: int, node: str) -> LogSource:
    return LogSource(
        kind=SourceKind.CONTAINER,
        cluster="c1",
        node=node,
        path=f"/var/log/pods/shop_web-{number}_{number:08x}/app/0.log",
        namespace="shop",
        pod=f"web-{number}",
        uid=f"{number:08x}",
        container="app",
    )
