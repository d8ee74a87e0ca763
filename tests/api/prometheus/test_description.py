"""Requests made from Prometheus' own description of its API: no answer is a defect, every answer is as described."""

from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance

from tests.api.server import Server

pytestmark = pytest.mark.clickhouse

OPERATIONS = (
    *(("GET", "/query"), ("POST", "/query"), ("GET", "/query_range"), ("POST", "/query_range")),
    *(("GET", "/query_exemplars"), ("POST", "/query_exemplars"), ("GET", "/format_query"), ("POST", "/format_query")),
    *(("GET", "/parse_query"), ("POST", "/parse_query"), ("GET", "/labels"), ("POST", "/labels")),
    *(("GET", "/label/{name}/values"), ("GET", "/series"), ("POST", "/series"), ("GET", "/metadata")),
    *(("GET", "/rules"), ("GET", "/alerts"), ("GET", "/alertmanagers")),
    *(("GET", "/status/config"), ("GET", "/status/runtimeinfo"), ("GET", "/status/buildinfo")),
    *(("GET", "/status/flags"), ("GET", "/status/tsdb"), ("GET", "/status/walreplay"), ("GET", "/notifications")),
)


@pytest.fixture(scope="module")
def description() -> Any:
    """The description, or a skip."""
    from tests import parts  # noqa: PLC0415

    return schemathesis.openapi.from_path(parts.recorded("prometheus-openapi") / "openapi-3.1.yaml")


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=[" ".join(each) for each in OPERATIONS])
def test_answers_are_as_described(server: Server, description: Any, method: str, path: str) -> None:
    operation = description[path][method]

    @hypothesis.given(case=operation.as_strategy())
    @hypothesis.settings(
        max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    def check(case: Any) -> None:
        answer = case.call(base_url=f"{server.url}/api/v1")
        case.validate_response(answer, checks=(not_a_server_error, response_schema_conformance))

    check()
