"""`kobs agent`: collect on a node and ship to a server."""

from pathlib import Path

import click

from kobs.cli.options import load_settings


@click.command(help="Read the logs and metrics of this node and ship them to a server.")
@click.option(
    "--server", "servers", multiple=True, metavar="URL", help="Server to ship to; more than one may be given."
)
@click.option("--state", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Folder for positions.")
@click.option("--pod-logs", type=click.Path(path_type=Path), metavar="DIR", help="Folder of container logs.")
@click.option(
    "--scrape-config",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="What to scrape, in the form of Prometheus' own configuration.",
)
@click.option("--node", metavar="NAME", help="Name of this node; the host's name without it.")
@click.option("--cluster", metavar="NAME", help="Name of the cluster, a label of everything from here.")
@click.option("--parent-pipe", type=int, hidden=True)
@click.pass_context
def command(  # noqa: PLR0917 - click passes options by name
    context: click.Context,
    servers: tuple[str, ...],
    state: Path | None,
    pod_logs: Path | None,
    scrape_config: Path | None,
    node: str | None,
    cluster: str | None,
    parent_pipe: int | None,
) -> None:
    """Run the agent."""
    settings = load_settings(
        context,
        {
            "agent.servers": servers,
            "agent.state": state,
            "agent.pod_logs": pod_logs,
            "agent.scrape_config": scrape_config,
            "node": node,
            "cluster": cluster,
        },
    )
    from kobs import roles, telemetry  # noqa: PLC0415 - after wrong flags were told

    telemetry.configure_logging(settings.log)
    context.exit(roles.run(roles.agent(settings, parent=parent_pipe)))
