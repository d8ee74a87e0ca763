"""How long a search over all lines takes, through the API: a substring that no line has, and a rare whole token."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.loading import make_frames, needle_token, send
from bench.processes import Server, serving, until_quiet
from bench.results import Options, Result

_SPAN_SECONDS = 6 * 3600.0
_TRIES = 7
"""Each try asks for another word: the engine remembers where it found nothing."""
_BUDGET_LINES = 8_000_000


def measure(options: Options) -> list[Result]:
    """Search over 2 million lines, with `full` over 8 million."""
    lines = _BUDGET_LINES if options.full else 2_000_000
    with tempfile.TemporaryDirectory(prefix="kobs-bench-") as name, serving(Path(name)) as server:
        count = 0
        for made in make_frames(
            lines=lines, batch_bytes=256 * 1024, span_seconds=_SPAN_SECONDS, seed=5, needles=_TRIES
        ):
            send(server, made)
            count += made.lines
        until_quiet(server)
        absent_seconds, absent_cpu = _best(server, expected=0, text=lambda number: f"zqjxw{number}")
        token_seconds, token_cpu = _best(server, expected=1, token=needle_token)
    scale = _BUDGET_LINES / count
    scaled = "" if options.full else f", times {scale:.2f}"
    return [
        Result(
            name="search",
            work="log search, substring",
            measured=count / absent_seconds / 1e6,
            unit="M lines/s",
            budget=10,
            more_is_better=True,
            data=f"{count:,} lines, no hit, {absent_seconds * 1000:.0f} ms, {absent_cpu:.2f} CPU s",
        ),
        Result(
            name="search",
            work="log search, rare token in 8 M lines",
            measured=token_seconds * scale * 1000,
            unit="ms",
            budget=50,
            data=f"{count:,} lines, a hit, {token_seconds * 1000:.0f} ms{scaled}, {token_cpu:.2f} CPU s",
        ),
    ]


def _best(server: Server, *, expected: int, **filters: Callable[[int], str]) -> tuple[float, float]:
    """Return wall and CPU seconds of the fastest of some tries."""
    end_ns = time.time_ns() + 60_000_000_000
    start_ns = end_ns - int((_SPAN_SECONDS + 3600) * 1e9)
    best = (float("inf"), float("inf"))
    for number in range(_TRIES):
        asked = {name: value(number) for name, value in filters.items()}
        cpu, began = server.cpu_seconds(), time.perf_counter()
        answer = server.get("/kobs/v1/logs", start=str(start_ns), end=str(end_ns), limit=100, **asked)
        took = time.perf_counter() - began
        if len(answer["entries"]) != expected:
            raise RuntimeError(f"{len(answer['entries'])} entries for {asked}: expected {expected}")
        best = min(best, (took, server.cpu_seconds() - cpu))
    return best
