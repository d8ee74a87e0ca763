"""Prometheus' query API: its parameters, its JSON to the character, its errors."""

import datetime as dt
import math
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kobs.api.prometheus.parameters import parse_time_ms
from kobs.api.prometheus.rendering import format_time
from kobs.model.samples import Sample
from kobs.storage.clickhouse import Store
from tests.api.prometheus.asking import Api
from tests.metric_frames import BASE_MS, store_samples
from tests.peers import peer
from tests.ports import free_port

BASE = BASE_MS // 1000
UP = {"__name__": "up", "job": "node", "instance": 'a"<&>\\é'}


@pytest.fixture
def api(store: Store) -> Api:
    store_samples(store, [Sample(UP, BASE_MS, 1.0), Sample(UP, BASE_MS + 15_500, 0.1)])
    return Api(store)


@pytest.mark.clickhouse
def test_an_instant_query_answers_a_vector(api: Api) -> None:
    answer = api.get("query", query="up", time=BASE + 1.5)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.text == (
        '{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up",'
        '"instance":"a\\"<&>\\\\é","job":"node"},"value":[' + str(BASE + 1) + '.500,"1"]}]}}'
    )


@pytest.mark.clickhouse
def test_a_range_query_answers_a_matrix(api: Api) -> None:
    result = api.get("query_range", query="up", start=BASE, end=BASE + 30, step="15s").json()["data"]
    assert result["resultType"] == "matrix"
    assert result["result"][0]["values"] == [[BASE, "1"], [BASE + 15, "1"], [BASE + 30, "0.1"]]


@pytest.mark.clickhouse
def test_a_range_selector_answers_a_matrix(api: Api) -> None:
    answer = api.get("query", query="up[1m]", time=BASE + 30)
    assert answer.json()["data"]["result"][0]["values"] == [[BASE, "1"], [BASE + 15.5, "0.1"]]
    assert f'[{BASE + 15}.500,"0.1"]' in answer.text


@pytest.mark.clickhouse
def test_nothing_found_is_an_empty_success(api: Api) -> None:
    assert api.get("query", query="down").text == '{"status":"success","data":{"resultType":"vector","result":[]}}'


@pytest.mark.clickhouse
def test_a_posted_form_goes_before_the_url(api: Api) -> None:
    form = {"query": 'up{instance="a\\"<&>\\\\é"}', "time": dt.datetime.fromtimestamp(BASE, dt.UTC).isoformat()}
    answer = api.request("POST", "/api/v1/query", data=form, params={"query": "down"})
    assert len(answer.json()["data"]["result"]) == 1
    assert len(api.request("POST", "/api/v1/query", params={"query": "up", "time": BASE}).json()["data"]["result"]) == 1
    assert api.request("POST", "/api/v1/query", data={"query": "x" * 11_000_000}).status_code == 400


@pytest.mark.clickhouse
def test_without_a_time_it_is_now(api: Api, store: Store) -> None:
    now_ms = time.time_ns() // 1_000_000
    store_samples(store, [Sample({"__name__": "now"}, now_ms, 7.0)])
    (result,) = api.get("query", query="now").json()["data"]["result"]
    assert result["value"][1] == "7"
    assert 0 <= result["value"][0] * 1000 - now_ms < 60_000


