"""`kobs targets`: what is scraped, and how the last scrape of each target went."""

import datetime as dt
import json
import time
from typing import Any

import click

from kobs.cli.client import client_for

_SHOWN_LABELS = 60


@click.command(help="Show what is scraped, and how the last scrape of each target went.")
@click.option(
    "--state",
    type=click.Choice(["active", "dropped", "any"]),
    default="active",
    show_default=True,
    help="Targets that are scraped, those that the rules of their job drop, or all.",
)
@click.option("--pool", metavar="NAME", help="Targets of this job only.")
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer.")
@click.option("--server", metavar="URL", help="Server to ask; the one of the settings without it.")
@click.pass_context
def command(
    context: click.Context,
    state: str,
    pool: str | None,
    as_json: bool,  # noqa: FBT001 - click passes flags by name
    server: str | None,
) -> None:
    """Ask for the view of targets and print it."""
    parameters = [("state", state), *([("scrapePool", pool)] if pool else [])]
    with client_for(context, server) as client:
        answer = client.get("/api/v1/targets", parameters)
    if as_json:
        click.echo(json.dumps(answer["data"], indent=2))
        return
    data = answer["data"]
    active, dropped = data["activeTargets"], data["droppedTargets"]
    if state != "dropped":
        _print([_active_row(target) for target in active], ("JOB", "TARGET", "HEALTH", "LAST SCRAPE", "TOOK", "ERROR"))
        up = sum(target["health"] == "up" for target in active)
        click.echo(f"{len(active)} target{'' if len(active) == 1 else 's'}, {up} up")
    if state != "active":
        _print([_dropped_row(target) for target in dropped], ("JOB", "DROPPED TARGET", "LABELS"))
        count = sum((data["droppedTargetCounts"] or {}).values())
        click.echo(f"{count} dropped target{'' if count == 1 else 's'}")
    if state != "dropped" and any(target["health"] == "down" for target in active):
        context.exit(1)


def _active_row(target: dict[str, Any]) -> tuple[str, ...]:
    is_known = target["health"] != "unknown"
    return (
        target["scrapePool"],
        target["scrapeUrl"],
        target["health"],
        _ago(target["lastScrape"]) if is_known else "not yet",
        f"{target['lastScrapeDuration'] * 1000:.0f} ms" if is_known else "",
        target["lastError"].replace("\n", " "),
    )


def _dropped_row(target: dict[str, Any]) -> tuple[str, ...]:
    labels = target["discoveredLabels"]
    told = ", ".join(f'{name}="{value}"' for name, value in labels.items() if not name.startswith("__"))
    shortened = told if len(told) <= _SHOWN_LABELS else f"{told[: _SHOWN_LABELS - 3]}..."
    return target["scrapePool"], labels.get("__address__", ""), shortened


def _ago(moment: str) -> str:
    seconds = time.time() - dt.datetime.fromisoformat(moment[:19] + "+00:00").timestamp()
    return f"{max(seconds, 0):.0f} s ago"


def _print(rows: list[tuple[str, ...]], heading: tuple[str, ...]) -> None:
    if not rows:
        return
    table = [heading, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(heading))]
    for row in table:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
