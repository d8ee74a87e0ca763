"""The frame of the command line: help without imports, one clear line for an error, exit codes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

import kobs.cli
from kobs.errors import ConfigError, LimitError

HEAVY = (
    "chdb",
    "clickhouse_connect",
    "pyarrow",
    "polars",
    "fastapi",
    "pydantic",
    "httpx",
    "uvicorn",
    "prometheus_client",
)
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("KOBS_")}


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kobs", *arguments],
        env=ENVIRONMENT | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(argument: str) -> None:
    program = (
        "import sys; from kobs.cli import kobs\n"
        f"try: kobs(['{argument}'])\n"
        f"finally: print('imported', sorted(set(sys.modules) & set({HEAVY})))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "imported []"


def test_help_tells_every_command() -> None:
    done = run("--help")
    assert done.returncode == 0
    told = [line.split()[0] for line in done.stdout.partition("Commands:\n")[2].splitlines() if line.startswith("  ")]
    assert told[:-1] == ["up", "agent", "server", "verify", "logs", "targets", "config", "version"]


def test_version_tells_version_and_python() -> None:
    done = run("version")
    assert done.returncode == 0
    assert done.stdout.startswith(f"kobs {kobs.__version__}, Python {sys.version.split()[0]}, ")


def test_a_wrong_setting_is_told_without_traceback_and_exits_2() -> None:
    done = run("config", KOBS_SERVER__TOKEN="a b", KOBS_LOG__LEVEL="loud")
    assert done.returncode == 2
    assert done.stderr.startswith("kobs: 2 settings are wrong:\n  server.token (environment KOBS_SERVER__TOKEN): ")
    assert "Traceback" not in done.stderr
    assert "a b" not in done.stderr


def test_an_unknown_command_exits_2() -> None:
    done = run("observe")
    assert done.returncode == 2
    assert "No such command 'observe'" in done.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigError("server.listen: wrong."), 2), (LimitError("Too much."), 1)],
    ids=["config", "other"],
)
def test_an_error_of_kobs_is_one_line_on_standard_error(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def command() -> None:
        raise error

    monkeypatch.setattr(sys, "argv", ["kobs", "version"])
    monkeypatch.setattr("kobs.cli.version.command", command)  # a command that fails for certain
    with pytest.raises(SystemExit) as exited:
        kobs.cli.main()
    assert exited.value.code == code
    assert capsys.readouterr() == ("", f"kobs: {error}\n")


def test_a_commands_exit_code_is_the_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    @click.pass_context
    def command(context: click.Context) -> None:
        context.exit(3)

    monkeypatch.setattr(sys, "argv", ["kobs", "version"])
    monkeypatch.setattr("kobs.cli.version.command", command)  # a command whose exit code is known
    with pytest.raises(SystemExit) as exited:
        kobs.cli.main()
    assert exited.value.code == 3


def test_ctrl_c_exits_130_without_a_traceback(tmp_path: Path) -> None:
    """The settings come from a pipe that nobody writes to, so that the command waits until the signal comes."""
    pipe = tmp_path / "kobs.yaml"
    os.mkfifo(pipe)
    process = subprocess.Popen(
        [sys.executable, "-m", "kobs", "--config", str(pipe), "config"],
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
    )
    with pipe.open("wb"):  # opens as soon as the command reads
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stderr
