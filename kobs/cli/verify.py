"""`kobs verify`: whether every log line that an agent saw is stored exactly once, and what is known to be lost."""

import dataclasses
import datetime as dt
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kobs.cli.client import Client, client_for
from kobs.cli.options import load_settings
from kobs.errors import ConfigError

if TYPE_CHECKING:
    from kobs.cli.rereading import FileReport

_COLUMNS = ("rows", "delivered_bytes", "pending_bytes", "lost_bytes", "missing_bytes", "doubled_rows")
_HEADINGS = ("SOURCE", "ROWS", "DELIVERED", "PENDING", "LOST", "MISSING", "DOUBLED")
_FAILURES = ("lost_bytes", "lost_unknown", "missing_bytes", "doubled_rows")
_MOST_LEFT_ASIDE = 5

Source = dict[str, Any]


@click.command()
@click.option("--server", metavar="URL", help="Server to ask. Default: server.listen of the settings.")
@click.option(
    "--files",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Read the log files below DIR again and compare every line with the store.",
)
@click.option("--json", "in_json", is_flag=True, help="The whole answer as one JSON object.")
@click.option("--cluster", help="Only this cluster. With --files: the agent's. Default there: that of the settings.")
@click.option("--node", help="Only this node. With --files: the agent's. Default there: that of the settings.")
@click.option("-N", "--namespace", multiple=True, help="Only this namespace; repeat it for several, as the next two.")
@click.option("--pod", multiple=True)
@click.option("--container", multiple=True)
@click.pass_context
def command(  # noqa: PLR0917 - click passes options by name
    context: click.Context,
    server: str | None,
    folder: Path | None,
    in_json: bool,  # noqa: FBT001 - click passes flags by name
    cluster: str | None,
    node: str | None,
    namespace: tuple[str, ...],
    pod: tuple[str, ...],
    container: tuple[str, ...],
) -> None:
    """Check that every log line that was seen is stored exactly once.

    What agents say they have read is compared with the stored rows themselves. Exit code 1 means loss, missing bytes or
    doubled rows; what is only on its way is none of these.
    """
    wanted = {
        "cluster": () if cluster is None else (cluster,),
        "node": () if node is None else (node,),
        "namespace": namespace,
        "pod": pod,
        "container": container,
    }
    with client_for(context, server) as client:
        files, left_aside, answer = _ask(context, client, folder, cluster=cluster, node=node)
    sources = [each for each in answer["sources"] if _is_wanted(each["labels"], wanted)]
    totals = {name: sum(each[name] for each in sources) for name in answer["totals"] if name != "sources"}
    answer = {
        "ok": not any(totals[name] for name in _FAILURES) and all(each.is_whole for each in files),
        "totals": {"sources": len(sources), **totals},
        "sources": sources,
    }
    if in_json:
        if folder is not None:
            answer |= {"files": [dataclasses.asdict(each) for each in files], "left_aside": left_aside}
        click.echo(json.dumps(answer, indent=2))
    else:
        for line in _told(answer):
            click.echo(line)
        if folder is not None:
            for line in _told_files(files, left_aside):
                click.echo(line)
    context.exit(0 if answer["ok"] else 1)


def _ask(
    context: click.Context, client: Client, folder: Path | None, *, cluster: str | None, node: str | None
) -> tuple[list["FileReport"], list[str], dict[str, Any]]:
    """Return the files' reports, the files left aside, and the server's answer.

    Files are listed before the server is asked: what it has not got of them by then is at least on its way.
    """
    if folder is None:
        return [], [], _checked(client.get("/kobs/v1/verify"), client.url)
    # imported here because without --files nothing of the agent is needed
    from kobs.cli.rereading import Rereading  # noqa: PLC0415

    settings = load_settings(context, {"cluster": cluster, "node": node})
    rereading = Rereading(folder, settings.agent, cluster=settings.cluster, node=settings.node)
    answer = _checked(client.get("/kobs/v1/verify"), client.url)
    files = list(rereading.compare(client, answer))
    nodes = sorted({(each["labels"].get("cluster", ""), each["labels"].get("node", "")) for each in answer["sources"]})
    if files and all(each.unseen for each in files) and (settings.cluster, settings.node) not in nodes:
        known = ", ".join(f"--cluster {name!r} --node {machine!r}" for name, machine in nodes) or "none"
        raise ConfigError(
            f"--files: the store has nothing from node {settings.node!r} of cluster {settings.cluster!r}; "
            f"name the agent's with --cluster and --node; the store knows {known}"
        )
    return files, rereading.left_aside, answer


def _checked(answer: Any, url: str) -> dict[str, Any]:
    if not isinstance(answer, dict) or not {"sources", "totals"} <= answer.keys():
        raise ConfigError(f"{url} answers, but not as a kobs server does; check --server")
    return answer


def _is_wanted(labels: dict[str, str], wanted: dict[str, tuple[str, ...]]) -> bool:
    return all(not values or labels.get(name, "") in values for name, values in wanted.items())


# -- what the server says ----------------------------------------------------------------------------------------------


def _told(answer: dict[str, Any]) -> Iterator[str]:
    sources: list[Source] = answer["sources"]
    many_nodes = len({(each["labels"].get("cluster"), each["labels"].get("node")) for each in sources}) > 1
    names = [_name(each["labels"], with_node=many_nodes) for each in sources]
    rows = [_HEADINGS, *(_row(name, source) for name, source in zip(names, sources, strict=True))]
    if sources:
        lines = _table(rows)
        yield next(lines)
        for line, source in zip(lines, sources, strict=True):
            yield line
            yield from _findings(source)
        yield ""
    yield _summary(answer)


