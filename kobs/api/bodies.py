"""Bodies of requests, read up to a limit."""

from starlette.requests import Request


async def read_body(request: Request, *, limit: int) -> bytes | None:
    """Return a request's body, or None as soon as it is larger than the limit."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            return None
    return bytes(body)
