"""Reading which series there are: a selection arrives, ids leave; ids arrive, label sets leave.

Labels of an id never change, so that they can be remembered; which ids a selection has can change with every insert.
`read_revision` tells in a few milliseconds whether it did, for one metric.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kobs.model.scope import Scope, Signal
from kobs.storage.clickhouse import Store
from kobs.storage.label_index import LabelIndex, Labels
from kobs.storage.metric_reads import LabelCondition, Selection, day, series_condition

_NAME = "__name__"


class Revision(NamedTuple):
    """What differs when the series of a metric differ: how many rows tell of them, and the sum of their ids."""

    rows: int
    checksum: int


def read_revision(
    store: Store, scope: Scope, metric: str, *, after_ms: int, until_ms: int, comment: str = ""
) -> Revision | None:
    """Return the revision of a metric's series on the days of a time, None where the scope has no metrics.

    It is that of all its series, whatever clusters and namespaces the scope allows: it tells nothing of them.
    """
    if Signal.METRICS not in scope.signals:
        return None
    found = store.select(
        "SELECT count() AS rows, sum(fp) AS checksum FROM metric_series WHERE metric = {metric:String} "
        "AND day >= toDate({first_day:String}) AND day <= toDate({last_day:String})",
        {"metric": metric, "first_day": day(after_ms), "last_day": day(until_ms)},
        comment=comment,
    )
    return Revision(found["rows"][0].as_py(), found["checksum"][0].as_py())


def days(selection: Selection) -> tuple[str, str]:
    """Return the first and the last day on which a selection's series are looked for."""
    return day(selection.after_ms), day(selection.until_ms)


def find_series_ids(
    store: Store, scope: Scope, selection: Selection, *, limit: int, comment: str = ""
) -> NDArray[np.uint64]:
    """Return the ids of a selection's series, at most `limit`, in ascending order."""
    condition, parameters = series_condition(scope, selection)
    found = store.select(
        f"SELECT DISTINCT fp FROM metric_series WHERE {condition} LIMIT {int(limit)}", parameters, comment=comment
    )
    ids = found["fp"].to_numpy() if found.num_rows else np.zeros(0, dtype=np.uint64)
    return np.sort(ids.astype(np.uint64, copy=False))


def find_few_series(
    store: Store, scope: Scope, selection: Selection, *, limit: int, comment: str = ""
) -> dict[int, Labels] | None:
    """Return the label sets of a selection's series by their ids, None where there are more than `limit`."""
    condition, parameters = series_condition(scope, selection)
    rows = store.select(
        f"SELECT metric, fp, labels FROM metric_series WHERE {condition} LIMIT 1 BY fp LIMIT {int(limit) + 1}",
        parameters,
        comment=comment,
    )
    return _decoded(rows.combine_chunks()) if rows.num_rows <= limit else None


def read_label_index(
    store: Store, scope: Scope, metric: str, *, after_ms: int, until_ms: int, comment: str = ""
) -> LabelIndex:
    """Return an index of the labels of a metric's series that may have samples in (after, until]."""
    whole = Selection((LabelCondition(_NAME, metric, is_pattern=False, is_negated=False),), after_ms, until_ms)
    condition, parameters = series_condition(scope, whole)
    return LabelIndex(
        store.select(f"SELECT metric, fp, labels FROM metric_series WHERE {condition}", parameters, comment=comment)
    )


def read_label_sets(
    store: Store, scope: Scope, selection: Selection, ids: Sequence[int] | None = None, *, comment: str = ""
) -> dict[int, Labels]:
    """Return the label sets of a selection's series by their ids; where `ids` are given, those only."""
    condition, parameters = series_condition(scope, selection)
    if ids is not None:
        condition += " AND fp IN {ids:Array(UInt64)}"
        parameters["ids"] = ids
    rows = store.select(f"SELECT metric, fp, labels FROM metric_series WHERE {condition}", parameters, comment=comment)
    return _decoded(rows.combine_chunks())


def _decoded(rows: pa.Table) -> dict[int, Labels]:
    """Return the label sets of rows; a series has a row for each day."""
    if not rows.num_rows:
        return {}
    ids, firsts = np.unique(rows["fp"].to_numpy(), return_index=True)
    maps = rows["labels"].chunk(0)
    offsets = maps.offsets.to_numpy()
    names = _shared(maps.keys)
    values = _shared(maps.items)
    metrics = _shared(rows["metric"].chunk(0))
    decoded: dict[int, Labels] = {}
    for number, row in zip(ids.tolist(), firsts.tolist(), strict=True):
        start, end = offsets[row], offsets[row + 1]
        pairs = [(_NAME, metrics[row]), *zip(names[start:end], values[start:end], strict=True)]
        pairs.sort()
        decoded[number] = tuple(pair for pair in pairs if pair[1])
    return decoded


def _shared(texts: pa.Array) -> list[str]:
    """Return texts as Python strings, equal ones being one object: label sets are kept for long."""
    encoded = texts.dictionary_encode() if not pa.types.is_dictionary(texts.type) else texts
    words = np.array([*encoded.dictionary.to_pylist(), ""], dtype=object)
    taken: list[str] = words[encoded.indices.to_numpy(zero_copy_only=False)].tolist()
    return taken