RANGE = {"query": "up", "start": "1", "end": "2", "step": "1"}
BAD_REQUESTS: tuple[tuple[str, dict[str, str], str], ...] = (
    ("query", {}, 'invalid parameter "query": unknown position: parse error: no expression found in input'),
    ("query", {"query": "up{"}, 'invalid parameter "query": 1:4: parse error: unexpected end of input'),
    ("query", {"query": "{}"}, "1:1: parse error: vector selector must contain at least one non-empty matcher"),
    (
        "query",
        {"query": "up", "time": "abc"},
        'invalid parameter "time": invalid time value for \'time\': cannot parse "abc" to a valid timestamp',
    ),
    ("query", {"query": "up", "timeout": "x"}, 'invalid parameter "timeout": cannot parse "x" to a valid duration'),
    ("query_range", RANGE | {"end": "0"}, 'invalid parameter "end": end timestamp must not be before start time'),
    ("query_range", RANGE | {"start": ""}, 'invalid parameter "start": cannot parse "" to a valid timestamp'),
    (
        "query_range",
        RANGE | {"step": "0"},
        'invalid parameter "step": zero or negative query resolution step widths are not accepted. Try a positive',
    ),
    ("query_range", RANGE | {"step": ""}, 'invalid parameter "step": cannot parse "" to a valid duration'),
    ("query_range", RANGE | {"step": "1e300"}, "overflows"),
    (
        "query_range",
        RANGE | {"end": "20000"},
        "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
    ),
    ("query_range", RANGE | {"query": "up[5m]"}, 'invalid parameter "query": invalid expression type "range vector"'),
)


@pytest.mark.clickhouse
def test_bad_requests_are_told_as_prometheus_does(api: Api) -> None:
    for path, parameters, message in BAD_REQUESTS:
        answer = api.get(path, **parameters)
        assert answer.status_code == 400, parameters
        assert {**answer.json(), "error": ""} == {"status": "error", "errorType": "bad_data", "error": ""}
        assert message in answer.json()["error"]


@pytest.mark.clickhouse
def test_what_is_not_supported_is_an_error_of_execution(api: Api) -> None:
    answer = api.get("query", query="histogram_count(up)")
    assert (answer.status_code, answer.json()["errorType"]) == (422, "execution")
    assert answer.json()["error"].startswith("1:1: the function histogram_count is not supported")


@pytest.mark.clickhouse
def test_a_query_that_takes_too_long_is_a_timeout(api: Api, store: Store) -> None:
    series = [Sample({"__name__": "many", "n": str(n)}, BASE_MS + m * 1000, 1.0) for n in range(300) for m in range(50)]
    store_samples(store, series)
    answer = api.get("query_range", query="many", start=BASE, end=BASE + 9_000, step=1, timeout="1ms")
    assert (answer.status_code, answer.json()["errorType"]) == (503, "timeout")


@pytest.mark.clickhouse
def test_a_store_that_fails_is_an_internal_error_without_its_words(api: Api, store: Store) -> None:
    store.command("DROP TABLE metric_series")
    answer = api.get("query", query="up")
    assert (answer.status_code, answer.json()["errorType"]) == (500, "internal")
    assert "metric_series" not in answer.text


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("1435781451.7806", 1_435_781_451_781),
        ("-1.5", -1500),
        ("1e3", 1_000_000),
        ("2015-07-01T20:10:51.781Z", 1_435_781_451_781),
        ("2015-07-01T22:10:51.7819999+02:00", 1_435_781_451_781),
        ("2015-07-01T20:10:51Z", 1_435_781_451_000),
        ("1969-12-31T23:59:59.5Z", -500),
    ],
    ids=str,
)
def test_times_in_seconds_and_rfc_3339(text: str, time_ms: int) -> None:
    assert parse_time_ms(text) == time_ms


@pytest.mark.parametrize(
    "text", ["", "now", "nan", "1e400", "0x10", "2015-07-01", "2015-07-01 20:10:51Z", "2015-13-01T20:10:51Z", "1_0"]
)
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="to a valid timestamp"):
        parse_time_ms(text)


# -- side by side ------------------------------------------------------------------------------------------------------

VALUES = (0.0, 1.0, 0.1, 1e-7, 1e21, 1e16, 123456789.123, math.nan, math.inf, -math.inf, 5e-324, -2.5)
SAME_QUERIES = (
    "up",
    'up{job="node"}',
    '{__name__=~"up|other"}',
    '{"with.dot", "a b"=~".+"}',
    "up offset 1m",
    "up offset -1m",
    f"up @ {BASE + 47}",
    f"up @ {BASE + 47} offset 20s",
    "up @ start()",
    "other",
    "gone",
    'up{instance!~"1|2"}',
    'up{instance=""}',
)


