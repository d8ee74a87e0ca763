"""The command line: `kobs COMMAND`.

Each command lives in the module of its name, as the click command `command`, and is imported only when it runs, so that
`kobs --help` and the commands that speak to a server start at once. An error that kobs raises on purpose is one clear
line on standard error: exit code 2 for a wrong setting or wrong usage, 1 for everything else, 130 after Ctrl-C.
"""

import importlib
import sys
from pathlib import Path

import click

from kobs import __version__
from kobs.errors import ConfigError, KobsError

_COMMANDS = {
    "up": "Observe this machine: server, store and agent in one.",
    "agent": "Read the logs and metrics of this node and ship them to a server.",
    "server": "Take in what agents ship, and answer questions about it.",
    "verify": "Check that every log line that was seen is stored exactly once.",
    "logs": "Search logs, or follow them.",
    "targets": "Show what is scraped, and how the last scrape of each target went.",
    "config": "Show every setting, its value and where it came from.",
    "version": "Show the version.",
}
"""Commands and what they do, in the order of the help, known without importing them."""


class _LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"kobs.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="`kobs COMMAND --help` tells more. Start with: kobs up",
)
@click.version_option(__version__, prog_name="kobs", message="%(prog)s %(version)s")
@click.option(
    "--config",
    "config_path",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="KOBS_CONFIG",
    show_envvar=True,
    metavar="FILE",
    help="Settings in YAML; `kobs config` shows them all.",
)
@click.pass_context
def kobs(context: click.Context, config_path: Path | None) -> None:
    """See what happens in your Kubernetes clusters and on your machines, now and in the past."""
    context.obj = config_path


def main() -> None:
    """Run the command line and exit."""
    sys.exit(_run())


def _run() -> int:
    try:
        result = kobs.main(prog_name="kobs", standalone_mode=False)
    except click.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except KobsError as error:
        click.echo(f"kobs: {error}", err=True)
        return 2 if isinstance(error, ConfigError) else 1
    return result if isinstance(result, int) else 0
