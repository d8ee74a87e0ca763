"""Which series a selector has, remembered: a selector arrives, ids of series and their label sets leave.

Labels of an id never change: they are kept, the least used are forgotten first; so are the label sets of the same ids
asked for together, with what queries work out from them. The ids of a selector are kept together
with the revision of their metric's series, which is asked for each time: a panel that is asked for again and again
costs a look at the revision instead of a search. A metric that is searched again and again by other labels gets an
index of them. Selectors without a metric's name are searched for each time. Ids are
kept for each scope by itself; labels are looked up only for ids that a scope has found. One object serves all queries
of a process, from any thread.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from kobs.errors import RetryableError
from kobs.model.labels import METRIC_NAME
from kobs.model.scope import Scope
from kobs.query.promql.tree import Matcher, MatchOperator, VectorSelector
from kobs.query.promql.values import Labels, LabelSets
from kobs.storage import metric_series_reads
from kobs.storage.clickhouse import Store
from kobs.storage.label_index import LabelIndex
from kobs.storage.metric_reads import LabelCondition, Selection
from kobs.storage.metric_series_reads import Revision

_MOST_LABEL_SETS = 200_000
"""About 150 MB of label sets, and for half as many 100 MB of what was worked out from them: groups, JSON."""
_MOST_IDS = 2_000_000
"""16 MB of ids."""
_MOST_INDEXES = 1_000
_MOST_INDEXED_ROWS = 500_000
_MOST_INDEXED_LABELS = 5_000_000
"""About 100 MB of indexes, with their texts."""
_SEARCHES_BEFORE_INDEX = 2
"""Making an index takes as long as some searches."""
_EVERYTHING = Scope.all()
_FEW_IDS = 1_000
"""Up to so many label sets are looked up by their ids, more by the whole selection."""


@dataclass(frozen=True, slots=True)
class Found:
    """The series of a selector, by their ids in ascending order."""

    ids: NDArray[np.uint64]
    metrics: tuple[str, ...]
    """The names of their metrics."""
    is_whole_metric: bool
    """Whether they are all series of their one metric."""
    selection: Selection
    scope: Scope
    groups: "dict[tuple[tuple[str, ...], bool, frozenset[str]], Groups]" = field(default_factory=dict)
    """Groupings that were worked out before, by what `groups` is asked."""

    @classmethod
    def nothing(cls, scope: Scope) -> "Found":
        """Return no series."""
        return cls(np.zeros(0, np.uint64), (), is_whole_metric=False, selection=Selection((), 0, 0), scope=scope)


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups of series: the labels of each group, and the number of each series' group. Shape: numbers (S,)."""

    labels: tuple[Labels, ...]
    numbers: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Known:
    """What was found, and what must be as it was for it to hold: the store's changes, or else the metric's revision."""

    revision: Revision | None
    changes: int | None
    found: Found

    def weight(self) -> int:
        """Return its share of what may be remembered; an empty one takes memory too."""
        return len(self.found.ids) + 100


@dataclass(frozen=True, slots=True)
class _Indexed:
    """The index of a metric's labels on some days, and what must be as it was for it to hold."""

    index: LabelIndex | None = None
    revision: Revision | None = None
    changes: int | None = None
    searches: int = 0


