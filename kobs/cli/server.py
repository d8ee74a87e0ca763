"""`kobs server`: ingest and API."""

from pathlib import Path

import click

from kobs.cli.options import load_settings


@click.command(help="Take in what agents ship, and answer questions about it.")
@click.option("--listen", metavar="HOST:PORT", help="Address to listen on.")
@click.option("--storage", metavar="URL", help="The store: chdb:///folder or http(s)://host:8123/database.")
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Folder of the embedded store."
)
@click.pass_context
def command(context: click.Context, listen: str | None, storage: str | None, data: Path | None) -> None:
    """Run the server."""
    settings = load_settings(context, {"server.listen": listen, "storage.url": storage, "up.data": data})
    from kobs import roles, telemetry  # noqa: PLC0415 - after wrong flags were told

    telemetry.configure_logging(settings.log)
    context.exit(roles.run(roles.server(settings)))
