"""Reading what agents scrape: the newest report of each agent that is not silent."""

import datetime as dt

import pyarrow as pa

from kobs.model.scope import Scope, Signal
from kobs.storage.clickhouse import Store
from kobs.storage.scope import where

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def find_targets(store: Store, scope: Scope, *, since_ms: int, limit: int) -> pa.Table:
    """Return the targets of reports that came since a time, by pool and URL.

    Shape: state, pool, url, global_url string, discovered, labels map<string, string>, health, error string,
    started_ns int64, seconds float64, scrape_interval, scrape_timeout string.
    """
    namespace = "if(state = 'active', labels['namespace'], discovered['__meta_kubernetes_namespace'])"
    condition, parameters = where(scope, Signal.METRICS, namespace=namespace)
    return store.select(
        "SELECT state, pool, url, global_url, discovered, labels, health, error, started_ns, seconds, "
        "scrape_interval, scrape_timeout FROM scrape_targets FINAL "
        "WHERE (cluster, node, seen) IN (SELECT cluster, node, max(seen) FROM scrape_reports "
        "WHERE seen >= {since:DateTime64(3, 'UTC')} GROUP BY cluster, node) "
        f"AND {condition} ORDER BY state, pool, url, identity LIMIT {int(limit)}",
        {**parameters, "since": _moment(since_ms)},
    )


def find_dropped_counts(store: Store, scope: Scope, *, since_ms: int) -> dict[str, int]:
    """Return how many targets the rules of each pool drop, over all agents that are not silent.

    The counts are of all namespaces, so that who may see some of them only is told none.
    """
    condition, parameters = where(scope, Signal.METRICS, namespace="''")
    found = store.select(
        "SELECT pool, sum(count) AS dropped FROM (SELECT cluster, node, argMax(dropped_counts, seen) AS counts "
        f"FROM scrape_reports WHERE seen >= {{since:DateTime64(3, 'UTC')}} AND {condition} GROUP BY cluster, node) "
        "ARRAY JOIN mapKeys(counts) AS pool, mapValues(counts) AS count GROUP BY pool ORDER BY pool",
        {**parameters, "since": _moment(since_ms)},
    )
    return dict(zip(found.column("pool").to_pylist(), found.column("dropped").to_pylist(), strict=True))


def _moment(time_ms: int) -> dt.datetime:
    return _EPOCH + dt.timedelta(milliseconds=time_ms)
