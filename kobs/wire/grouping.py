"""Which lines of one stream make one entry: stack traces and indented continuations.

In: the lines of one stream in order, P and F parts already joined. Out: the spans of lines that belong together; every
line outside a span is an entry of its own. A span depends on its own lines and on the lines after it, on nothing before
it, so a log may be cut before any entry. These are the rules of `GROUPING_VERSION` 1:

- A line that begins with a space or tab and has other characters continues the entry before it, unless that is blank.
- A lone closing bracket continues an entry whose indented block began under a line that ends in an opening bracket.
- Java, .NET: `Caused by: `, `Suppressed: `, `... 9 more`, `--- End of ...` continue.
- Python: a traceback goes up to and with the exception's line, and over the sentences that chain tracebacks.
- Go: a panic or fatal error goes over its goroutines, their calls and the blank lines between them.
- Node: an uncaught error goes from its place in the source over the caret line to the version line.

Where a blank line (or the source line of an uncaught Node error) belongs to an entry only if a certain line follows, it
is held until that line is seen; if another one comes, the held lines are judged again by the first two rules.
"""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import re2

from kobs.errors import RejectedError

MAX_GROUP_LINES = 1000
"""A group spans at most this many physical lines, lines of the other stream between them counted."""

Linked = Callable[[int, int], bool]
"""`linked(first, index)`: line `index` may continue the line before it in a group that began at line `first`."""


@dataclass(frozen=True, slots=True)
class Groups:
    """`spans`: first and end (exclusive) of each group of two or more lines, in order.

    `open_firsts`: the first lines of the groups that more lines could extend, or whose held lines they could decide,
    in order; the last line's group is always among them.
    """

    spans: list[tuple[int, int]]
    open_firsts: list[int]


def group_lines(bodies: list[bytes], *, linked: Linked, max_bytes: int, start_pattern: str = "") -> Groups:
    """Return which lines belong together, by the built-in rules or by a pattern that starts an entry.

    Raises: RejectedError("start_pattern") if RE2 refuses the pattern.
    """
    if start_pattern:
        return _by_pattern(bodies, linked, max_bytes, compile_start_pattern(start_pattern))
    return _by_rules(bodies, linked, max_bytes)


@functools.lru_cache(maxsize=1024)
def compile_start_pattern(pattern: str) -> Any:  # re2 has no types
    """Return the compiled RE2 pattern of the lines that start an entry.

    Raises: RejectedError("start_pattern") if RE2 refuses it.
    """
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern.encode("utf-8", "surrogateescape"), options=options)
    except re2.error as error:
        raise RejectedError("start_pattern", f"start pattern {pattern!r}: RE2 refuses it: {error}") from error


def _by_pattern(bodies: list[bytes], linked: Linked, max_bytes: int, pattern: Any) -> Groups:
    search = pattern.search
    spans: list[tuple[int, int]] = []
    first = 0
    size = 0
    for index, body in enumerate(bodies):
        size += len(body) + 1
        if index > first and (size > max_bytes + 1 or search(body) is not None or not linked(first, index)):
            if index - first > 1:
                spans.append((first, index))
            first = index
            size = len(body) + 1
        elif index == first:
            size = len(body) + 1
    if len(bodies) - first > 1:
        spans.append((first, len(bodies)))
    return Groups(spans, [first] if bodies else [])


def _by_rules(bodies: list[bytes], linked: Linked, max_bytes: int) -> Groups:
    spans: list[tuple[int, int]] = []
    open_firsts: list[int] = []
    count = len(bodies)
    done = 0
    matches = _CANDIDATE.match
    for candidate in [index for index, body in enumerate(bodies) if body[:1] in CANDIDATE_BYTES and matches(body)]:
        # The line before a candidate is an entry's first line unless a group has taken it in already.
        for first in range(max(done, candidate - 1), candidate + 1):
            if first < done:
                continue
            end, reached_end = _extend(bodies, first, linked, max_bytes)
            if end - first > 1:
                spans.append((first, end))
            if reached_end:
                open_firsts.append(first)
            done = end
    if done < count:
        open_firsts.append(count - 1)
    return Groups(spans, open_firsts)


class _Step(NamedTuple):
    """A line belongs to the group (or is held until the next line tells), and what the group expects now."""

    rule: "_Rule"
    is_held: bool = False


_Rule = Callable[[list[bytes], int, int, bool], _Step | None]
"""`rule(bodies, first, index, is_after_held)`: what line `index` does in the group of line `first`, of which the line
before it is a part or held; None if it does not belong to it."""


