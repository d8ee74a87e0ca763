"""What `[5m]`, `offset` and `@` do to the expression before them: a node arrives, one of another range or time leaves.

Source: Prometheus 3.8, `promql/parser/parse.go` (which expressions take them, and in which words others are refused).
"""

import dataclasses
import math
from typing import NamedTuple

from kobs.errors import QuerySyntaxError, UnsupportedQueryError
from kobs.query.promql import literals
from kobs.query.promql.tree import AtAnchor, AtModifier, Expression, MatrixSelector, Subquery, VectorSelector

_LATEST_MS = 2**63


class Duration(NamedTuple):
    """A duration and its place in the text."""

    seconds: float
    start: int
    end: int

    def in_range(self, start: int, end: int) -> "Duration":
        """Return it; one that Prometheus cannot count is refused at a place.

        Raises: QuerySyntaxError.
        """
        if abs(self.seconds) > literals.LONGEST_DURATION_SECONDS:
            raise QuerySyntaxError("duration out of range", start=start, end=end)
        return self

    def positive(self) -> "Duration":
        """Return it, as that of a range or step.

        Raises: QuerySyntaxError for what is not above 0.
        """
        if self.seconds <= 0:
            raise QuerySyntaxError("duration must be greater than 0", start=self.start, end=self.end)
        return self

    def milliseconds(self, what: str) -> int:
        """Return its milliseconds, as those of a range or step.

        Raises: UnsupportedQueryError for less than one.
        """
        milliseconds = literals.duration_ms(self.seconds)
        if milliseconds == 0:
            raise UnsupportedQueryError(f"a {what} of less than a millisecond", start=self.start, end=self.end)
        return milliseconds


def ranged(operand: Expression, range_ms: int, *, opening: int, end: int) -> MatrixSelector:
    """Return a selector with a range, whose bracket is at `opening`.

    Raises: QuerySyntaxError.
    """
    place = {"start": opening, "end": end}
    if not isinstance(operand, VectorSelector):
        raise QuerySyntaxError("ranges only allowed for vector selectors", **place)
    if operand.offset_ms:
        raise QuerySyntaxError("no offset modifiers allowed before range", **place)
    if operand.at is not None and operand.at.anchor is AtAnchor.TIME:
        raise QuerySyntaxError("no @ modifiers allowed before range", **place)
    return MatrixSelector(operand, range_ms, operand.start, end)


def moved(operand: Expression, offset: Duration) -> Expression:
    """Return an expression with an offset.

    Raises: QuerySyntaxError.
    """
    vector = _selecting(operand, "offset")
    if vector.offset_ms:
        raise QuerySyntaxError("offset may not be set multiple times", start=operand.start, end=operand.end)
    if math.isnan(offset.seconds):
        raise QuerySyntaxError("duration out of range", start=offset.start, end=offset.end)
    changed = dataclasses.replace(vector, offset_ms=literals.duration_ms(offset.seconds))
    return _replaced(operand, changed, offset.end)


def anchored(operand: Expression, at: AtModifier) -> Expression:
    """Return an expression with a fixed time.

    Raises: QuerySyntaxError.
    """
    vector = _selecting(operand, "@")
    if vector.at is not None:
        raise QuerySyntaxError("@ <timestamp> may not be set multiple times", start=operand.start, end=operand.end)
    return _replaced(operand, dataclasses.replace(vector, at=at), at.end)


def at_time_ms(seconds: float, operand: Expression) -> int:
    """Return the milliseconds of the time after `@`.

    Raises: QuerySyntaxError at the operand.
    """
    milliseconds = seconds * 1000
    if not math.isfinite(seconds) or abs(milliseconds) >= _LATEST_MS:
        shown = f"{seconds:f}" if math.isfinite(seconds) else literals.number_text(seconds)
        said = f"timestamp out of bounds for @ modifier: {shown}"
        raise QuerySyntaxError(said, start=operand.start, end=operand.end)
    return int(math.copysign(math.floor(abs(milliseconds) + 0.5), milliseconds))


def _selecting(operand: Expression, modifier: str) -> VectorSelector | Subquery:
    """Return the node of which a modifier changes the time."""
    vector = operand.vector if isinstance(operand, MatrixSelector) else operand
    if not isinstance(vector, VectorSelector | Subquery):
        before = "an instant vector selector or range vector selector or a subquery"
        said = f"{modifier} modifier must be preceded by {before}"
        raise QuerySyntaxError(said, start=operand.start, end=operand.end)
    return vector


def _replaced(operand: Expression, changed: VectorSelector | Subquery, end: int) -> Expression:
    """Return the operand with its changed node, which reaches to `end` of the text."""
    if isinstance(operand, MatrixSelector):
        assert isinstance(changed, VectorSelector)  # noqa: S101 - a range has no other
        return dataclasses.replace(operand, vector=changed, end=end)
    return dataclasses.replace(changed, end=end)
