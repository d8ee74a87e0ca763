"""A process that ships samples and does nothing else: `python -m bench.shipping`.

100 targets of 1000 series, spread over 15 s, each with new values every 15 s.
"""

import argparse
import asyncio
import contextlib
import time
from array import array
from pathlib import Path

from bench.series import STEP_MS, MovingSeries
from kobs.collectors.sample_shipping import SampleShipping
from kobs.config import AgentSettings

_TARGETS = 100
_SERIES = 1000


def main() -> None:
    """Ship until the time is over."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--state", required=True, type=Path)
    parser.add_argument("--seconds", required=True, type=float)
    arguments = parser.parse_args()
    settings = AgentSettings(servers=(arguments.server,))
    shipping = SampleShipping(settings, cluster="", node="n1", folder=arguments.state)
    asyncio.run(_ship(shipping, arguments.seconds))


async def _ship(shipping: SampleShipping, seconds: float) -> None:
    moving = MovingSeries(_TARGETS * _SERIES, seed=7, start_ms=time.time_ns() // 1_000_000 // STEP_MS * STEP_MS)
    numbers = array("I", [shipping.register(labels) for labels in moving.labels])
    # A handful of values in turn: to make new ones for each sample would cost more than to ship them.
    values = [array("d", moving.step()[1].tolist()) for _ in range(8)]
    running = asyncio.ensure_future(shipping.run())
    deadline = time.monotonic() + seconds
    turn = 0
    while time.monotonic() < deadline:
        for target in range(_TARGETS):
            piece = slice(target * _SERIES, (target + 1) * _SERIES)
            times = array("q", [time.time_ns() // 1_000_000]) * _SERIES
            shipping.put_columns(times, values[turn % len(values)][piece], numbers[piece])
            await asyncio.sleep(STEP_MS / 1000 / _TARGETS)
        turn += 1
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


if __name__ == "__main__":
    main()
