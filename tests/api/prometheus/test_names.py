"""Series, label names, label values and metadata as Prometheus answers them."""

import pytest

from kobs.api.prometheus.names import unescape
from tests.api.prometheus.asking import Api
from tests.api.prometheus.conftest import DOTTED, LOAD, UP
from tests.metric_frames import BASE_MS

BASE = BASE_MS // 1000


@pytest.mark.clickhouse
def test_series_of_a_window(api: Api) -> None:
    assert api.data("series", **{"match[]": "up", "start": BASE, "end": BASE + 1}) == [UP]
    assert api.data("series", **{"match[]": "up", "start": BASE + 16, "end": BASE + 20}) == []
    assert api.data("series", **{"match[]": ["up", '{job="app"}']}) == [UP, DOTTED]
    posted = api.request("POST", "/api/v1/series", data={"match[]": ['{"with.dot"}', "node_load1"]})
    assert posted.json()["data"] == [LOAD, DOTTED]


@pytest.mark.clickhouse
def test_label_names(api: Api) -> None:
    assert api.data("labels") == ["__name__", "a b", "instance", "job"]
    assert api.data("labels", **{"match[]": '{job="node"}'}) == ["__name__", "instance", "job"]
    assert api.data("labels", start=BASE - 5 * 86_400, end=BASE - 4 * 86_400) == []
    assert api.request("POST", "/api/v1/labels", data={"match[]": "nothing"}).json()["data"] == []


@pytest.mark.clickhouse
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("job", ["app", "node"]),
        ("__name__", ["node_load1", "up", "with.dot"]),
        ("a%20b", ["c"]),
        ("U__a_20_b", ["c"]),
        ("nothing", []),
    ],
    ids=str,
)
def test_label_values(api: Api, name: str, values: list[str]) -> None:
    assert api.data(f"label/{name}/values") == values


@pytest.mark.clickhouse
def test_a_limit_cuts_with_a_warning(api: Api) -> None:
    for path, parameters in (
        ("series", {"match[]": '{job=~".+"}'}),
        ("labels", {}),
        ("label/job/values", {}),
    ):
        cut = api.get(path, **parameters, limit=1).json()
        assert len(cut["data"]) == 1
        assert cut["warnings"] == ["results truncated due to limit"]
        assert "warnings" not in api.get(path, **parameters, limit=10).json()


@pytest.mark.clickhouse
def test_metadata(api: Api) -> None:
    assert api.data("metadata") == {
        "node_load1": [
            {"type": "gauge", "unit": "", "help": "Load."},
            {"type": "gauge", "unit": "", "help": "Load average."},
        ],
        "up": [{"type": "unknown", "unit": "", "help": ""}],
    }
    assert api.data("metadata", metric="up") == {"up": [{"type": "unknown", "unit": "", "help": ""}]}
    assert list(api.data("metadata", limit=1)) == ["node_load1"]
    assert len(api.data("metadata", limit_per_metric=1)["node_load1"]) == 1
    assert api.data("metadata", limit=0) == {}
    assert api.data("metadata", metric="none") == {}


BAD_REQUESTS: tuple[tuple[str, dict[str, str], str], ...] = (
    ("series", {}, "no match[] parameter provided"),
    ("series", {"match[]": "up", "start": "x"}, "invalid parameter \"start\": invalid time value for 'start'"),
    ("series", {"match[]": "{}"}, "match[] must contain at least one non-empty matcher"),
    ("series", {"match[]": "up["}, "parse error"),
    ("series", {"match[]": "up[5m]"}, "expected a series selector"),
    ("series", {"match[]": "up offset 5m"}, "without offset"),
    ("labels", {"limit": "-1"}, 'invalid parameter "limit": limit must be non-negative'),
    ("labels", {"limit": "a"}, 'invalid parameter "limit": strconv.Atoi: parsing "a": invalid syntax'),
    ("label/job/values", {"end": "x"}, 'invalid parameter "end"'),
    ("metadata", {"limit": "a"}, "limit must be a number"),
    ("metadata", {"limit_per_metric": "a"}, "limit_per_metric must be a number"),
)


@pytest.mark.clickhouse
def test_bad_requests_name_what_is_wrong(api: Api) -> None:
    for path, parameters, message in BAD_REQUESTS:
        answer = api.get(path, **parameters)
        assert answer.status_code == 400, (path, parameters)
        assert answer.json()["errorType"] == "bad_data"
        assert message in answer.json()["error"]


@pytest.mark.parametrize(
    ("escaped", "name"),
    [
        ("job", "job"),
        ("U__job", "job"),
        ("U__a__b", "a_b"),
        ("U__a_2e_b", "a.b"),
        ("U__a_1f600_", "a\U0001f600"),
        ("U___e4_", "ä"),
        ("U__a_b", "U__a_b"),
        ("U__a_d800_", "U__a_d800_"),
        ("U__a_110000_", "U__a_110000_"),
    ],
)
def test_escaped_names_are_read(escaped: str, name: str) -> None:
    assert unescape(escaped) == name
