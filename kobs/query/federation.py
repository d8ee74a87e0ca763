"""The newest samples of selected series, as another server takes them over."""

from collections.abc import Sequence
from dataclasses import dataclass

from kobs.errors import LimitError
from kobs.model.labels import METRIC_NAME
from kobs.model.scope import Scope
from kobs.query.interruption import Interruption, run_interruptibly
from kobs.query.metric_catalog import conditions
from kobs.query.promql.tree import VectorSelector
from kobs.query.promql.values import Labels
from kobs.storage.clickhouse import Store
from kobs.storage.metric_reads import Selection
from kobs.storage.newest_samples import find_newest

MOST_SERIES = 1_000_000
LOOKBACK_MS = 300_000


@dataclass(frozen=True, slots=True)
class NewestSample:
    """A series' newest sample; `time_ms` is its own time."""

    labels: Labels
    time_ms: int
    value: float


class Federation:
    """The newest samples of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def newest(self, selectors: Sequence[VectorSelector], time_ms: int, scope: Scope) -> list[NewestSample]:
        """Return the newest sample, not older than five minutes, of each series that any of the selectors selects.

        In the order of metric names and labels. Series that ended are left out.

        Raises: LimitError.
        """

        def find(interruption: Interruption) -> list[NewestSample]:
            found: dict[int, NewestSample] = {}
            for selector in selectors:
                interruption.check()
                selection = Selection(conditions(selector.matchers), time_ms - LOOKBACK_MS, time_ms)
                rows = find_newest(self._store, scope, selection, limit=MOST_SERIES + 1, comment=interruption.comment)
                names = ("fp", "metric", "label_set", "time_ms", "newest")
                for fp, metric, labels, at, value in zip(*(rows[name].to_pylist() for name in names), strict=True):
                    found[fp] = NewestSample(tuple(sorted([(METRIC_NAME, metric), *labels])), at, value)
            if len(found) > MOST_SERIES:
                raise LimitError(f"the answer has more than {MOST_SERIES} series, which is the limit; add matchers")
            return sorted(found.values(), key=lambda sample: (dict(sample.labels)[METRIC_NAME], sample.labels))

        return await run_interruptibly(self._store, find)
