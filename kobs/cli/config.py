"""`kobs config`: every setting, its value and where it came from. Secrets and passwords in URLs are masked."""

from collections.abc import Callable, Iterator

import click
import yaml

from kobs.cli.options import load_settings
from kobs.config import MASK, Setting, Settings, describe, sections

_SIZES = (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024))


def _table(settings: Settings) -> Iterator[str]:
    rows = [("SETTING", "VALUE", "FROM")]
    rows += [
        (each.key, _short(settings.value(each.key), unit=each.unit), settings.origin(each.key)) for each in describe()
    ]
    width, value_width = max(len(row[0]) for row in rows), min(60, max(len(row[1]) for row in rows))
    for key, value, origin in rows:
        yield f"{key:{width}}  {value:{value_width}}  {origin}"


def _yaml(settings: Settings) -> Iterator[str]:
    """Yield a file that `--config` takes; secrets are comments, since their values are not shown."""
    section = ""
    for each in describe():
        owner, _, name = each.key.rpartition(".")
        if owner != section:
            section = owner
            yield f"{owner}:"
        value = settings.value(each.key)
        text = _in_yaml(value)
        comment = "# " if MASK in text else ""
        yield f"{'  ' if owner else ''}{comment}{name}: {text}  # {settings.origin(each.key)}"


def markdown() -> Iterator[str]:
    """Yield the reference of all settings, for the documentation."""
    section = None
    for each in describe():
        owner, _, name = each.key.rpartition(".")
        if owner != section:
            section = owner
            yield from ("", f"### {owner or 'top level'}", "", sections()[owner], "")
            yield from ("| setting | default | unit | variable | what, and why that default |", "|---|---|---|---|---|")
        variable = f"`{each.variable}`" if each.variable is not None else "none"
        yield f"| `{name}` | {_default(each)} | {each.unit} | {variable} | {each.description} |"


def _default(setting: Setting) -> str:
    if setting.default_in_words:
        return setting.default_in_words
    if setting.default is None:
        return "none"
    if setting.default in ("", []):
        return "empty"
    if isinstance(setting.default, list):
        return "<br>".join(f"`{item}`" for item in setting.default)
    return f"`{_short(setting.default, unit=setting.unit)}`"


def _short(value: object, *, unit: str) -> str:
    """Write a value as a person may write it in the file."""
    if value is None:
        return "none"
    if unit == "bytes" and isinstance(value, int):
        return next((f"{value // size}{name}" for name, size in _SIZES if value % size == 0), str(value))
    return _in_yaml(value)


def _in_yaml(value: object) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("...\n").strip()


_FORMATS: dict[str, Callable[[Settings], Iterator[str]]] = {"table": _table, "yaml": _yaml}


@click.command()
@click.option(
    "--format",
    "output",
    type=click.Choice(["table", "yaml", "markdown"]),
    default="table",
    show_default=True,
    help="`yaml` is a file for --config; `markdown` the reference of all settings with their defaults.",
)
@click.pass_context
def command(context: click.Context, output: str) -> None:
    """Show every setting, its value and where it came from.

    Secrets are masked. A wrong key or value is told here as at every start.
    """
    lines = markdown() if output == "markdown" else _FORMATS[output](load_settings(context))
    click.echo("\n".join(lines))
