"""The HTTP side: what arrives is ClickHouse's HTTP protocol, what leaves are its answers, headers and error codes."""

import json
import uuid
from email.parser import BytesParser
from email.policy import HTTP

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.clickhouse_server import coding
from tests.clickhouse_server.engine import Engine, EngineError

_STATUS = {26: 400, 27: 400, 46: 404, 47: 404, 60: 404, 62: 400, 81: 404, 159: 408, 216: 500, 497: 403, 516: 403}


def application(engine: Engine) -> Starlette:
    """Return the server's application over one engine."""

    async def answer(request: Request) -> Response:
        parameters = dict(request.query_params)
        body = await request.body()
        kind = request.headers.get("content-type", "")
        if kind.startswith("multipart/form-data"):
            parameters |= _form(kind, body)
            body = b""
        elif unpack := coding.UNPACK.get(request.headers.get("content-encoding", "")):
            body = unpack(body)
        headers = {
            "X-ClickHouse-Query-Id": parameters.setdefault("query_id", str(uuid.uuid4())),
            "X-ClickHouse-Server-Display-Name": "embedded",
            "X-ClickHouse-Timezone": engine.timezone,
        }
        query = parameters.pop("query", "").encode()
        if not query and not body:
            return PlainTextResponse("Ok.\n", headers=headers)
        try:
            result = await run_in_threadpool(
                engine.run,
                query,
                body,
                parameters,
                default_format=request.headers.get("x-clickhouse-format", "TabSeparated"),
                get=request.method == "GET",
            )
        except EngineError as error:
            headers["X-ClickHouse-Exception-Code"] = str(error.code)
            text = f"{error} (version {engine.version})\n"
            return PlainTextResponse(text, status_code=_STATUS.get(error.code, 500), headers=headers)
        headers["X-ClickHouse-Format"] = result.format
        headers["X-ClickHouse-Summary"] = json.dumps(result.summary)
        content = result.content
        encoding = coding.choose(request.headers.get("accept-encoding", ""))
        if parameters.get("enable_http_compression") == "1" and encoding is not None:
            content = await run_in_threadpool(coding.PACK[encoding], content)
            headers["Content-Encoding"] = encoding
        return Response(content, media_type="application/octet-stream", headers=headers)

    async def ping(_request: Request) -> Response:
        return PlainTextResponse("Ok.\n")

    return Starlette(routes=[Route("/ping", ping), Route("/", answer, methods=["GET", "POST"])])


def _form(content_type: str, body: bytes) -> dict[str, str]:
    """Return the text fields of a form: large parameters arrive that way."""
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    fields: dict[str, str] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            fields[name] = content.decode()
    return fields
