"""One endpoint: a request's parameters arrive, an answer or an error in Prometheus' form leaves."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from kobs.api.prometheus.answers import error_answer
from kobs.api.prometheus.parameters import Parameters, parameters
from kobs.errors import KobsError

Asked = Callable[[Request, Parameters], Awaitable[Response]]

GET = ("GET",)
GET_AND_POST = ("GET", "POST")


def add_endpoint(routes: APIRouter, path: str, answer: Asked, *, methods: tuple[str, ...] = GET) -> None:
    """Answer a path; what is raised on purpose is told in Prometheus' form."""

    async def handle(request: Request) -> Response:
        try:
            return await answer(request, await parameters(request))
        except KobsError as error:
            return error_answer(error)

    routes.add_api_route(path, handle, methods=list(methods), response_model=None)