def samples() -> list[Sample]:
    """Return series with odd values, gaps and times that lie on no grid."""
    found = []
    for number, value in enumerate(VALUES):
        labels = {"__name__": "up", "job": "node", "instance": str(number)}
        found += [Sample(labels, BASE_MS + 137 * number + 15_000 * turn, value * (turn + 1)) for turn in range(20)]
        found += [Sample(labels, BASE_MS + 137 * number + 1_200_000, value)]
    found += [
        Sample({"__name__": "other", "größe": 'a"\\\n<'}, BASE_MS + 15_000 * turn, turn / 3) for turn in range(60)
    ]
    found += [Sample({"__name__": "with.dot", "a b": "c"}, BASE_MS + 60_000, 1.0)]
    return found


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[str]:
    """The URL of a Prometheus 3 that holds `samples()`."""
    promtool, program = peer("promtool"), peer("prometheus")

    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'

    def line(sample: Sample) -> str:
        rest = [f"{quoted(name)}={quoted(value)}" for name, value in sample.labels.items() if name != "__name__"]
        inside = ",".join([quoted(sample.labels["__name__"]), *rest])
        return f"{{{inside}}} {sample.value!r} {format_time(sample.time_ms)}"

    by_name = sorted(samples(), key=lambda sample: sample.labels["__name__"])
    text = tmp_path / "samples.om"
    text.write_text("\n".join([*map(line, by_name), "# EOF\n"]))
    data = tmp_path / "data"
    subprocess.run([promtool, "tsdb", "create-blocks-from", "openmetrics", text, data], check=True, capture_output=True)
    (tmp_path / "prometheus.yml").write_text("{}\n")
    port = free_port()
    arguments = [f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={data}", "--log.level=error"]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen([program, f"--web.listen-address=127.0.0.1:{port}", *arguments]) as process:
        try:
            for _ in range(400):
                try:
                    if httpx.get(f"{url}/-/ready", trust_env=False).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                time.sleep(0.05)
            yield url
        finally:
            process.terminate()


@pytest.mark.clickhouse
def test_answers_are_those_of_a_prometheus(store: Store, prometheus: str) -> None:
    """The same requests give the same status, JSON and texts of values; wrong ones the same kind of error."""
    store_samples(store, samples())
    api = Api(store)
    requests: list[tuple[str, dict[str, object]]] = []
    for query in SAME_QUERIES:
        requests += [("query", {"query": query, "time": BASE + seconds}) for seconds in (0, 59.137, 300, 599.5, 1200)]
        requests += [
            ("query_range", {"query": query, "start": BASE - 100, "end": BASE + 1600, "step": step})
            for step in (15, "1m", 7.001)
        ]
    requests += [("query", {"query": f"{query}[2m]", "time": BASE + 100}) for query in ("up", "other", "gone")]
    requests += [("query", {"query": query}) for query in ("", "up{", "{}", 'up{a=~"("}', "up[0s]", "up x", "3x")]
    requests += [("query_range", {"query": "up[1m]", "start": 1, "end": 2, "step": 1})]
    answered = 0
    with httpx.Client(base_url=f"{prometheus}/api/v1/", trust_env=False) as client:
        for path, parameters in requests:
            theirs = client.get(path, params={name: str(value) for name, value in parameters.items()})
            ours = api.get(path, **parameters)
            assert ours.status_code == theirs.status_code, parameters
            if theirs.status_code == 200:
                assert _sorted(ours.json()) == _sorted(theirs.json()), parameters
                answered += bool(theirs.json()["data"]["result"])
            else:
                assert ours.json()["errorType"] == theirs.json()["errorType"], parameters
    assert answered > len(requests) // 2


def _sorted(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer with its series in one order: Prometheus promises none for vectors."""
    answer["data"]["result"].sort(key=lambda series: sorted(series["metric"].items()))
    return answer
