"""How the bytes of a log become entries.

In: the bytes of a batch, CRI or plain lines (`kobs.wire.journal` has the journal's). Out: columns of entries, in the
order of their first byte, which cover every byte exactly once. Nothing else has a say: the same bytes with the same
boundaries give the same entries, on the node (which asks where to cut) as on the server (which makes rows). No byte is
lost but the content of a line beyond `max_body_bytes`, which is counted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, compress

from kobs.wire import cri
from kobs.wire.grouping import MAX_GROUP_LINES, Groups, Linked, group_lines
from kobs.wire.ship import LineFormat

MAX_BODY_BYTES = 1 << 20
"""Content of one entry: a group ends before it would have more, a single line is cut."""

MAX_GAP_NS = 5_000_000_000
"""CRI: a line continues its group only if no line since the line before it in the group is this much later."""


@dataclass(frozen=True, slots=True)
class Entries:
    """Columns, one value an entry, in the order of their first byte."""

    times_ns: list[int]
    """CRI: the time of the entry's first physical line. Plain: 0, as times are found in bodies."""
    offsets: list[int]
    """Offset in the payload of the entry's first byte."""
    sizes: list[int]
    """Bytes of the payload that the entry covers (all its lines with newlines and CRI heads), below the boundary."""
    tails: dict[int, int]
    """Index of an entry that starts below the boundary: the bytes that it covers at or beyond it."""
    bodies: list[bytes]
    """Content byte for byte: the lines of a group joined by newlines, P parts joined by nothing, no final newline."""
    stderr: list[bool]
    cut: dict[int, int]
    """Index of an entry: bytes of content that were left out because a body reached its limit."""
    malformed: int
    """Lines that don't have the format. Each is an entry: the raw line, with the time of the line before it."""


def split(
    payload: bytes | bytearray | memoryview,
    *,
    format: LineFormat,  # noqa: A002  (the protocol's word: Stream.format)
    start_pattern: str = "",
    boundary: int | None = None,
    read_ns: int,
    max_body_bytes: int = MAX_BODY_BYTES,
    group: bool = True,
) -> Entries:
    """Return the entries of a payload. A last line without newline counts as whole.

    `boundary` is where the payload goes over from the end of one file to the beginning of its successor. With
    `group=False` each line (of joined P and F parts) is an entry.

    Raises: RejectedError("start_pattern") if RE2 refuses the pattern.
    """
    lines = bytes(payload).split(b"\n")
    rest = lines.pop()
    if rest:
        lines.append(rest)
    sizes = [len(line) + 1 for line in lines]
    if rest:
        sizes[-1] -= 1
    offsets = list(accumulate(sizes, initial=0))
    offsets.pop()
    read = _read(lines, format=format, read_ns=read_ns, with_times=True)
    heads = read.joined.heads
    cut = _cut(read, longest_bytes=max(sizes, default=0), max_body_bytes=max_body_bytes)
    if group:
        for indexes in _streams(read):
            groups = _group(read, indexes, max_body_bytes=max_body_bytes, start_pattern=start_pattern)
            _absorb(read, indexes, groups.spans)
    stderr = [kind & cri.STDERR != 0 for kind in read.kinds]
    tails: dict[int, int] = {}
    if heads:
        for line, head in heads.items():
            sizes[heads.get(head, head)] += sizes[line]
    if boundary is not None:
        tails = _tails(sizes, offsets, heads, boundary=boundary, end=len(payload))
    if not heads:
        return Entries(read.times_ns, offsets, sizes, tails, read.bodies, stderr, cut, read.malformed)
    is_entry = bytearray(b"\x01") * len(lines)
    for line in heads:
        is_entry[line] = 0
    if tails or cut:
        numbers = list(accumulate(is_entry, initial=-1))[1:]
        tails = {numbers[line]: count for line, count in tails.items()}
        cut = {numbers[line]: count for line, count in cut.items()}
    return Entries(
        list(compress(read.times_ns, is_entry)),
        list(compress(offsets, is_entry)),
        list(compress(sizes, is_entry)),
        tails,
        list(compress(read.bodies, is_entry)),
        list(compress(stderr, is_entry)),
        cut,
        read.malformed,
    )


def open_from(
    payload: bytes | bytearray | memoryview,
    *,
    format: LineFormat,  # noqa: A002  (the protocol's word: Stream.format)
    start_pattern: str = "",
    max_body_bytes: int = MAX_BODY_BYTES,
) -> int:
    """Return the offset up to which all entries are complete, whatever bytes follow the payload; 0 if none is.

    No entry lies on both sides of it, and `split` of the two sides gives what `split` of the whole gives. A last line
    without newline, parts without their end, and the last group of each stream are open. A group is complete once a
    line of either stream is 5 s later than its last, or comes 1,000 lines after its first.

    Raises: RejectedError("start_pattern") if RE2 refuses the pattern.
    """
    lines = bytes(payload).split(b"\n")
    end = len(payload) - len(lines.pop())
    if not lines:
        return end
    read = _read(lines, format=format, read_ns=0, with_times=False)
    _cut(read, longest_bytes=end, max_body_bytes=max_body_bytes)
    pending = read.joined.pending
    first_open = min(pending.values(), default=len(lines))
    for indexes in _streams(read):
        waiting = pending.get(read.kinds[indexes[0]] & cri.STDERR)
        known = indexes[:-1] if waiting is not None else indexes
        if known:
            groups = _group(read, known, max_body_bytes=max_body_bytes, start_pattern=start_pattern)
            first_open = min(first_open, _first_open(read, known, groups.open_firsts, waiting=waiting))
            _absorb(read, known, groups.spans)
    # An entry that began before and goes on after it (the other stream's) is on neither side of it.
    heads = read.joined.heads
    last_of: dict[int, int] = {}
    for line, head in heads.items():
        root = heads.get(head, head)
        last_of[root] = max(line, last_of.get(root, line))
    for head in sorted(last_of, reverse=True):
        if head < first_open <= last_of[head]:
            first_open = head
    return end - sum(map(len, lines[first_open:])) - (len(lines) - first_open)


