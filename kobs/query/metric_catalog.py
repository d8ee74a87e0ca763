"""Answers which series, label names and values there are: selectors and a window arrive, sorted names leave.

Nothing is cut in silence: an answer that a given limit cuts says so, one that would exceed kobs's own limit is refused.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import orjson

from kobs.errors import LimitError
from kobs.model.scope import Scope
from kobs.query.interruption import Interruption, run_interruptibly
from kobs.query.promql.tree import Matcher, MatchOperator, VectorSelector
from kobs.storage import metric_catalog
from kobs.storage.clickhouse import Store
from kobs.storage.metric_catalog import Counted
from kobs.storage.metric_reads import LabelCondition, Selection

MOST_NAMES = 1_000_000
"""Series, label names or values of one answer."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Window:
    """Times from `start_ms` to `end_ms`, both included."""

    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Names:
    """Label names or values, sorted; `is_cut` where a limit left some out."""

    names: list[str]
    is_cut: bool


@dataclass(frozen=True, slots=True)
class LabelSets:
    """Label sets of series, sorted, each as a JSON object; `is_cut` where a limit left some out."""

    texts: list[str]
    is_cut: bool


@dataclass(frozen=True, slots=True)
class Metadata:
    """What one job says of a metric name."""

    metric: str
    job: str
    type: str
    unit: str
    help: str


@dataclass(frozen=True, slots=True)
class Cardinality:
    """How many series the last day with samples has, and where they come from; each list the greatest first."""

    series: int
    label_pairs: int
    parts: int
    """Data parts of that day."""
    first_ms: int
    last_ms: int
    metrics: list[tuple[str, int]]
    label_values: list[tuple[str, int]]
    label_bytes: list[tuple[str, int]]
    pairs: list[tuple[str, int]]


class MetricCatalog:
    """Questions on the series of a store."""

    def __init__(self, store: Store, *, timeout_seconds: float = 30.0) -> None:
        self._store = store
        self._timeout_seconds = timeout_seconds

    async def series(
        self, selectors: Sequence[VectorSelector], window: Window, scope: Scope, *, limit: int = 0
    ) -> LabelSets:
        """Return the label sets that any of the selectors selects and that have samples in a window.

        Raises: LimitError.
        """
        most = limit or MOST_NAMES

        def find(interruption: Interruption) -> LabelSets:
            found: list[list[str]] = []
            for selector in selectors:
                interruption.check()
                rows = metric_catalog.find_label_sets(
                    self._store,
                    scope,
                    _selection(selector, window),
                    limit=most + 1,
                    timeout_seconds=self._timeout_seconds,
                    comment=interruption.comment,
                )
                found.append(rows["text"].to_pylist())
            texts = found[0] if len(found) == 1 else _joined(found)
            if len(texts) > most and not limit:
                raise _too_many("series")
            return LabelSets(texts[:most], is_cut=len(texts) > most)

        return await run_interruptibly(self._store, find)

    async def label_names(
        self, selectors: Sequence[VectorSelector], window: Window, scope: Scope, *, limit: int = 0
    ) -> Names:
        """Return the label names of the series that any of the selectors selects, of all series without selectors.

        Raises: LimitError.
        """

        def find(selection: Selection, most: int, comment: str) -> list[str]:
            return metric_catalog.find_label_names(
                self._store, scope, selection, limit=most, timeout_seconds=self._timeout_seconds, comment=comment
            )

        return await self._names(find, selectors, window, limit=limit, what="label names")

    async def label_values(
        self, name: str, selectors: Sequence[VectorSelector], window: Window, scope: Scope, *, limit: int = 0
    ) -> Names:
        """Return the values of a label in the series that any of the selectors selects.

        Raises: LimitError.
        """

        def find(selection: Selection, most: int, comment: str) -> list[str]:
            return metric_catalog.find_label_values(
                self._store,
                scope,
                selection,
                name=name,
                limit=most,
                timeout_seconds=self._timeout_seconds,
                comment=comment,
            )

        return await self._names(find, selectors, window, limit=limit, what="label values")

    async def metadata(self, scope: Scope, *, metric: str = "") -> list[Metadata]:
        """Return what jobs say of metric names, by name and job."""

        def find(interruption: Interruption) -> list[Metadata]:
            rows = metric_catalog.find_metadata(self._store, scope, metric=metric, comment=interruption.comment)
            columns = [rows[name].to_pylist() for name in ("metric", "job", "type", "unit", "help")]
            return [Metadata(*row) for row in zip(*columns, strict=True)]

        return await run_interruptibly(self._store, find)

    async def cardinality(self, scope: Scope, *, limit: int) -> Cardinality | None:
        """Return where the series of the last day with samples come from; None for an empty store."""

        def find(interruption: Interruption) -> Cardinality | None:
            comment = interruption.comment
            day = metric_catalog.find_last_day(self._store, scope, comment=comment)
            if day is None:
                return None
            series, pairs = metric_catalog.count_series(self._store, scope, day=day, comment=comment)
            parts = metric_catalog.count_parts(self._store, scope, day=day, comment=comment)
            first_ms, last_ms = metric_catalog.find_time_range_ms(self._store, scope, day=day, comment=comment)
            lists = []
            for what in Counted:
                interruption.check()
                lists.append(
                    metric_catalog.count_by(self._store, scope, day=day, what=what, limit=limit, comment=comment)
                )
            return Cardinality(series, pairs, parts, first_ms, last_ms, *lists)

        return await run_interruptibly(self._store, find)

    async def _names(
        self,
        find: Callable[[Selection, int, str], list[str]],
        selectors: Sequence[VectorSelector],
        window: Window,
        *,
        limit: int,
        what: str,
    ) -> Names:
        most = limit or MOST_NAMES

        def ask(interruption: Interruption) -> Names:
            found: set[str] = set()
            for selection in _selections(selectors, window):
                interruption.check()
                found.update(find(selection, most + 1, interruption.comment))
            if len(found) > most and not limit:
                raise _too_many(what)
            return Names(sorted(found, key=str.encode)[:most], is_cut=len(found) > most)

        return await run_interruptibly(self._store, ask)


def conditions(matchers: Iterable[Matcher]) -> tuple[LabelCondition, ...]:
    """Return matchers as the store takes them."""
    return tuple(
        LabelCondition(
            matcher.name,
            matcher.value,
            is_pattern=matcher.operator in (MatchOperator.REGEX, MatchOperator.NOT_REGEX),
            is_negated=matcher.operator in (MatchOperator.NOT_EQUAL, MatchOperator.NOT_REGEX),
        )
        for matcher in matchers
    )


def _joined(found: Sequence[Sequence[str]]) -> list[str]:
    """Return the label sets that several selectors found, each once, in order."""
    return sorted(dict.fromkeys(chain.from_iterable(found)), key=_pairs_in_bytes)


def _pairs_in_bytes(text: str) -> list[tuple[bytes, bytes]]:
    """Return a label set as what it is ordered by: the engine and Prometheus compare bytes."""
    return [(name.encode(), value.encode()) for name, value in orjson.loads(text).items()]


def _selection(selector: VectorSelector, window: Window) -> Selection:
    return Selection(conditions(selector.matchers), window.start_ms - 1, window.end_ms)


def _selections(selectors: Sequence[VectorSelector], window: Window) -> list[Selection]:
    if not selectors:
        return [Selection((), window.start_ms - 1, window.end_ms)]
    return [_selection(selector, window) for selector in selectors]


def _too_many(what: str) -> LimitError:
    return LimitError(f"the answer has more than {MOST_NAMES} {what}, which is the limit; add matchers or give a limit")
