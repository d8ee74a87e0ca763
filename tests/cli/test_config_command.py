"""`kobs config`: every setting, where it came from, and the documentation made from it."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from kobs.cli import kobs
from kobs.config import describe, load

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def config(*arguments: str, **variables: str) -> str:
    done = CliRunner().invoke(kobs, arguments, env=variables, catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_the_table_tells_every_setting_and_its_origin(tmp_path: Path) -> None:
    path = tmp_path / "kobs.yaml"
    path.write_text("storage: {max_memory_bytes: 1536MiB}")
    lines = config("--config", str(path), "config", KOBS_SERVER__INSERT_ROWS="7").splitlines()
    assert [line.split()[0] for line in lines[1:]] == [each.key for each in describe()]
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert rows["storage.max_memory_bytes"] == ["1536MiB", "file", str(path)]
    assert rows["server.insert_rows"] == ["7", "environment", "KOBS_SERVER__INSERT_ROWS"]
    assert rows["agent.journal"] == ["/var/log/journal", "default"]


@pytest.mark.parametrize("form", ["table", "yaml"])
def test_secrets_are_masked(form: str) -> None:
    shown = config(
        "config",
        "--format",
        form,
        KOBS_SERVER__TOKEN="hunter2",
        KOBS_AGENT__TOKEN="hunter2",
        KOBS_STORAGE__URL="http://kobs:hunter2@clickhouse:8123/kobs",
        KOBS_AGENT__SERVERS="http://kobs:hunter2@a:9700",
    )
    assert "hunter2" not in shown
    assert shown.count("***") == 4


def test_the_yaml_is_a_file_that_gives_the_same_settings(tmp_path: Path) -> None:
    """A masked secret is left out rather than taken for the secret itself."""
    keep = '[{namespace: "kube-.*", days: 90}]'
    text = config("config", "--format", "yaml", KOBS_STORAGE__KEEP=keep, KOBS_SERVER__TOKEN="x", KOBS_NODE="it's: #1")
    path = tmp_path / "kobs.yaml"
    path.write_text(text)
    settings = load(path)
    assert settings.node == "it's: #1"
    assert [(each.namespace, each.days) for each in settings.storage.keep] == [("kube-.*", 90)]
    assert settings.server.token is None
    assert settings.origin("agent.poll_ms") == f"file {path}"


def test_the_documentation_lists_every_setting() -> None:
    """`kobs config --format markdown` makes the reference; after a change of settings put it there again."""
    _, _, reference = DOCUMENT.read_text().partition("prints.\n")
    assert reference == config("config", "--format", "markdown")
    for setting in describe():
        assert f"| `{setting.key.rpartition('.')[2]}` |" in reference


def test_the_documentations_example_loads(tmp_path: Path) -> None:
    example = DOCUMENT.read_text().partition("```yaml\n")[2].partition("```")[0]
    path = tmp_path / "kobs.yaml"
    path.write_text(example)
    assert load(path, overrides={"server.token": "x"}).storage.keep[0].days == 90
