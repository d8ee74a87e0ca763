"""The newest sample of each series, with its own time."""

import pyarrow as pa

from kobs.model.samples import STALE_NAN_BITS
from kobs.model.scope import Scope
from kobs.storage.clickhouse import Store
from kobs.storage.metric_reads import Selection, moment, series_condition


def find_newest(store: Store, scope: Scope, selection: Selection, *, limit: int, comment: str = "") -> pa.Table:
    """Return the newest sample of each series of a selection in its time, at most `limit`; series that ended have none.

    Of different values at one time the greatest counts, where a NaN is less than every number and a stale marker less
    than a NaN.

    Shape: metric string, fp uint64, label_set map<string, string> without `__name__`, time_ms int64, newest float64.
    """
    condition, parameters = series_condition(scope, selection)
    parameters |= {"after": moment(selection.after_ms), "until": moment(selection.until_ms)}
    stale = f"reinterpretAsUInt64(value) = {STALE_NAN_BITS}"
    return store.select(
        "SELECT s.metric AS metric, s.fp AS fp, s.label_set AS label_set, n.time_ms AS time_ms, n.newest AS newest "
        "FROM ("
        "SELECT fp, toUnixTimestamp64Milli(max(ts)) AS time_ms, argMax(value, (ts, rank, number)) AS newest, "
        "argMax(rank, (ts, rank, number)) AS newest_rank FROM ("
        f"SELECT fp, ts, value, multiIf({stale}, 0, isNaN(value), 1, 2) AS rank, if(rank = 2, value, 0) AS number "
        f"FROM metric_samples WHERE metric IN (SELECT metric FROM metric_series WHERE {condition}) "
        f"AND fp IN (SELECT fp FROM metric_series WHERE {condition}) "
        "AND ts > {after:DateTime64(3, 'UTC')} AND ts <= {until:DateTime64(3, 'UTC')}"
        ") GROUP BY fp HAVING newest_rank > 0) AS n INNER JOIN ("
        f"SELECT metric, fp, any(labels) AS label_set FROM metric_series WHERE {condition} GROUP BY metric, fp"
        f") AS s ON s.fp = n.fp LIMIT {int(limit)}",
        parameters,
        comment=comment,
    )
