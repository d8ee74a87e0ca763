"""`kobs version`: which kobs this is, and on what it runs."""

import platform

import click

from kobs import __version__


@click.command()
def command() -> None:
    """Show the version of kobs, of Python and of the system."""
    system = platform.uname()
    click.echo(
        f"kobs {__version__}, Python {platform.python_version()}, {system.system} {system.release} {system.machine}"
    )