def _extend(bodies: list[bytes], first: int, linked: Linked, max_bytes: int) -> tuple[int, bool]:
    """Return the end of the group that begins at a line, and whether it reached the end of the lines."""
    count = len(bodies)
    end = first + 1
    rule = _first_rule(bodies[first])
    if rule is None:
        return end, end == count
    size = len(bodies[first])
    index = end
    reached_end = False
    while True:
        step = None
        if index == count:
            reached_end = True
        elif linked(first, index):
            step = rule(bodies, first, index, index > end)
        if step is not None:
            size += 1 + len(bodies[index])
            if size > max_bytes:
                return end, reached_end
            rule = step.rule
            index += 1
            if not step.is_held:
                end = index
        elif index > end:
            # What the lines were held for did not come.
            size -= sum(map(len, bodies[end:index])) + index - end
            rule = _plain
            index = end
        else:
            return end, reached_end


def _first_rule(line: bytes) -> _Rule | None:
    """Return what a group expects after its first line; None if nothing can continue it."""
    if not line.strip():
        return None
    if line.rstrip().endswith(_TRACEBACK):
        return _python_raised if _EXCEPTION_GROUP.match(line) else _python_frames
    if found := _GO_START.match(line):
        return _go_stack if found[0].startswith(b"goroutine") else _go_panic
    if _NODE_PLACE.match(line):
        return _node_place
    return _plain


def _is_indented(line: bytes) -> bool:
    return line.startswith((b" ", b"\t")) and not line.isspace() and _EXCEPTION_GROUP.match(line) is None


def _plain(bodies: list[bytes], first: int, index: int, is_after_held: bool) -> _Step | None:  # noqa: ARG001, FBT001  (a _Rule)
    line = bodies[index]
    if _is_indented(line) or _CONTINUES.match(line):
        return _Step(_plain)
    if _CLOSING.match(line) and _closes_block(bodies, first, index):
        return _Step(_plain)
    if _GO_GOROUTINE.match(line) and (b"panic" in bodies[index - 1] or _KLOG_FATAL.match(bodies[index - 1])):
        return _Step(_go_stack)
    return None


def _closes_block(bodies: list[bytes], first: int, index: int) -> bool:
    """Tell whether the lines above a closing bracket are an indented block under a line that ends in an opening one."""
    above = index - 1
    if above == first or not _is_indented(bodies[above]):
        return False
    while above > first and _is_indented(bodies[above]):
        above -= 1
        if bodies[above].rstrip().endswith(_OPENING):
            return True
    return False


def _python_frames(bodies: list[bytes], first: int, index: int, is_after_held: bool) -> _Step | None:  # noqa: ARG001, FBT001  (a _Rule)
    line = bodies[index]
    if line.startswith((b" ", b"\t")):
        # Also a blank one: a frame may show several lines of source.
        return None if _EXCEPTION_GROUP.match(line) else _Step(_python_frames)
    return _Step(_python_raised) if _EXCEPTION.match(line) else None


def _python_raised(bodies: list[bytes], first: int, index: int, is_after_held: bool) -> _Step | None:  # noqa: FBT001  (a _Rule)
    line = bodies[index]
    if line.startswith(_CHAINS):
        return _Step(_python_chain)
    if is_after_held:
        return None
    if not line.strip():
        return _Step(_python_raised, is_held=True)
    step = _plain(bodies, first, index, is_after_held)
    return None if step is None else _Step(_python_raised)


def _python_chain(bodies: list[bytes], first: int, index: int, is_after_held: bool) -> _Step | None:  # noqa: ARG001, FBT001  (a _Rule)
    line = bodies[index]
    if _EXCEPTION_GROUP.match(line):
        return _Step(_python_raised)
    if line.startswith(_TRACEBACK):
        return _Step(_python_frames)
    if not line.strip() and not is_after_held:
        return _Step(_python_chain, is_held=True)
    return None


def _go_panic(bodies: list[bytes], first: int, index: int, is_after_held: bool) -> _Step | None:  # noqa: FBT001  (a _Rule)
    line = bodies[index]
    if _GO_HEADING.match(line):
        return _Step(_go_stack)
    if line.startswith(b"[signal "):
        return _Step(_go_panic)
    if is_after_held:
        return None
    if not line.strip():
        return _Step(_go_panic, is_held=True)
    step = _plain(bodies, first, index, is_after_held)
    return None if step is None else _Step(_go_panic)


