"""A question whose client has gone need not be answered: it is cancelled, and what it runs in the store is stopped."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Receive

T = TypeVar("T")

_CLIENT_CLOSED_REQUEST = 499


async def while_connected(request: Request, question: Coroutine[Any, Any, T]) -> T:
    """Return a question's answer; when the client disconnects before, the question is cancelled.

    The request's body must have been read, or be none.

    Raises: what the question raises; HTTPException where nobody is there to answer.
    """
    answer = await until_disconnected(request.receive, _boxed(question))
    if answer is None:
        raise HTTPException(_CLIENT_CLOSED_REQUEST, "the client has gone")
    return answer[0]


async def _boxed(question: Coroutine[Any, Any, T]) -> tuple[T]:
    """Return a question's answer so that it is told from none, also where it is None."""
    return (await question,)


async def until_disconnected(receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
    """Do some work until it is done or the client disconnects; None where the client was first.

    Raises: what the work raises.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
        # what a cancelled task raises on its way out is nobody's any more
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] not in ("http.disconnect", "websocket.disconnect"):
        pass
