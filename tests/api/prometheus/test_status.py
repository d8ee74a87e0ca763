"""What a server says of itself, of its rules and of its cardinality."""

import pytest
import yaml

import kobs
from kobs.api.prometheus.status import ServerFacts
from kobs.config import load
from kobs.storage.clickhouse import Store
from tests.api.prometheus.asking import Api

pytestmark = pytest.mark.clickhouse


def test_build_and_run(api: Api) -> None:
    build = api.data("status/buildinfo")
    assert build["version"].startswith("3.")
    assert kobs.__version__ in build["revision"]
    assert "features" not in build  # by which clients tell a Mimir
    assert set(api.data("status/runtimeinfo")) >= {"startTime", "CWD", "storageRetention", "reloadConfigSuccess"}


def test_flags_and_configuration(api: Api) -> None:
    assert api.data("status/flags")["query.lookback-delta"] == "5m"
    assert yaml.safe_load(api.data("status/config")["yaml"]) == {"global": {"scrape_interval": "15s"}}


def test_no_secret_of_the_settings_is_told() -> None:
    secrets = {
        "server.token": "hunter1",
        "agent.token": "hunter2",
        "agent.listen_token": "hunter3",
        "storage.url": "https://kobs:hunter4@clickhouse:8443/kobs?password=hunter5",
    }
    settings = load(None, overrides={**secrets, "cluster": "prod"})
    told = repr(ServerFacts.of(settings))
    assert "prod" in told
    assert settings.server.listen in told
    assert "hunter" not in told


def test_cardinality(api: Api) -> None:
    told = api.data("status/tsdb")
    assert (told["headStats"]["numSeries"], told["headStats"]["numLabelPairs"]) == (3, 8)
    assert told["headStats"]["chunkCount"] >= 1
    assert told["headStats"]["maxTime"] - told["headStats"]["minTime"] == 15_500
    assert told["seriesCountByLabelValuePair"][0] == {"name": "job=node", "value": 2}
    assert len(api.data("status/tsdb", limit=1)["seriesCountByMetricName"]) == 1
    for limit in ("0", "-1", "x"):
        answer = api.get("status/tsdb", limit=limit)
        assert (answer.status_code, answer.json()["error"]) == (400, "limit must be a positive number")


def test_cardinality_of_an_empty_store(store: Store) -> None:
    told = Api(store).data("status/tsdb")
    assert told["headStats"]["numSeries"] == 0
    assert told["headStats"]["minTime"] > told["headStats"]["maxTime"]
    assert told["seriesCountByMetricName"] == []


def test_there_are_no_rules_and_alerts_yet(api: Api) -> None:
    assert api.data("rules", type="alert", **{"match[]": "up"}) == {"groups": []}
    assert api.data("alerts") == {"alerts": []}
    assert api.data("alertmanagers") == {"activeAlertmanagers": [], "droppedAlertmanagers": []}
    for parameters, message in (
        ({"type": "x"}, 'invalid parameter "type": not supported value "x"'),
        ({"match[]": "{"}, "parse error"),
        ({"group_limit": "0"}, "group_limit needs to be greater than 0"),
        ({"group_next_token": "a"}, "group_limit needs to be present in order to paginate over the groups"),
        ({"group_next_token": "a", "group_limit": "1"}, "were rule groups changed?"),
        ({"exclude_alerts": "maybe"}, "exclude_alerts"),
    ):
        answer = api.get("rules", **parameters)
        assert answer.status_code == 400
        assert message in answer.json()["error"]
