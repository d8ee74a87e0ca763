"""`kobs logs`: search logs, or follow them. Entries are printed oldest first.

While it follows, nothing is skipped nor repeated, also when the connection breaks: it goes on where it was as soon as a
server answers again. Entries that the server had to drop for a slow reader are told on standard error.
"""

import contextlib
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import click

from kobs.cli.client import Client, Items, client_for
from kobs.cli.log_lines import as_bytes, as_json, on_terminal
from kobs.config import environment
from kobs.errors import QueryError, RetryableError
from kobs.model.durations import parse_duration_ms

_PAGE_ROWS = 1000
_SILENT_SECONDS = 45.0
"""A tail says every 15 s that it is there."""
_REMEMBERED_SECONDS = 120.0
_LONGEST_PAUSE_SECONDS = 5.0
_LABELS = ("cluster", "namespace", "pod", "container", "node", "severity")

Entry = dict[str, Any]


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with what arrives.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    help="How many lines at most, the newest of the window.",
)
@click.option("--cluster", multiple=True, help="Exact name; repeat it for several, as all of these.")
@click.option("-N", "--namespace", multiple=True)
@click.option("--pod", multiple=True)
@click.option("--container", multiple=True)
@click.option("--node", multiple=True)
@click.option("--severity", multiple=True, help="Such as error.")
@click.option("--token", help="A whole word of letters and digits, in either case. The fastest way to search.")
@click.option("--text", help="Text that the line contains, in exactly this case.")
@click.option("--regex", help="Regular expression (RE2), found anywhere in the line.")
@click.option("--start", metavar="TIME", help="First time, RFC 3339 or ns since 1970. Default: an hour before the end.")
@click.option("--since", metavar="DURATION", help="Instead of --start: how far back, such as 15m or 2h.")
@click.option("--end", metavar="TIME", help="Time before which it ends. Default: now.")
@click.option("--server", metavar="URL", help="Server to ask. Default: server.listen of the settings.")
@click.option("--json", "in_json", is_flag=True, help="One JSON object a line, as the API answers it.")
@click.pass_context
def command(context: click.Context, /, *, server: str | None, in_json: bool, **asked: Any) -> None:
    """Search logs, or follow them.

    Without options: the last 100 lines of the last hour. What is known to be missing in that time is told on standard
    error.
    """
    filters = _filters(asked)
    window = _window(asked)
    write = _writer(in_json=in_json)
    with client_for(context, server) as client, _quiet_when_nobody_reads():
        if asked["follow"]:
            _follow(client, filters, window, lines=asked["lines"], write=write)
        else:
            for entry in _search(client, [*filters, *window], lines=asked["lines"]):
                write(entry)


def _filters(asked: dict[str, Any]) -> list[tuple[str, str]]:
    filters = [(name, value) for name in _LABELS for value in asked[name]]
    return filters + [(name, asked[name]) for name in ("token", "text", "regex") if asked[name] is not None]


def _window(asked: dict[str, Any]) -> list[tuple[str, str]]:
    start, since, end = asked["start"], asked["since"], asked["end"]
    if start is not None and since is not None:
        raise click.UsageError("--start and --since are two ways to say the same; give one of them.")
    if end is not None and asked["follow"]:
        raise click.UsageError("--follow has no end; leave out --end.")
    if since is not None:
        try:
            start = str(max(time.time_ns() - parse_duration_ms(since) * 1_000_000, 0))
        except ValueError as error:
            raise click.UsageError(f"--since: {error}.") from error
    return [(name, value) for name, value in (("start", start), ("end", end)) if value is not None]


# -- search ------------------------------------------------------------------------------------------------------------


def _search(client: Client, parameters: Items, *, lines: int) -> list[Entry]:
    """Return the newest lines, oldest first, and tell what is missing or left out."""
    newest_first: list[Entry] = []
    cursor: str | None = None
    completeness: dict[str, Any] | None = None
    while len(newest_first) < lines:
        page_rows = min(lines - len(newest_first), _PAGE_ROWS)
        position = [] if cursor is None else [("cursor", cursor)]
        page = client.get("/kobs/v1/logs", [*parameters, ("limit", str(page_rows)), *position])
        newest_first += page["entries"]
        cursor = page["cursor"]
        if completeness is None:
            completeness = page["completeness"]
        if cursor is None:
            break
    if completeness is not None:
        _tell_missing(completeness)
    if cursor is not None and lines:
        _tell(f"there are more than these {lines} lines; -n shows more")
    return newest_first[::-1]


