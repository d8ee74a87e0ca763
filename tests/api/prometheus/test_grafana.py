"""Every request that Grafana's Prometheus data source makes, with answers of the recorded shape."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.api.prometheus.asking import Api
from tests.metric_frames import BASE_MS

pytestmark = pytest.mark.clickhouse

BASE = BASE_MS // 1000
RANGE = {"query": "up", "start": str(BASE), "end": str(BASE + 60), "step": "15"}
HEALTH = {"query": "1+1", "start": "1", "end": "4", "time": "4"}

REQUESTS: tuple[tuple[str, str, dict[str, str], int], ...] = (
    ("query_range", "prom-query_range", RANGE, 200),
    ("query_range", "prom-query_range-empty", RANGE | {"query": "nothing"}, 200),
    ("query_range", "prom-query_range-too-many-points", RANGE | {"step": "0.001"}, 400),
    ("query", "prom-query-vector", {"query": "up", "time": str(BASE)}, 200),
    ("query", "prom-query-string", {"query": '"x"'}, 200),
    ("query", "prom-query-matrix-instant", {"query": "up[5m]", "time": str(BASE + 60)}, 200),
    ("query", "prom-query-health-1plus1", HEALTH, 200),
    ("query", "prom-query-parse-error", {"query": "sum("}, 400),
    ("series", "prom-series", {"match[]": "up"}, 200),
    ("labels", "prom-labels", {}, 200),
    ("label/job/values", "prom-label-values", {}, 200),
    ("metadata", "prom-metadata", {}, 200),
    ("status/buildinfo", "prom-buildinfo", {}, 200),
    ("status/flags", "prom-flags", {}, 200),
    ("status/runtimeinfo", "prom-runtimeinfo", {}, 200),
    ("status/tsdb", "prom-tsdb", {}, 200),
    ("rules", "prom-rules", {}, 200),
    ("alerts", "prom-alerts", {}, 200),
    ("query_exemplars", "prom-query_exemplars", {"query": "test", "start": "1", "end": "2"}, 200),
    ("format_query", "prom-format_query", {"query": "sum(rate(x[5m])) by (a)"}, 200),
)
POSTED = {"query_range", "query", "series", "labels", "query_exemplars", "format_query"}


@pytest.mark.parametrize("asked", REQUESTS, ids=[each[1] for each in REQUESTS])
def test_an_answer_has_the_recorded_shape(
    api: Api, recorded: Callable[[str], Path], asked: tuple[str, str, dict[str, str], int]
) -> None:
    path, example, parameters, status = asked
    text = (recorded("grafana-datasources") / "examples" / f"{example}.json").read_text()
    answers = [api.get(path, **parameters)]
    if path in POSTED:
        answers.append(api.request("POST", f"/api/v1/{path}", data=parameters))
    for answer in answers:
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/json"
        assert_has(answer.json(), json.loads(text))


def assert_has(ours: object, theirs: object, place: str = "") -> None:
    """Check that every field of a recorded answer is there with its type; lists may be empty, names are free."""
    if isinstance(theirs, dict):
        assert isinstance(ours, dict), place
        if place in (".metric", ".labels") or place.endswith((".metric", "data.flags")):
            return
        free = place == ".data" and not {"resultType", "groups", "alerts", "headStats", "version", "CWD"} & set(theirs)
        if free:
            assert ours, place
            assert_has(next(iter(ours.values())), next(iter(theirs.values())), f"{place}.*")
            return
        for name, value in theirs.items():
            assert name in ours, f"{place}.{name}"
            assert_has(ours[name], value, f"{place}.{name}")
    elif isinstance(theirs, list):
        assert isinstance(ours, list), place
        if ours and theirs:
            is_point = len(theirs) == 2 and isinstance(theirs[0], int | float)
            for index in range(2 if is_point else 1):
                assert_has(ours[index], theirs[index], f"{place}[]")
    elif isinstance(theirs, bool) or not isinstance(theirs, int | float):
        assert type(ours) is type(theirs), place
    else:
        assert isinstance(ours, int | float), place


def test_the_health_check_gets_two(api: Api) -> None:
    assert api.data("query", **HEALTH) == {"resultType": "scalar", "result": [4, "2"]}


def test_headers_of_a_panel_change_nothing(api: Api) -> None:
    headers = {"X-Scope-OrgID": "1", "X-Dashboard-Uid": "a", "X-Panel-Id": "2", "X-Grafana-Org-Id": "1"}
    answer = api.request("GET", "/api/v1/query", params={"query": "up", "time": BASE}, headers=headers)
    assert answer.json() == api.get("query", query="up", time=BASE).json()
