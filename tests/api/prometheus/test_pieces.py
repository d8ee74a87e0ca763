"""Bodies in pieces: the same text for a small one and a large one, compressed or not, made while it is sent."""

import asyncio
import random
from collections.abc import Iterator
from itertools import pairwise

import httpx
import pytest
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from kobs.api.prometheus.pieces import respond

SIZES = [0, 1, 1023, 1024, 512 * 1024 - 1, 512 * 1024, 512 * 1024 + 1, 5_000_000]


def parts_of(size: int, *, seed: int = 5) -> list[bytes]:
    """Return parts of digits with this many bytes in all."""
    numbers = random.Random(seed)
    text = bytes(numbers.choices(b"0123456789", k=size))
    cuts = sorted({0, size, *(numbers.randrange(size + 1) for _ in range(40))})
    return [text[first:end] for first, end in pairwise(cuts)]


async def answered(parts: list[bytes], encoding: str) -> httpx.Response:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(Request(scope), parts, media_type="application/json")(scope, receive, send)

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://kobs") as client:
        return await client.get("/", headers={"Accept-Encoding": encoding})


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("encoding", ["gzip, deflate", "identity"])
def test_a_body_arrives_whole(size: int, encoding: str) -> None:
    parts = parts_of(size)
    response = asyncio.run(answered(parts, encoding))
    assert response.content == b"".join(parts)
    assert response.headers["content-type"] == "application/json"
    assert response.headers["vary"] == "Accept-Encoding"
    assert (response.headers.get("content-encoding") == "gzip") == (encoding != "identity" and size >= 1024)
    if size < 512 * 1024:
        assert "content-length" in response.headers


def test_a_large_body_is_made_while_it_is_sent() -> None:
    """Not more than a few pieces are made before the first of them is on its way."""
    made = 0

    def parts() -> Iterator[bytes]:
        nonlocal made
        for _ in range(100):
            made += 1
            yield b"0123456789abcdef" * 8192  # a quarter of a piece

    made_before_first = []

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            made_before_first.append(made)

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    scope: Scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
    asyncio.run(respond(Request(scope), parts(), media_type="text/plain")(scope, receive, send))
    assert made_before_first[0] <= 8
    assert made == 100
