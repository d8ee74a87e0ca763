"""Series, label names and values: which there are in a window, what a reader may see, and how an answer is cut."""

import asyncio
import random

import orjson
import pytest

from kobs.model.samples import Sample
from kobs.model.scope import Scope, Signal
from kobs.query.metric_catalog import Cardinality, MetricCatalog, Window
from kobs.query.promql.parser import parse
from kobs.query.promql.tree import VectorSelector
from kobs.query.promql.values import Labels
from kobs.storage.clickhouse import Store
from tests.metric_frames import NOW_MS, store_samples

pytestmark = pytest.mark.clickhouse

DAY_MS = 86_400_000
MIDNIGHT_MS = NOW_MS // DAY_MS * DAY_MS
EVERYTHING = Scope.all()


def selector(text: str) -> VectorSelector:
    found = parse(text)
    assert isinstance(found, VectorSelector)
    return found


def series(
    store: Store, window: tuple[int, int], *texts: str, limit: int = 0, scope: Scope = EVERYTHING
) -> list[Labels]:
    question = MetricCatalog(store).series([selector(text) for text in texts], Window(*window), scope, limit=limit)
    return [tuple(orjson.loads(text).items()) for text in asyncio.run(question).texts]


def names(store: Store, *texts: str, scope: Scope = EVERYTHING) -> list[str]:
    window = Window(MIDNIGHT_MS - 5 * DAY_MS, NOW_MS)
    return asyncio.run(MetricCatalog(store).label_names([selector(text) for text in texts], window, scope)).names


def values(store: Store, name: str, *texts: str, scope: Scope = EVERYTHING) -> list[str]:
    window = Window(MIDNIGHT_MS - 5 * DAY_MS, NOW_MS)
    found = MetricCatalog(store).label_values(name, [selector(text) for text in texts], window, scope)
    return asyncio.run(found).names


def up(instance: str, time_ms: int) -> Sample:
    return Sample({"__name__": "up", "instance": instance}, time_ms, 1.0)


def test_a_series_counts_where_it_has_a_sample_in_the_window(store: Store) -> None:
    """Days that lie within the window count whole, of its first and last day only the part within it."""
    numbers = random.Random(3)
    edges = [MIDNIGHT_MS - 3 * DAY_MS, MIDNIGHT_MS - 2 * DAY_MS, MIDNIGHT_MS - DAY_MS]
    times = sorted({edge + shift for edge in edges for shift in (-1, 0, 1, 3_600_000, 7_000_123)})
    store_samples(store, [up(str(time_ms), time_ms) for time_ms in times])
    bounds = [time_ms + shift for time_ms in times for shift in (-1, 0, 1)]
    for _ in range(60):
        start_ms, end_ms = sorted(numbers.sample(bounds, 2))
        found = [int(dict(labels)["instance"]) for labels in series(store, (start_ms, end_ms), "up")]
        assert sorted(found) == [time_ms for time_ms in times if start_ms <= time_ms <= end_ms], (start_ms, end_ms)


def test_a_series_of_many_samples_and_selectors_comes_once(store: Store) -> None:
    store_samples(store, [up("a", MIDNIGHT_MS - day * DAY_MS) for day in range(4)] + [up("b", MIDNIGHT_MS)])
    window = (MIDNIGHT_MS - 3 * DAY_MS, MIDNIGHT_MS)
    a, b = (("__name__", "up"), ("instance", "a")), (("__name__", "up"), ("instance", "b"))
    assert series(store, window, "up", '{instance="a"}') == [a, b]
    assert series(store, window, 'up{instance!="a"}') == [b]
    assert series(store, window, 'up{instance=~"a|b"}', limit=1) == [a]


def test_an_answer_says_that_a_limit_cut_it(store: Store) -> None:
    store_samples(store, [up(instance, MIDNIGHT_MS) for instance in "abc"])
    catalog, window = MetricCatalog(store), Window(MIDNIGHT_MS, NOW_MS)
    for limit, is_cut in ((2, True), (3, False), (0, False)):
        assert asyncio.run(catalog.series([selector("up")], window, EVERYTHING, limit=limit)).is_cut is is_cut
        found = asyncio.run(catalog.label_values("instance", [], window, EVERYTHING, limit=limit))
        assert (found.names, found.is_cut) == (list("abc")[: limit or 3], is_cut)


