"""Settings: three layers, every error at once, no secret shown."""

import os
import re
from pathlib import Path

import pytest

from kobs.config import Setting, Settings, describe, load
from kobs.errors import ConfigError

FILES = Path(__file__).parent / "config"
GOOD = sorted(FILES.glob("*.good.yaml"))
BAD = sorted(FILES.glob("*.bad.yaml"))


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("KOBS_"):
            monkeypatch.delenv(name)


def expectations(path: Path) -> list[str]:
    found = re.findall(r"^# expect: (.*)$", path.read_text(), re.MULTILINE)
    assert found, f"{path} expects nothing"
    return [each.replace("FILE", str(path)) for each in found]


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.name)
def test_a_good_file_gives_its_values(path: Path) -> None:
    settings = load(path)
    for expected in expectations(path):
        key, _, value = expected.partition(" = ")
        assert str(settings.value(key)) == value


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.name)
def test_a_bad_file_tells_every_error_and_no_secret(path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(path)
    message = str(raised.value)
    expected = expectations(path)
    for each in expected:
        assert each in message
    lines = message.splitlines()
    assert len(lines[1:] or lines) == len(expected)
    assert "hunter2" not in message
    assert "ss@word" not in message


@pytest.mark.parametrize("section", [name for name in Settings.model_fields if name not in {"cluster", "node"}])
def test_every_section_has_good_and_bad_files(section: str) -> None:
    assert (FILES / f"{section}.good.yaml") in GOOD
    assert (FILES / f"{section}.bad.yaml") in BAD


def test_flags_are_stronger_than_the_environment_and_that_than_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "kobs.yaml"
    path.write_text("server: {listen: 'localhost:1', insert_rows: 10, search_max_rows: 20}")
    monkeypatch.setenv("KOBS_SERVER__LISTEN", "localhost:2")
    monkeypatch.setenv("KOBS_SERVER__INSERT_ROWS", "11")
    monkeypatch.setenv("KOBS_NODE", "worker-1")
    settings = load(path, overrides={"server.listen": "localhost:3", "cluster": "c", "node": None, "agent.files": ()})
    keys = ("server.listen", "server.insert_rows", "server.search_max_rows", "node", "cluster", "agent.files")
    assert {key: (settings.value(key), settings.origin(key)) for key in keys} == {
        "server.listen": ("localhost:3", "command line"),
        "server.insert_rows": (11, "environment KOBS_SERVER__INSERT_ROWS"),
        "server.search_max_rows": (20, f"file {path}"),
        "node": ("worker-1", "environment KOBS_NODE"),
        "cluster": ("c", "command line"),
        "agent.files": (["/var/log/*.log", "/var/log/*/*.log", "/var/log/syslog", "/var/log/messages"], "default"),
    }


def test_kobs_config_names_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBS_CONFIG", str(FILES / "top.good.yaml"))
    assert load(None).cluster == "production"
    assert load(FILES / "up.good.yaml").cluster == ""


@pytest.mark.parametrize(
    ("name", "value", "key", "expected"),
    [
        pytest.param(
            "KOBS_AGENT__SERVERS", "http://a:1, http://b:2", "agent.servers", ["http://a:1", "http://b:2"], id="commas"
        ),
        pytest.param("KOBS_AGENT__FILES", '["/a,b", "/c"]', "agent.files", ["/a,b", "/c"], id="json"),
        pytest.param("KOBS_AGENT__FILES", "", "agent.files", [], id="empty list"),
        pytest.param(
            "KOBS_STORAGE__KEEP",
            '[{namespace: "kube-.*", days: 90}]',
            "storage.keep",
            [{"namespace": "kube-.*", "days": 90}],
            id="mappings",
        ),
        pytest.param("KOBS_AGENT__JOURNAL", "", "agent.journal", None, id="empty is none"),
        pytest.param("KOBS_AGENT__HELD_BYTES", "2GiB", "agent.held_bytes", 2 * 1024**3, id="size"),
        pytest.param("KOBS_AGENT__HOST_METRICS_SECONDS", "5m", "agent.host_metrics_seconds", 300, id="duration"),
        pytest.param("KOBS_AGENT__HOLD_MS", "250", "agent.hold_ms", 250, id="number"),
        pytest.param("KOBS_UP__COLLECT", "false", "up.collect", False, id="boolean"),
        pytest.param("KOBS_SERVER__TOKEN", "hunter2", "server.token", "***", id="secret"),
    ],
)
def test_a_variable_gives_a_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, key: str, expected: object
) -> None:
    monkeypatch.setenv(name, value)
    assert load(None).value(key) == expected


