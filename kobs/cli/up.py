"""`kobs up`: all of kobs on one machine."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kobs.cli.options import load_settings

if TYPE_CHECKING:
    from kobs.roles import UpReport
    from kobs.wire.ship import AgentReport

_FIRST_WORD_SECONDS = 8.0
_PROGRESS_SECONDS = 5.0
_BEHIND_BYTES = 1024 * 1024


@click.command(help="Observe this machine: server, store and agent in one.")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Folder of all data.")
@click.option("--listen", metavar="HOST:PORT", help="Address to listen on.")
@click.option("--no-collect", is_flag=True, help="Only the server side: observe neither this machine nor kobs itself.")
@click.option(
    "--scrape-config",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="What to scrape, in the form of Prometheus' own configuration.",
)
@click.option("--node", metavar="NAME", help="Name of this machine; the host's name without it.")
@click.option("--cluster", metavar="NAME", help="Name of the cluster, a label of everything from here.")
@click.pass_context
def command(  # noqa: D103, PLR0917 - the help says it; click passes options by name
    context: click.Context,
    data: Path | None,
    listen: str | None,
    no_collect: bool,  # noqa: FBT001 - click passes flags by name
    scrape_config: Path | None,
    node: str | None,
    cluster: str | None,
) -> None:
    settings = load_settings(
        context,
        {
            "up.data": data,
            "server.listen": listen,
            "up.collect": False if no_collect else None,
            "agent.scrape_config": scrape_config,
            "node": node,
            "cluster": cluster,
        },
    )
    from kobs import roles, telemetry  # noqa: PLC0415 - after wrong flags were told

    telemetry.configure_logging(settings.log)
    click.echo("kobs starts. Ctrl-C stops it; it goes on where it was when it is started again.")
    code = roles.run(roles.up(settings, _Announcer(collects=settings.up.collect).tell))
    if code == 0:
        click.echo("kobs has stopped.")
    context.exit(code)


class _Announcer:
    """Says once what was found, then how catching up goes, and what is wrong when that changes."""

    def __init__(self, *, collects: bool) -> None:
        self._collects = collects
        self._began = time.monotonic()
        self._told = False
        self._told_agents = False
        self._problems: tuple[str, ...] = ()
        self._behind: tuple[float, int] | None = None
        self._next_progress = 0.0

    def tell(self, report: "UpReport") -> None:
        """Take in how it goes, once a second."""
        waited = time.monotonic() - self._began
        if not self._told:
            self._told = True
            self._tell_server(report)
        if not self._told_agents and self._collects:
            if report.agents:
                self._told_agents = True
                for node, agent in report.agents.items():
                    self._tell_agent(node, agent, report.url)
            elif waited > _FIRST_WORD_SECONDS:
                self._told_agents = True
                click.echo("  problem  the agent has not reported yet; its own messages are above")
        problems = tuple(problem for agent in report.agents.values() for problem in agent.problems)
        if problems != self._problems:
            self._problems = problems
            for problem in problems:
                click.echo(f"  problem  {problem}")
        self._tell_progress(report)
        sys.stdout.flush()

    def _tell_server(self, report: "UpReport") -> None:
        click.echo(f"  address  {report.url}")
        click.echo(f"  data     {report.data} ({_size(report.store_bytes)} stored)")
        if not self._collects:
            click.echo("  collect  nothing here (--no-collect); agents ship to the address above")

    def _tell_agent(self, node: str, agent: "AgentReport", url: str) -> None:
        counted = ((count, name.removesuffix("s") if count == 1 else name) for name, count in agent.found.items())
        found = ", ".join("journal" if name == "journal" else f"{count} {name}" for count, name in counted if count)
        found = found or "no logs yet"
        click.echo(f"  node     {node}: {found}; CPU, memory, disks, network every few seconds")
        click.echo("  look     kobs logs -f            follow all logs")
        click.echo("           kobs logs --severity error --since 1h")
        click.echo("           kobs verify             every line stored exactly once?")
        click.echo(f"           {url}/api/v1/query?query=node_load1")

    def _tell_progress(self, report: "UpReport") -> None:
        behind = sum(agent.backlog_bytes for agent in report.agents.values())
        now = time.monotonic()
        if self._behind is None:
            if behind > _BEHIND_BYTES:
                self._behind = (now, behind)
                self._next_progress = now
            else:
                return
        began, most = self._behind
        if behind < _BEHIND_BYTES:
            click.echo(f"  caught   up with {_size(most)} of old logs in {now - began:.0f} s")
            self._behind = None
        elif now >= self._next_progress:
            self._next_progress = now + _PROGRESS_SECONDS
            self._behind = (began, max(most, behind))
            click.echo(f"  reading  old logs: {_size(max(most, behind) - behind)} of {_size(max(most, behind))}")


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
