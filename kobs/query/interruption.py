"""Stopping a question whose asker has gone: its thread, and the statement that it waits for."""

import asyncio
import contextlib
import threading
import uuid
from collections.abc import Callable
from typing import TypeVar

from kobs.errors import KobsError
from kobs.storage.clickhouse import Store

T = TypeVar("T")


class _InterruptedError(KobsError):
    """The question ends here. Nobody sees this, as its asker has gone."""


class Interruption:
    """What a question in a thread looks at between its statements, and marks them with."""

    def __init__(self) -> None:
        self.comment = f"kobs question {uuid.uuid4().hex}"
        """The comment of each of its statements, by which they can be stopped."""
        self._asked = threading.Event()

    def ask(self) -> None:
        """Ask the question to end."""
        self._asked.set()

    def check(self) -> None:
        """End the question here if it was asked to."""
        if self._asked.is_set():
            raise _InterruptedError


async def run_interruptibly(store: Store, question: Callable[[Interruption], T]) -> T:
    """Run a question in the store's threads; when this task is cancelled, it is stopped before the task ends.

    Raises: what the question raises.
    """
    interruption = Interruption()
    running = asyncio.ensure_future(store.run(question, interruption))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        interruption.ask()
        await asyncio.shield(_stop(store, interruption, running))
        raise


async def _stop(store: Store, interruption: Interruption, running: "asyncio.Future[T]") -> None:
    # again and again: a statement may begin just after a look for running ones
    while not running.done():
        with contextlib.suppress(KobsError):
            await asyncio.to_thread(store.kill, interruption.comment)
        await asyncio.wait({running}, timeout=0.1)
    if not running.cancelled():
        running.exception()