def _name(labels: dict[str, str], *, with_node: bool) -> str:
    if labels["kind"] == "container":
        name = "/".join(labels.get(part, "") for part in ("namespace", "pod", "container"))
    else:
        name = "journal" if labels["kind"] == "journal" else labels.get("path", "")
    prefix = ":".join(filter(None, (labels.get("cluster"), labels.get("node")))) if with_node else ""
    return f"{prefix} {name}" if prefix else name


def _row(name: str, source: Source) -> tuple[str, ...]:
    count = _records if source["labels"]["kind"] == "journal" else _size
    lost = count(source["lost_bytes"])
    if source["lost_unknown"]:
        lost = f"{lost} + ?" if source["lost_bytes"] else "?"
    return (
        name,
        f"{source['rows']:,}",
        count(source["delivered_bytes"]),
        count(source["pending_bytes"]),
        lost,
        count(source["missing_bytes"]),
        f"{source['doubled_rows']:,}",
    )


def _findings(source: Source) -> Iterator[str]:
    count = _records if source["labels"]["kind"] == "journal" else _size
    if source["missing_bytes"]:
        for each in source["missing"]:
            yield f"    missing: {count(each['bytes'])} of segment {each['segment']} are not stored, no loss says why"
    if source["doubled_rows"]:
        yield f"    doubled: {source['doubled_rows']:,} rows are there more than once"
    for loss in source["losses"]:
        size = "an unknown number of bytes" if loss["bytes"] is None else count(loss["bytes"])
        detail = f" ({loss['detail']})" if loss["detail"] else ""
        yield (
            f"    {loss['reason']}: {size} of segment {loss['segment']} from {loss['start']}"
            f"{_window(loss['first'], loss['last'])}{detail}"
        )
    if source["expired_bytes"]:
        yield f"    expired: {count(source['expired_bytes'])} left the store when their time was over"


def _window(first: str, last: str) -> str:
    """Return a loss's window of time in words; nothing where it is not known."""
    start, end = _time(first), _time(last)
    if start and end and start != end:
        return f", between {start} and {end}"
    return f", at {start or end}" if start or end else ""


def _time(time_ns: str) -> str:
    seconds = int(time_ns or 0) // 1_000_000_000
    return "" if seconds <= 0 else f"{dt.datetime.fromtimestamp(seconds, tz=dt.UTC):%Y-%m-%dT%H:%M:%SZ}"


def _summary(answer: dict[str, Any]) -> str:
    totals = answer["totals"]
    if not totals["sources"]:
        return "nothing: no agent has told of any log yet"
    found = [
        f"{_size(totals['lost_bytes'])} lost" if totals["lost_bytes"] else "",
        f"{totals['lost_unknown']} losses of unknown size" if totals["lost_unknown"] else "",
        f"{_size(totals['missing_bytes'])} missing" if totals["missing_bytes"] else "",
        f"{totals['doubled_rows']:,} rows doubled" if totals["doubled_rows"] else "",
    ]
    what = ", ".join(filter(None, found)) or "every line that was seen is stored exactly once"
    pending = f", {_size(totals['pending_bytes'])} on their way" if totals["pending_bytes"] else ""
    verdict = "FAILED" if any(found) else "ok"
    return f"{verdict}: {what} ({totals['sources']:,} sources, {totals['rows']:,} rows{pending})"


# -- what the files say ------------------------------------------------------------------------------------------------


def _told_files(files: Sequence["FileReport"], left_aside: Sequence[str]) -> Iterator[str]:
    yield ""
    ordered = sorted(files, key=lambda each: (each.is_whole, not each.unchecked, each.path))
    if ordered:
        headings = ("FILE", "ROWS", "COVERED", "PENDING", "ON RECORD", "MISSING", "DOUBLED", "CHANGED")
        lines = _table([headings, *map(_file_row, ordered)])
        yield next(lines)
        for line, each in zip(lines, ordered, strict=True):
            yield line
            for finding in each.findings:
                yield f"    {finding}"
            for unchecked in each.unchecked:
                yield f"    not checked: {unchecked}"
        yield ""
    if left_aside:
        shown = ", ".join(left_aside[:_MOST_LEFT_ASIDE])
        more = f" and {len(left_aside) - _MOST_LEFT_ASIDE} more" if len(left_aside) > _MOST_LEFT_ASIDE else ""
        yield f"not checked, as no agent reads them: {shown}{more}"
    bad = [each for each in ordered if not each.is_whole]
    partly = sum(1 for each in ordered if each.unchecked)
    verdict = "FAILED" if bad else "ok"
    yield (
        f"{verdict}: {len(bad)} of {len(ordered)} files have lines that are missing, doubled or changed in the store"
        if bad
        else f"{verdict}: every complete line of {len(ordered) - partly} files is stored exactly once, or on record"
        + (f"; {partly} could not be checked in full" if partly else "")
    )


def _file_row(each: "FileReport") -> tuple[str, ...]:
    return (
        each.path,
        f"{each.rows:,}",
        _size(each.covered_bytes),
        _size(each.pending_bytes),
        _size(each.lost_bytes),
        _size(each.missing_bytes),
        f"{each.doubled_rows:,}",
        f"{each.altered_rows:,}",
    )


# -- shapes ------------------------------------------------------------------------------------------------------------


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Yield rows in columns: the first one to the left, numbers to the right, zeros as a dash."""
    shown = [tuple("-" if cell in ("0", "0 B", "0 records") else cell for cell in row) for row in rows]
    widths = [max(len(row[column]) for row in shown) for column in range(len(shown[0]))]
    for first, *others in shown:
        cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        yield "  ".join([f"{first:{widths[0]}}", *cells]).rstrip()


def _records(count: int) -> str:
    return f"{count:,} records"


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
