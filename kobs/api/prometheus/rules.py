"""Rules and alerts. kobs has none yet: the answers are empty, their parameters are checked all the same."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from kobs.api.prometheus.answers import ParameterError, answer
from kobs.api.prometheus.endpoint import add_endpoint
from kobs.api.prometheus.parameters import Parameters

_BOOLEANS = frozenset({"", "1", "t", "T", "true", "TRUE", "True", "0", "f", "F", "false", "FALSE", "False"})


def add(routes: APIRouter) -> None:
    """Add the endpoints."""

    async def rules(request: Request, given: Parameters) -> Response:
        kind = given.text("type").lower()
        if kind not in ("", "alert", "record"):
            raise ParameterError("type", f'not supported value "{kind}"')
        given.selectors()
        if given.text("exclude_alerts") not in _BOOLEANS:
            raise ParameterError("exclude_alerts", f'expected true or false, got "{given.text("exclude_alerts")}"')
        limit, token = given.text("group_limit"), given.text("group_next_token")
        if token and not limit:
            said = "group_limit needs to be present in order to paginate over the groups"
            raise ParameterError("group_next_token", said)
        if limit and given.number("group_limit", default=0) <= 0:
            raise ParameterError("group_limit", "group_limit needs to be greater than 0")
        if token:
            # A token names the group to go on with, and there are no groups.
            raise ParameterError("group_next_token", f"invalid group_next_token '{token}'. were rule groups changed?")
        return answer(request, {"groups": []})

    async def alerts(request: Request, _: Parameters) -> Response:
        return answer(request, {"alerts": []})

    async def alertmanagers(request: Request, _: Parameters) -> Response:
        return answer(request, {"activeAlertmanagers": [], "droppedAlertmanagers": []})

    add_endpoint(routes, "/rules", rules)
    add_endpoint(routes, "/alerts", alerts)
    add_endpoint(routes, "/alertmanagers", alertmanagers)