def test_variables_that_kobs_does_not_know_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOBS_SERVER_LISTEN", "x")
    monkeypatch.setenv("KOBS_SERVER", '{"listen": "x"}')
    monkeypatch.setenv("KOBS_AGENT__POLL_MS", "soon")
    with pytest.raises(ConfigError) as raised:
        load(None)
    message = str(raised.value)
    assert "environment KOBS_SERVER_LISTEN: unknown setting; did you mean KOBS_SERVER__LISTEN?" in message
    assert "environment KOBS_SERVER: unknown setting" in message
    assert "agent.poll_ms (environment KOBS_AGENT__POLL_MS): expected milliseconds" in message


@pytest.mark.parametrize(
    "name",
    [
        "KOBS_PEERS",
        "KOBS_RECORDED",
        "KOBS_CLUSTER",
        "KOBS_PORT",
        "KOBS_SERVICE_HOST",
        "KOBS_SERVER_PORT_9700_TCP_ADDR",
        "KOBS_SERVER_SERVICE_PORT_HTTP",
    ],
)
def test_variables_of_others_are_left_alone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Kubernetes puts a Service's address into every Pod beside it, under the Service's name."""
    monkeypatch.setenv(name, "tcp://10.0.0.1:9700")
    assert load(None).model_dump() == Settings().model_dump()


def test_an_error_on_the_command_line_says_so() -> None:
    with pytest.raises(ConfigError, match=r"^server.listen \(command line\): expected HOST:PORT .*, got 'nowhere'$"):
        load(None, overrides={"server.listen": "nowhere"})


def test_a_wrong_section_in_the_file_is_told_although_a_variable_sets_one_of_its_keys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KOBS_UP__COLLECT", "false")
    with pytest.raises(ConfigError, match=r"up \(file .*\): expected a mapping of settings, got a number"):
        load(FILES / "section.bad.yaml")


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"file .*/kobs.yaml: cannot be read: No such file or directory"):
        load(tmp_path / "kobs.yaml")


def test_a_file_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "kobs.yaml"
    path.write_bytes(b"cluster: \xff\xfe")
    with pytest.raises(ConfigError, match="expected YAML in UTF-8"):
        load(path)


@pytest.mark.parametrize("address", ["127.0.0.1:9700", "127.8.0.1:0", "[::1]:9700", "localhost:9700"])
def test_loopback_needs_no_token(address: str) -> None:
    load(None, overrides={"server.listen": address}).check_listen()


@pytest.mark.parametrize("address", ["0.0.0.0:9700", ":9700", "[::]:9700", "10.1.2.3:9700", "kobs.example.org:9700"])
def test_another_address_needs_a_token(address: str) -> None:
    with pytest.raises(ConfigError, match=r"server.listen \(command line\): .* expected server.token"):
        load(None, overrides={"server.listen": address}).check_listen()
    load(None, overrides={"server.listen": address, "server.token": "hunter2"}).check_listen()


@pytest.mark.parametrize(
    "address", ["9700", "localhost", "::1:9700", "localhost:70000", "a b:1", "[::1]", "http://x:1"]
)
def test_an_address_that_is_not_host_and_port_is_an_error(address: str) -> None:
    with pytest.raises(ConfigError, match="expected HOST:PORT"):
        load(None, overrides={"server.listen": address})


@pytest.mark.parametrize(("base", "expected"), [("/srv/share", "/srv/share/kobs"), ("", "/home/x/.local/share/kobs")])
def test_data_lies_in_the_users_data_folder(monkeypatch: pytest.MonkeyPatch, base: str, expected: str) -> None:
    monkeypatch.setenv("HOME", "/home/x")
    monkeypatch.setenv("XDG_DATA_HOME", base)
    assert load(None).up.data == Path(expected)


def test_a_folder_may_start_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/x")
    assert load(None, overrides={"agent.state": "~/state"}).agent.state == Path("/home/x/state")


def test_secrets_show_nowhere() -> None:
    settings = load(None, overrides={"server.token": "hunter2", "agent.token": "hunter2"})
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str([settings.value(each.key) for each in describe()])


def test_a_key_that_is_no_setting_has_no_origin() -> None:
    with pytest.raises(KeyError):
        Settings().origin("server.listn")


@pytest.mark.parametrize("setting", describe(), ids=lambda setting: setting.key)
def test_every_setting_has_a_reason_and_a_loadable_default(setting: Setting) -> None:
    assert len(setting.description) > 20
    default = load(None).value(setting.key)
    assert load(None, overrides={setting.key: default}).value(setting.key) == default
