"""Whether stored rows cover a file's lines exactly once, and hold what the lines hold.

Arrive: the file's lines in their order, and the rows of its segment by offset. A row belongs to the line at its offset
and takes whole lines of that line's stream from there on until its size is used up; how lines were grouped needs no
guess. Leave: what no row covers, what several cover, and rows whose content differs. A window of lines is held, from
the row at hand to the end of what it covers.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Protocol

from kobs.wire import cri
from kobs.wire.ship import LineFormat

_READ_BYTES = 256 * 1024
_LONGEST_PIECE_BYTES = 4 * 1024 * 1024
_LONGEST_ROW_BYTES = 32 * 1024 * 1024
_MOST_NOTES = 20


class Readable(Protocol):
    """A file by offset in its uncompressed bytes."""

    def read(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset`; fewer only at the end."""


@dataclass(slots=True)
class Piece:
    """A physical line, or a part of one that is very long."""

    offset: int
    size: int
    stream: int
    goes_on: bool
    """What follows in the same stream belongs to the same line: a part, or a line without its newline."""
    complete: bool
    content: bytes
    covered: int = 0

    @property
    def end(self) -> int:
        """The offset behind it."""
        return self.offset + self.size


@dataclass(frozen=True, slots=True)
class Row:
    """A stored row, and how often its position is there."""

    offset: int
    size: int
    copies: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Rest:
    """What a row holds beyond the end of its file: its entry went on in the file's successor."""

    body: bytes
    stream: int
    after_part: bool
    is_cut: bool