class SeriesMemory:
    """Finds series and remembers them."""

    def __init__(self, store: Store, *, most_label_sets: int = _MOST_LABEL_SETS, most_ids: int = _MOST_IDS) -> None:
        self._store = store
        self._most_label_sets = most_label_sets
        self._most_ids = most_ids
        self._lock = threading.Lock()
        self._labels: OrderedDict[int, Labels] = OrderedDict()
        self._together: OrderedDict[bytes, LabelSets] = OrderedDict()
        self._together_count = 0
        self._found: OrderedDict[object, _Known] = OrderedDict()
        self._indexes: OrderedDict[object, _Indexed] = OrderedDict()
        self._ids = 0

    def find(
        self, scope: Scope, selector: VectorSelector, *, after_ms: int, until_ms: int, limit: int, comment: str = ""
    ) -> Found:
        """Return the series of a selector that may have samples in (after, until], at most `limit` and one."""
        selection = Selection(tuple(condition(each) for each in selector.matchers), after_ms, until_ms)
        metric = selector.metric_name()
        if metric is None:
            ids = self._search(scope, selection, limit=limit, comment=comment)
            unnamed = Found(ids, (), is_whole_metric=False, selection=selection, scope=scope)
            if len(ids) > limit:
                return unnamed
            names = {dict(labels).get(METRIC_NAME, "") for labels in self.labels(unnamed, comment=comment)}
            return Found(ids, tuple(sorted(names)), is_whole_metric=False, selection=selection, scope=scope)
        key = (scope, selection.conditions, metric_series_reads.days(selection), limit)
        changes = self._store.changes("metric_series")
        with self._lock:
            known = self._found.get(key)
            if known is not None and changes is not None and known.changes == changes:
                self._found.move_to_end(key)
                return known.found
        revision = None
        if known is not None or changes is None:
            # Who asks for the first time, and knows of each change, has nothing to compare it with.
            revision = metric_series_reads.read_revision(
                self._store, scope, metric, after_ms=after_ms, until_ms=until_ms, comment=comment
            )
        if known is not None and revision is not None and known.revision == revision:
            self._remember(key, _Known(revision, changes, known.found))
            return known.found
        indexed = self._search_index(scope, metric, selection, changes, revision, limit=limit, comment=comment)
        ids = self._search(scope, selection, limit=limit, comment=comment) if indexed is None else indexed
        is_whole = len(selection.conditions) == 1 and scope.clusters is None and scope.namespaces is None
        found = Found(ids, (metric,), is_whole_metric=is_whole, selection=selection, scope=scope)
        if revision is not None or changes is not None:
            self._remember(key, _Known(revision, changes, found))
        return found

    def _search_index(
        self,
        scope: Scope,
        metric: str,
        selection: Selection,
        changes: int | None,
        revision: Revision | None,
        *,
        limit: int,
        comment: str,
    ) -> NDArray[np.uint64] | None:
        """Return the ids of a selection's series from the index of their metric's labels, at most `limit` and one.

        None where the store has to be asked: there is no index yet, or it cannot tell. An index is made when a metric
        is searched for the third time since its series changed last. `revision` is that of the metric, if it was read.
        """
        wanted = _plain_labels(selection, metric)
        if changes is None or wanted is None or scope != _EVERYTHING:
            return None
        after_ms, until_ms = selection.after_ms, selection.until_ms
        key = (metric, metric_series_reads.days(selection))
        with self._lock:
            known = self._indexes.pop(key, None) or _Indexed()
            self._indexes[key] = known
            while len(self._indexes) > _MOST_INDEXES:
                self._indexes.popitem(last=False)
        if known.changes != changes:
            if revision is None:
                revision = metric_series_reads.read_revision(
                    self._store, scope, metric, after_ms=after_ms, until_ms=until_ms, comment=comment
                )
            if revision != known.revision:
                known = _Indexed(revision=revision)
            known = replace(known, changes=changes)
        if known.index is None and known.searches < _SEARCHES_BEFORE_INDEX:
            known = replace(known, searches=known.searches + 1)
        elif known.index is None and known.revision is not None and known.revision.rows <= _MOST_INDEXED_ROWS:
            index = metric_series_reads.read_label_index(
                self._store, scope, metric, after_ms=after_ms, until_ms=until_ms, comment=comment
            )
            known = replace(known, index=index)
        with self._lock:
            self._indexes[key] = known
            self._forget_indexes()
        if known.index is None:
            return None
        ids = known.index.find(wanted)[: limit + 1]
        if len(ids) <= _FEW_IDS:
            label_sets = known.index.labels(wanted)
            self._remember_labels(list(label_sets), list(label_sets.values()))
        return ids

    def _forget_indexes(self) -> None:
        while sum(len(each.index) for each in self._indexes.values() if each.index is not None) > _MOST_INDEXED_LABELS:
            self._indexes.popitem(last=False)

    def _search(self, scope: Scope, selection: Selection, *, limit: int, comment: str) -> NDArray[np.uint64]:
        """Return the ids of a selection's series, at most `limit` and one; of few the labels are read along."""
        few = metric_series_reads.find_few_series(
            self._store, scope, selection, limit=min(_FEW_IDS, limit + 1), comment=comment
        )
        if few is None:
            return metric_series_reads.find_series_ids(self._store, scope, selection, limit=limit + 1, comment=comment)
        self._remember_labels(list(few), list(few.values()))
        return np.sort(np.fromiter(few, np.uint64, len(few)))

    def labels(self, found: Found, ids: NDArray[np.uint64] | None = None, *, comment: str = "") -> LabelSets:
        """Return the label sets of found series, or of some of them."""
        asked = found.ids if ids is None else ids
        key = hashlib.blake2b(asked.tobytes(), digest_size=16).digest()
        with self._lock:
            together = self._together.get(key)
            if together is not None:
                self._together.move_to_end(key)
                return together
        label_sets = LabelSets(self._labels_of(found, asked.tolist(), comment=comment))
        with self._lock:
            if key not in self._together:
                self._together[key] = label_sets
                self._together_count += len(label_sets)
            while self._together_count > self._most_label_sets // 2:
                _, forgotten = self._together.popitem(last=False)
                self._together_count -= len(forgotten)
        return label_sets

    def _labels_of(self, found: Found, wanted: list[int], *, comment: str) -> list[Labels]:
        with self._lock:
            known = self._labels
            missing = [each for each in wanted if each not in known]
            taken = [known.get(each) for each in wanted]
        if missing:
            few = missing if len(missing) <= _FEW_IDS else None
            read = metric_series_reads.read_label_sets(self._store, found.scope, found.selection, few, comment=comment)
            taken = [
                labels if labels is not None else read.get(each) for each, labels in zip(wanted, taken, strict=True)
            ]
        result = [labels for labels in taken if labels is not None]
        if len(result) < len(wanted):
            raise RetryableError("some series expired while they were read")
        self._remember_labels(wanted, result)
        return result

    def groups(
        self,
        found: Found,
        labels: tuple[str, ...],
        *,
        is_without: bool,
        dropped: frozenset[str],
        comment: str = "",
    ) -> Groups:
        """Return the groups of found series `by` some labels or `without` them, after some labels were dropped."""
        key = (labels, is_without, dropped)
        known = found.groups.get(key)
        if known is not None:
            return known
        named = frozenset(labels)
        numbers: dict[Labels, int] = {}
        of_series = np.empty(len(found.ids), dtype=np.int64)
        for at, each in enumerate(self.labels(found, comment=comment)):
            group = tuple([pair for pair in each if (pair[0] in named) != is_without and pair[0] not in dropped])
            of_series[at] = numbers.setdefault(group, len(numbers))
        groups = Groups(tuple(numbers), of_series)
        found.groups[key] = groups
        return groups

    def _remember(self, key: object, known: "_Known") -> None:
        with self._lock:
            before = self._found.pop(key, None)
            if before is not None:
                self._ids -= before.weight()
            self._found[key] = known
            self._ids += known.weight()
            while self._ids > self._most_ids and len(self._found) > 1:
                _, forgotten = self._found.popitem(last=False)
                self._ids -= forgotten.weight()

    def _remember_labels(self, ids: Sequence[int], labels: Sequence[Labels]) -> None:
        with self._lock:
            for each, its_labels in zip(ids, labels, strict=True):
                self._labels[each] = its_labels
                self._labels.move_to_end(each)
            while len(self._labels) > self._most_label_sets:
                self._labels.popitem(last=False)


def _plain_labels(selection: Selection, metric: str) -> list[tuple[str, str]] | None:
    """Return the labels that a selection's series must have beside the metric's name, None where it asks otherwise."""
    wanted = []
    for each in selection.conditions:
        if each.is_pattern or each.is_negated or not each.value:
            return None
        if each.name != METRIC_NAME:
            wanted.append((each.name, each.value))
        elif each.value != metric:
            return None
    return wanted or None


def condition(matcher: Matcher) -> LabelCondition:
    """Return a matcher as the store takes it."""
    return LabelCondition(
        matcher.name,
        matcher.value,
        is_pattern=matcher.operator in (MatchOperator.REGEX, MatchOperator.NOT_REGEX),
        is_negated=matcher.operator in (MatchOperator.NOT_EQUAL, MatchOperator.NOT_REGEX),
    )