def _go_stack(bodies: list[bytes], first: int, index: int, is_after_held: bool) -> _Step | None:  # noqa: ARG001, FBT001  (a _Rule)
    line = bodies[index]
    if is_after_held:
        return _Step(_go_stack) if _GO_HEADING.match(line) or _GO_REGISTER.match(line) else None
    if not line.strip():
        return _Step(_go_stack, is_held=True)
    if _is_indented(line) or _GO_HEADING.match(line) or _GO_FRAME.match(line) or _GO_REGISTER.match(line):
        return _Step(_go_stack)
    return None


def _node_place(bodies: list[bytes], first: int, index: int, is_after_held: bool) -> _Step | None:  # noqa: ARG001, FBT001  (a _Rule)
    return _Step(_node_source, is_held=True) if bodies[index].strip() else None


def _node_source(bodies: list[bytes], first: int, index: int, is_after_held: bool) -> _Step | None:  # noqa: ARG001, FBT001  (a _Rule)
    return _Step(_node_caret) if _NODE_CARET.match(bodies[index]) else None


def _node_caret(bodies: list[bytes], first: int, index: int, is_after_held: bool) -> _Step | None:  # noqa: ARG001, FBT001  (a _Rule)
    if bodies[index].strip():
        return _Step(_node_error)
    return None if is_after_held else _Step(_node_caret, is_held=True)


def _node_error(bodies: list[bytes], first: int, index: int, is_after_held: bool) -> _Step | None:  # noqa: FBT001  (a _Rule)
    line = bodies[index]
    if _NODE_REST.match(line):
        return _Step(_node_error)
    if is_after_held:
        return None
    if not line.strip():
        return _Step(_node_error, is_held=True)
    step = _plain(bodies, first, index, is_after_held)
    return None if step is None else _Step(_node_error)


_TRACEBACK = b"Traceback (most recent call last):"
_CHAINS = (
    b"The above exception was the direct cause of the following exception:",
    b"During handling of the above exception, another exception occurred:",
)
_EXCEPTION_GROUP = re.compile(rb"\s+\+ Exception Group Traceback \(most recent call last\):")
# The line that ends a traceback: the exception's name, or a place where Ruby prints its own "Traceback". A level and
# a message would look the same.
_EXCEPTION = re.compile(
    rb"(?!(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL)\b)"
    rb"(?:[A-Za-z_\x80-\xff][\w.<>\x80-\xff]*(?::|\s*$)|\S+:\d+:in )"
)
_GO_START = re.compile(rb"panic: |fatal error: |goroutine \d+ \[")
_GO_GOROUTINE = re.compile(rb"goroutine \d+ \[")
_GO_HEADING = re.compile(rb"goroutine |runtime stack:")
_GO_FRAME = re.compile(rb"created by |\.\.\.|(?:panic|[\w%][^\s:=]*\.[^\s:=]+)\(.*\)\s*$")
_GO_REGISTER = re.compile(rb"[a-z][a-z0-9]{1,6}\s+0x[0-9a-f]+\s*$")
_NODE_PLACE = re.compile(rb"(?:(?:file://|/|[CD]:\\|internal/)\S*\.[cm]?[jt]sx?|node:\S+|\[eval\]|\[stdin\]):\d+\s*$")
_NODE_CARET = re.compile(rb"\s*\^+\s*$")
_NODE_REST = re.compile(rb"Node\.js v\d|\(Use `node |Emitted '|Thrown at:")
_CONTINUES = re.compile(rb"Caused by: |Suppressed: |\.\.\. \d+ |--- End of ")
_CLOSING = re.compile(rb"[}\])]+[,;]?\s*$")
_OPENING = (b"{", b"[", b"(")
_KLOG_FATAL = re.compile(rb"F\d{4} ")
# A line that could continue a plain line before it, or begin a group whose second line is not such a line. Every other
# line is an entry of its own unless a group that has begun takes it in.
_CANDIDATE = re.compile(
    rb"[ \t]|Caused by: |Suppressed: |\.\.\. \d|--- End of |goroutine \d|panic: |fatal error: |Traceback "
    rb"|(?:file://|/|[CD]:\\|internal/|node:|\[eval\]:|\[stdin\]:)\S*\s*$"
)
CANDIDATE_BYTES = frozenset(bytes([byte]) for byte in b" \tCDSTfgpin/[.-")
"""What such a line may begin with."""


def is_candidate(text: bytes, start: int, end: int) -> bool:
    """Tell whether a line could belong to a group by the built-in rules; if no line of a log does, it has no groups."""
    return _CANDIDATE.match(text, start, end) is not None
