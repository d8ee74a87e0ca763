"""Samples leave by whole days after `storage.metrics_keep_days`; 0 keeps them, and takes any since 1970."""

import time

import pytest

from kobs.config import StorageSettings
from kobs.ingest.retention import Retention
from kobs.model.samples import Sample
from kobs.model.scope import Scope, Signal
from kobs.storage.clickhouse import Store
from tests.metric_frames import NOW_MS, Accepting, frame

pytestmark = pytest.mark.clickhouse

DAY_MS = 86_400_000
UP = {"__name__": "up", "job": "node"}


def expire(store: Store, *, keep_days: int, after_days: int = 0, scope: Scope | None = None) -> int:
    now = time.time() + after_days * 86_400
    settings = StorageSettings(metrics_keep_days=keep_days)
    return Retention(store, settings, scope=scope or Scope.all(), now=lambda: now).expire_samples_now()


def counts(store: Store) -> tuple[int, int]:
    sql = "SELECT (SELECT count() FROM metric_samples) AS samples, (SELECT count() FROM metric_series) AS series"
    found = store.select(sql).to_pylist()[0]
    return found["samples"], found["series"]


def store_days_ago(store: Store, *days: float, keep_days: int = 0) -> dict[str, int]:
    samples = [Sample(UP, NOW_MS - int(ago * DAY_MS), 1.0) for ago in days]
    with Accepting(store, storage=StorageSettings(metrics_keep_days=keep_days)) as accept:
        (answer,) = accept(frame(samples))
    return answer.rejected


def test_days_leave_when_all_of_them_is_over_and_series_with_their_week(store: Store) -> None:
    store_days_ago(store, 0, 3, 5, 30)
    assert counts(store) == (4, 4)
    # Two days of samples, and the week of the last one; that of 5 days ago may not be over.
    assert expire(store, keep_days=4) in (3, 4)
    samples, series = counts(store)
    assert samples == 2
    assert series in (2, 3)
    assert expire(store, keep_days=4) == 0


def test_a_day_is_kept_until_its_last_sample_is_over(store: Store) -> None:
    store_days_ago(store, 0)
    assert expire(store, keep_days=2, after_days=2) == 0
    expire(store, keep_days=2, after_days=3)
    assert counts(store)[0] == 0
    expire(store, keep_days=2, after_days=3 + 7)
    assert counts(store) == (0, 0)


def test_0_days_keep_for_ever(store: Store) -> None:
    samples = [Sample(UP, 0, 1.0), Sample(UP, 86_400_000 * 100, 2.0)]
    with Accepting(store, storage=StorageSettings(metrics_keep_days=0)) as accept:
        assert accept(frame(samples))[0].rejected == {}
    assert expire(store, keep_days=0, after_days=10_000) == 0
    assert counts(store) == (2, 2)


def test_what_is_older_than_kept_is_refused_on_arrival(store: Store) -> None:
    assert store_days_ago(store, 1, 5, keep_days=4) == {"expired_on_arrival": 1}
    assert counts(store) == (1, 1)


def test_samples_of_many_days_are_stored_in_as_many_inserts_as_it_takes(store: Store) -> None:
    assert store_days_ago(store, *range(130)) == {}
    assert counts(store) == (130, 130)


def test_a_scope_without_metrics_expires_none(store: Store) -> None:
    store_days_ago(store, 30)
    narrow = Scope(clusters=None, namespaces=None, signals=frozenset({Signal.LOGS}))
    assert expire(store, keep_days=1, scope=narrow) == 0