def _tell_missing(completeness: dict[str, Any]) -> None:
    count = completeness["loss_count"]
    if count:
        reasons = sorted({loss["reason"] for loss in completeness["losses"]})
        _tell(
            f"{count} known {'loss' if count == 1 else 'losses'} in this window ({', '.join(reasons)}); "
            "/kobs/v1/ledger lists them, kobs verify tells more"
        )


def _tell(sentence: str) -> None:
    click.echo(f"kobs: {sentence}", err=True)


# -- follow ------------------------------------------------------------------------------------------------------------


class _Shown:
    """Positions of the entries that were shown lately: after a reconnect some come again."""

    def __init__(self) -> None:
        self._positions: set[str] = set()
        self._order: deque[tuple[float, str]] = deque()

    def add(self, entry: Entry) -> bool:
        """Remember an entry; tell whether it is new."""
        position = f"{entry['time']}:{entry['position']}"
        now = time.monotonic()
        while self._order and self._order[0][0] < now - _REMEMBERED_SECONDS:
            self._positions.discard(self._order.popleft()[1])
        if position in self._positions:
            return False
        self._positions.add(position)
        self._order.append((now, position))
        return True


def _follow(client: Client, filters: Items, window: Items, *, lines: int, write: Callable[[Entry], None]) -> None:
    """Print the newest lines, and then what arrives, until interrupted."""
    shown = _Shown()
    resume: str | None = None
    pause_seconds = 0.0
    while True:
        try:
            for message in _messages(client, filters, resume):
                if resume is None:
                    # the tail listens already, so that nothing falls between the search and it
                    for entry in _search(client, [*filters, *window], lines=lines):
                        shown.add(entry)
                        write(entry)
                elif pause_seconds:
                    _tell("connected again")
                pause_seconds = 0.0
                resume = str(message.get("resume", resume))
                if "dropped" in message:
                    _tell(f"{message['dropped']} lines came faster than they could be shown, and are left out here")
                for entry in message.get("entries", ()):
                    if shown.add(entry):
                        write(entry)
        except RetryableError as error:
            if resume is None:
                raise
            if not pause_seconds:
                _tell(f"{error}; trying again")
        pause_seconds = min(max(pause_seconds * 2, 0.25), _LONGEST_PAUSE_SECONDS)
        time.sleep(pause_seconds)


def _messages(client: Client, filters: Items, resume: str | None) -> Iterator[dict[str, Any]]:
    """Yield what a tail says, until its connection breaks.

    Raises: RetryableError when it breaks; QueryError where the server refuses to go on.
    """
    from websockets.exceptions import ConnectionClosed  # noqa: PLC0415 - only followers need it

    parameters = [*filters, *([] if resume is None else [("resume", resume)])]
    with client.tail("/kobs/v1/logs/tail", parameters) as tail:
        try:
            while True:
                message = json.loads(tail.recv(timeout=_SILENT_SECONDS))
                error = message.get("error")
                if error is not None:
                    known = RetryableError if error["type"] == "try_again" else QueryError
                    raise known(error["message"])
                yield message
        except (ConnectionClosed, TimeoutError, OSError) as error:
            raise RetryableError(f"the connection to {client.url} broke") from error


# -- output ------------------------------------------------------------------------------------------------------------


def _writer(*, in_json: bool) -> Callable[[Entry], None]:
    """Return what writes an entry to standard output."""
    out = sys.stdout.buffer
    is_terminal = sys.stdout.isatty()
    in_colour = is_terminal and not environment().get("NO_COLOR")

    def write(entry: Entry) -> None:
        if in_json:
            out.write(as_json(entry))
        elif is_terminal:
            out.write(on_terminal(entry, in_colour=in_colour))
        else:
            out.write(as_bytes(entry))
        out.flush()

    return write


@contextlib.contextmanager
def _quiet_when_nobody_reads() -> Iterator[None]:
    """End without a word where `kobs logs | head` has seen enough."""
    try:
        yield
    except BrokenPipeError:
        # Python would try to flush at exit, and complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