@dataclass(slots=True)
class Coverage:
    """What became of a file's lines."""

    rows: int = 0
    end: int = 0
    """Up to where lines were looked at."""
    covered_bytes: int = 0
    doubled_rows: int = 0
    overlapping_bytes: int = 0
    altered_rows: int = 0
    beyond_rows: int = 0
    rest: Rest | None = None
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Tell of a finding; of very many the first ones."""
        if len(self.notes) < _MOST_NOTES:
            self.notes.append(text)


def read_pieces(file: Readable, line_format: LineFormat) -> Iterator[Piece]:
    """Yield a file's physical lines up to its end.

    Raises: DamagedError, OSError.
    """
    at = 0
    pending = b""
    inside: Piece | None = None
    while True:
        data = file.read(at + len(pending), _READ_BYTES)
        pending += data
        end = pending.rfind(b"\n") + 1
        if not data or (end == 0 and len(pending) >= _LONGEST_PIECE_BYTES):
            end = len(pending)
        if end:
            for piece in _parse(pending[:end], at, line_format, inside):
                yield piece
                inside = None if piece.complete else piece
            at += end
            pending = pending[end:]
        if not data:
            return


def _parse(data: bytes, at: int, line_format: LineFormat, inside: Piece | None) -> Iterator[Piece]:
    lines = data.split(b"\n")
    last_is_open = lines[-1] != b""
    if not last_is_open:
        lines.pop()
    columns = cri.parse(lines, read_ns=0) if line_format is LineFormat.CRI else None
    for index, line in enumerate(lines):
        complete = not last_is_open or index < len(lines) - 1
        kind = 0 if columns is None else columns.kinds[index]
        content = line if columns is None else columns.bodies[index]
        if inside is not None and index == 0:
            # the rest of a very long line has no head of its own
            kind, content = inside.stream, line
        is_part = kind != cri.MALFORMED and bool(kind & cri.PART)
        stream = kind if kind == cri.MALFORMED else kind & ~cri.PART
        size = len(line) + complete
        yield Piece(at, size, stream, is_part or not complete, complete, content)
        at += size


class LineCoverage:
    """Lays rows over a file's lines. `uncovered(start, end)` is told of each range that no row covers, in order."""

    def __init__(
        self,
        pieces: Iterator[Piece],
        *,
        end: int | None,
        cut_bytes: Callable[[int], int],
        uncovered: Callable[[int, int], None],
    ) -> None:
        self.found = Coverage()
        self._pieces = pieces
        self._end = end
        self._cut_bytes = cut_bytes
        self._uncovered = uncovered
        self._window: deque[Piece] = deque()
        self._is_at_end = False
        self._gap: tuple[int, int] | None = None

    def take_rest(self, rest: Rest) -> None:
        """Cover the lines at the beginning that the last row of the file before goes on with."""
        index = position = 0
        after_part = rest.after_part
        while position < len(rest.body):
            piece = self._next_of(rest.stream, index)
            reached = None
            if piece is not None:
                reached = _match(rest.body, position, piece.content, after_part=after_part, is_first=False)
                if reached is None and rest.is_cut:
                    reached = _match_cut(rest.body, position, piece.content, after_part=after_part)
            if piece is None or reached is None:
                self.found.altered_rows += 1
                self.found.note("the last entry of the file before does not go on here as it is stored")
                return
            piece.covered += 1
            position = reached
            after_part = piece.goes_on
            index = self._window.index(piece) + 1

    def take(self, row: Row) -> bool:
        """Lay a row over its lines; False where it lies beyond the bytes that are looked at."""
        if self._end is not None and row.offset >= self._end:
            return False
        self._settle_before(row.offset)
        self.found.rows += 1
        if row.copies > 1:
            self.found.doubled_rows += row.copies - 1
            self.found.note(f"the row at {row.offset} is there {row.copies} times")
        if not self._window:
            self.found.beyond_rows += 1
            return True
        if self._window[0].offset != row.offset:
            self._altered(row, "begins where no line does")
            return True
        covered = self._covered_by(row)
        if covered is None:
            self._altered(row, f"covers {row.size} bytes, which are no whole lines here")
            return True
        for piece in covered:
            piece.covered += 1
        self._compare(row, covered)
        return True

    def finish(self) -> Coverage:
        """Look at the lines behind the last row, and return what was found."""
        self._settle_before(None)
        self._close_gap()
        return self.found

    # the window

    def _load(self) -> bool:
        """Read one more line; False at the end of the file."""
        piece = next(self._pieces, None)
        if piece is None:
            self._is_at_end = True
            return False
        self._window.append(piece)
        return True

    def _next_of(self, stream: int, index: int) -> Piece | None:
        """Return the first line of a stream at or behind an index of the window."""
        while True:
            while index >= len(self._window):
                if not self._load():
                    return None
            piece = self._window[index]
            if piece.stream == stream:
                return piece
            index += 1

    def _settle_before(self, offset: int | None) -> None:
        """Let go of lines that end at or before an offset: no later row covers them."""
        while True:
            if not self._window and not self._load():
                return
            piece = self._window[0]
            if offset is not None and piece.end > offset:
                return
            if offset is None and self._end is not None and piece.end > self._end:
                return
            self._window.popleft()
            self._settle(piece)

    def _settle(self, piece: Piece) -> None:
        self.found.end = piece.end
        if piece.covered:
            self.found.covered_bytes += piece.size
            if piece.covered > 1:
                self.found.overlapping_bytes += piece.size
                self.found.note(f"{piece.covered} rows cover the line at {piece.offset}")
            return
        if not piece.complete and not self._window and self._is_last():
            return  # the last line is still being written
        if self._gap is not None and self._gap[1] == piece.offset:
            self._gap = (self._gap[0], piece.end)
            return
        self._close_gap()
        self._gap = (piece.offset, piece.end)

    def _is_last(self) -> bool:
        return self._is_at_end or not self._load()

    def _close_gap(self) -> None:
        if self._gap is not None:
            gap, self._gap = self._gap, None
            self._uncovered(*gap)

    # one row

    def _covered_by(self, row: Row) -> list[Piece] | None:
        """Return the lines of a row; None where they do not add up to its size."""
        stream = self._window[0].stream
        covered: list[Piece] = []
        left = row.size
        index = 0
        while left > 0:
            while index >= len(self._window):
                if self._window[-1].end - row.offset > _LONGEST_ROW_BYTES or not self._load():
                    return None
            piece = self._window[index]
            if piece.stream == stream:
                if piece.size > left:
                    if left <= _head_bytes(piece):
                        return None
                    self._divide(index, left)
                    piece = self._window[index]
                covered.append(piece)
                left -= piece.size
                if stream == cri.MALFORMED and left > 0:
                    return None
            index += 1
        return covered

    def _divide(self, index: int, size: int) -> None:
        """Divide a line that a row covers only the beginning of: the rest of it was left out, or is missing."""
        piece = self._window[index]
        kept = size - _head_bytes(piece)
        first = replace(piece, size=size, goes_on=True, complete=False, content=piece.content[:kept])
        rest = replace(piece, offset=piece.offset + size, size=piece.size - size, content=piece.content[kept:])
        self._window[index] = first
        self._window.insert(index + 1, rest)

    def _compare(self, row: Row, covered: list[Piece]) -> None:
        position = 0
        after_part = False
        for number, piece in enumerate(covered):
            reached = _match(row.body, position, piece.content, after_part=after_part, is_first=number == 0)
            if reached is None:
                self._compare_cut(row, covered)
                return
            position = reached
            after_part = piece.goes_on
        if position == len(row.body):
            return
        last = covered[-1]
        if self._next_of(last.stream, self._window.index(last) + 1) is None and self.found.rest is None:
            self.found.rest = Rest(row.body[position:], last.stream, last.goes_on, self._cut_bytes(row.offset) > 0)
            return
        self._altered(row, "holds more than its lines do")

    def _compare_cut(self, row: Row, covered: list[Piece]) -> None:
        """Accept a body that ends early, where that is on record."""
        content = covered[0].content + b"".join(
            (b"" if before.goes_on else b"\n") + piece.content for before, piece in pairwise(covered)
        )
        short = len(content) - len(row.body)
        if 0 < short <= self._cut_bytes(row.offset) and content.startswith(row.body):
            return
        self._altered(row, "does not hold what its lines do")

    def _altered(self, row: Row, what: str) -> None:
        self.found.altered_rows += 1
        self.found.note(f"the row at {row.offset} {what}")


def _match(body: bytes, position: int, content: bytes, *, after_part: bool, is_first: bool) -> int | None:
    """Return where a line's content ends in a body that goes on with it at a position; None where it does not."""
    if is_first or after_part:
        if body.startswith(content, position):
            return position + len(content)
        if is_first:
            return None
    # a part whose end never came is a line by itself
    if body.startswith(b"\n", position) and body.startswith(content, position + 1):
        return position + 1 + len(content)
    return None


def _match_cut(body: bytes, position: int, content: bytes, *, after_part: bool) -> int | None:
    """Return the end of a body that ends within a line; None where it does not."""
    rest = body[position:]
    if after_part and content.startswith(rest):
        return len(body)
    return len(body) if rest[:1] == b"\n" and content.startswith(rest[1:]) else None


def _head_bytes(piece: Piece) -> int:
    """Return how many bytes of a line the container runtime wrote before its content."""
    return piece.size - len(piece.content) - piece.complete