@dataclass(frozen=True, slots=True)
class _Read:
    """Physical lines, a column for each of their parts. A line that took in others has the body of all of them."""

    times_ns: list[int]
    """Empty where times are asked for one by one."""
    time_of: Callable[[int], int] | None
    """The time of a line; None where lines have no time that tells which belong together."""
    kinds: list[int]
    bodies: list[bytes]
    joined: cri.Joined
    malformed: int


def _read(lines: list[bytes], *, format: LineFormat, read_ns: int, with_times: bool) -> _Read:  # noqa: A002  (as above)
    if format is LineFormat.CRI:
        columns = cri.parse(lines, read_ns=read_ns)
        joined = cri.join_parts(columns)
        malformed = columns.kinds.count(cri.MALFORMED)
        times = columns.times_ns() if with_times else []
        time_of = times.__getitem__ if with_times else columns.time_ns
        return _Read(times, time_of, columns.kinds, columns.bodies, joined, malformed)
    kinds = [0] * len(lines)
    joined = cri.Joined({}, {}, {})
    return _Read(kinds, None, kinds, lines.copy(), joined, malformed=0)


def _cut(read: _Read, *, longest_bytes: int, max_body_bytes: int) -> dict[int, int]:
    """Cut the bodies that are too long; return how many bytes each lost."""
    cut: dict[int, int] = {}
    bodies = read.bodies
    for line in range(len(bodies)) if longest_bytes > max_body_bytes else read.joined.last_parts:
        if len(bodies[line]) > max_body_bytes and line not in read.joined.heads:
            cut[line] = len(bodies[line]) - max_body_bytes
            bodies[line] = bodies[line][:max_body_bytes]
    return cut


def _streams(read: _Read) -> list[Sequence[int]]:
    """Return the lines of each stream that has any: whole lines, that is the first parts of joined ones."""
    kinds = read.kinds
    heads = read.joined.heads
    if kinds and kinds[0] != cri.MALFORMED and not heads and kinds.count(kinds[0]) == len(kinds):
        return [range(len(kinds))]
    streams = [
        [line for line, kind in enumerate(kinds) if kind & ~cri.PART == stream and line not in heads]
        for stream in (0, cri.STDERR)
    ]
    return [stream for stream in streams if stream]


def _group(read: _Read, indexes: Sequence[int], *, max_body_bytes: int, start_pattern: str) -> Groups:
    """Return the groups of the lines of one stream, as indexes into `indexes`."""
    bodies = read.bodies if len(indexes) == len(read.bodies) else [read.bodies[line] for line in indexes]
    linked = _linked(read, indexes)
    return group_lines(bodies, linked=linked, max_bytes=max_body_bytes, start_pattern=start_pattern)


def _linked(read: _Read, indexes: Sequence[int]) -> Linked:
    """Return what tells whether a line is near enough to continue the line before it in its group."""
    time_of = read.time_of
    last_parts = read.joined.last_parts
    if time_of is None:
        return lambda first, index: index - first < MAX_GROUP_LINES

    def linked(first: int, index: int) -> bool:
        line = indexes[index]
        if line - indexes[first] >= MAX_GROUP_LINES:
            return False
        before = indexes[index - 1]
        return not _is_later(time_of, last_parts.get(before, before), line + 1)

    return linked


def _is_later(time_of: Callable[[int], int], line: int, end: int) -> bool:
    """Tell whether a line after a line (up to `end`) is so much later that nothing can continue it any more."""
    limit_ns = time_of(line) + MAX_GAP_NS
    if end == line + 2:
        return time_of(line + 1) >= limit_ns
    return any(time_of(after) >= limit_ns for after in range(line + 1, end))


def _first_open(read: _Read, known: Sequence[int], firsts: list[int], *, waiting: int | None) -> int:
    """Return the first line of a stream whose entry may still grow; the number of lines if none may."""
    count = len(read.kinds)
    last = read.joined.last_parts.get(known[-1], known[-1])
    # The line that comes next begins here or later.
    coming = count if waiting is None else waiting
    # The time of a malformed line is that of the line before it, so the last good line stays with what follows.
    if read.time_of is not None and any(kind != cri.MALFORMED for kind in read.kinds[last + 1 :]):
        if _is_later(read.time_of, last, min(coming + 1, count)):
            return count
        firsts = [first for first in firsts if coming - known[first] < MAX_GROUP_LINES]
    return known[firsts[0]] if firsts else count


def _absorb(read: _Read, indexes: Sequence[int], spans: list[tuple[int, int]]) -> None:
    """Lay the bodies of each group together at its first line."""
    bodies = read.bodies
    for first, end in spans:
        lines = indexes[first:end]
        bodies[lines[0]] = b"\n".join([bodies[line] for line in lines])
        read.joined.heads.update(dict.fromkeys(lines[1:], lines[0]))


def _tails(sizes: list[int], offsets: list[int], heads: dict[int, int], *, boundary: int, end: int) -> dict[int, int]:
    """Take the bytes at or beyond the boundary from the sizes of lines that start below it, and return them."""
    tails: dict[int, int] = {}
    for line in range(len(offsets) - 1, -1, -1):
        if end <= boundary:
            break
        head = heads.get(line, line)
        head = heads.get(head, head)
        if offsets[head] < boundary:
            beyond = end - max(boundary, offsets[line])
            tails[head] = tails.get(head, 0) + beyond
            sizes[head] -= beyond
        end = offsets[line]
    return tails