def test_names_and_values_are_sorted_and_of_the_selected_series(store: Store) -> None:
    store_samples(
        store,
        [
            Sample({"__name__": "up", "job": "ä", "instance": "1"}, MIDNIGHT_MS, 1.0),
            Sample({"__name__": "up", "job": "Z", "größe": "2"}, MIDNIGHT_MS, 1.0),
            Sample({"__name__": "load", "cpu": "0"}, MIDNIGHT_MS, 1.0),
        ],
    )
    assert names(store) == ["__name__", "cpu", "größe", "instance", "job"]
    assert names(store, "load") == ["__name__", "cpu"]
    assert names(store, "load", 'up{job="ä"}') == ["__name__", "cpu", "instance", "job"]
    assert names(store, "none") == []
    assert values(store, "job") == ["Z", "ä"]
    assert values(store, "job", '{instance!=""}') == ["ä"]
    assert values(store, "__name__") == ["load", "up"]
    assert values(store, "größe") == ["2"]
    assert values(store, "missing") == []


@pytest.mark.parametrize("texts", [('{job=~".+"}',), ('{half="0"}', '{job=~".+"}')], ids=["one", "two"])
def test_label_sets_come_in_the_order_of_their_bytes_whatever_characters_they_have(
    store: Store, texts: tuple[str, ...]
) -> None:
    odd = ["a/b", 'quo"te', "back\\slash", "line\nfeed", "\u2028", "\x01", "z", "Z", "é", "\U0001f600", "\uffff", ""]
    labels = [{"__name__": "up", "job": "a", "half": "01"[index % 2], "odd": value} for index, value in enumerate(odd)]
    labels += [
        {"__name__": "up", "job": "a", "A": "1"},
        {"__name__": "up", "job": "a"},
        {"__name__": "down", "job": "a"},
    ]
    store_samples(store, [Sample(each, NOW_MS, 1.0) for each in labels])

    def in_bytes(pairs: Labels) -> list[tuple[bytes, bytes]]:
        return [(name.encode(), value.encode()) for name, value in pairs]

    wanted = sorted((tuple(sorted((n, v) for n, v in each.items() if v)) for each in labels), key=in_bytes)
    assert series(store, (NOW_MS - 1000, NOW_MS), *texts) == wanted


def test_a_reader_gets_what_its_scope_allows(store: Store) -> None:
    for namespace in ("shop", "bank"):
        labels = {"__name__": f"{namespace}_total", "namespace": namespace, "cluster": "east"}
        store_samples(store, [Sample(labels, MIDNIGHT_MS, 1.0)])
    shop = Scope(clusters=frozenset({"east"}), namespaces=frozenset({"shop"}), signals=frozenset(Signal))
    window = (MIDNIGHT_MS, NOW_MS)
    assert len(series(store, window, '{cluster="east"}')) == 2
    assert [dict(labels)["namespace"] for labels in series(store, window, '{cluster="east"}', scope=shop)] == ["shop"]
    assert values(store, "__name__", scope=shop) == ["shop_total"]
    assert values(store, "namespace", scope=Scope(None, None, frozenset({Signal.LOGS}))) == []


def test_cardinality_is_that_of_the_last_day(store: Store) -> None:
    assert cardinality(store) is None
    store_samples(store, [up("old", MIDNIGHT_MS - DAY_MS)])
    for cpu in range(3):
        store_samples(store, [Sample({"__name__": "load", "cpu": str(cpu)}, MIDNIGHT_MS + 10, 1.0)])
    store_samples(store, [up("new", MIDNIGHT_MS)])
    found = cardinality(store)
    assert found is not None
    assert (found.series, found.label_pairs) == (4, 6)
    assert (found.first_ms, found.last_ms) == (MIDNIGHT_MS, MIDNIGHT_MS + 10)
    assert found.metrics == [("load", 3), ("up", 1)]
    assert found.label_values == [("cpu", 3), ("__name__", 2)]
    assert found.label_bytes == [("__name__", 6), ("cpu", 3)]
    assert found.pairs == [("__name__=load", 3), ("__name__=up", 1)]
    assert found.parts >= 1


def cardinality(store: Store) -> Cardinality | None:
    return asyncio.run(MetricCatalog(store).cardinality(EVERYTHING, limit=2))
