"""Samples count once however often they were written, and only what a scope allows is read."""

import math
import struct

import pyarrow as pa
import pytest

from kobs.model.labels import METRIC_NAME, fingerprint
from kobs.model.samples import STALE_NAN_BITS, Sample
from kobs.model.scope import Scope, Signal
from kobs.storage.clickhouse import Store
from kobs.storage.metric_reads import Grid, LabelCondition, Selection, find_series, read_last_on_grid, read_samples
from kobs.storage.metric_writes import SAMPLE_ROWS, write_samples
from tests.metric_frames import BASE_MS, store_samples

pytestmark = pytest.mark.clickhouse

STALE = struct.unpack("<d", struct.pack("<Q", STALE_NAN_BITS))[0]
EVERYTHING = Scope.all()
UP = LabelCondition(METRIC_NAME, "up", is_pattern=False, is_negated=False)


def selection(*conditions: LabelCondition, after_ms: int = BASE_MS - 600_000, until_ms: int = BASE_MS) -> Selection:
    return Selection(conditions or (UP,), after_ms, until_ms)


def up(**labels: str) -> dict[str, str]:
    return {METRIC_NAME: "up", **labels}


def last(store: Store, scope: Scope = EVERYTHING, *conditions: LabelCondition) -> list[float | None]:
    """Return the values at BASE_MS, by series."""
    chosen = selection(*conditions, after_ms=BASE_MS - 300_000)
    series = find_series(store, scope, chosen, limit=10_000)
    grid = Grid(BASE_MS, BASE_MS, 1)
    found = read_last_on_grid(store, scope, chosen, series, grid=grid, window_ms=300_000)
    return [points[0] for points in found["points"].to_pylist()]


def samples(store: Store, scope: Scope = EVERYTHING) -> list[tuple[int, float]]:
    chosen = selection()
    series = find_series(store, scope, chosen, limit=10_000)
    found = read_samples(store, scope, chosen, series, limit=1000)
    return list(zip(found["time_ms"].to_pylist(), found["greatest"].to_pylist(), strict=True))


VALUES_AT_ONE_TIME = (
    ((1.0, 1.0, 1.0), 1.0),
    ((1.0, 3.0, 2.0), 3.0),
    ((3.0, 2.0), 3.0),
    ((-5.0, math.nan), -5.0),
    ((math.nan, -5.0), -5.0),
    ((-math.inf, math.nan), -math.inf),
    ((STALE, -1.0), -1.0),
    ((-1.0, STALE), -1.0),
    ((math.inf, 1e300), math.inf),
)


def test_of_values_at_one_time_the_greatest_counts(store: Store) -> None:
    """Written one after another and so in different parts, whichever comes first."""
    for turn in range(3):
        written = [
            Sample(up(case=str(case)), BASE_MS - 1000, values[turn])
            for case, (values, _) in enumerate(VALUES_AT_ONE_TIME)
            if turn < len(values)
        ]
        store_samples(store, written)
    for case, (_, expected) in enumerate(VALUES_AT_ONE_TIME):
        of_case = LabelCondition("case", str(case), is_pattern=False, is_negated=False)
        assert last(store, EVERYTHING, UP, of_case) == [expected]
    found = [value for _, value in samples(store)]
    assert sorted(found) == sorted(expected for _, expected in VALUES_AT_ONE_TIME)


def test_a_stale_marker_ends_a_series_and_a_nan_does_not(store: Store) -> None:
    times = [Sample(up(a=kind), BASE_MS - 60_000, 1.0) for kind in ("stale", "nan", "back")]
    ends = [Sample(up(a="stale"), BASE_MS - 30_000, STALE), Sample(up(a="nan"), BASE_MS - 30_000, math.nan)]
    back = [Sample(up(a="back"), BASE_MS - 30_000, STALE), Sample(up(a="back"), BASE_MS - 15_000, 2.0)]
    store_samples(store, times + ends + back)
    by_kind = {}
    for kind in ("stale", "nan", "back"):
        (by_kind[kind],) = last(store, EVERYTHING, UP, LabelCondition("a", kind, is_pattern=False, is_negated=False))
    assert by_kind["stale"] is None
    assert by_kind["nan"] is not None
    assert math.isnan(by_kind["nan"])
    assert by_kind["back"] == 2.0
    assert len(samples(store)) == 5


def test_windows_are_open_at_their_beginning(store: Store) -> None:
    store_samples(store, [Sample(up(), BASE_MS - 300_000, 1.0)])
    chosen = selection()
    series = find_series(store, EVERYTHING, chosen, limit=10)
    grid = Grid(BASE_MS - 300_001, BASE_MS + 1, 100_000)
    (points,) = read_last_on_grid(store, EVERYTHING, chosen, series, grid=grid, window_ms=300_000)["points"].to_pylist()
    assert points == [None, 1.0, 1.0, 1.0]
    assert last(store) == []
    chosen = selection(after_ms=BASE_MS - 300_000)
    assert read_samples(store, EVERYTHING, chosen, series, limit=10).num_rows == 0
    chosen = selection(after_ms=BASE_MS - 300_001, until_ms=BASE_MS - 300_000)
    assert read_samples(store, EVERYTHING, chosen, series, limit=10).num_rows == 1


def test_conditions_on_labels(store: Store) -> None:
    values = ("", "b", "bb", "é", "x\ny", "'\\")
    store_samples(store, [Sample(up(a=value), BASE_MS - 1000, 1.0) for value in values])

    def found(name: str, value: str, *, is_pattern: bool = False, is_negated: bool = False) -> set[str]:
        condition = LabelCondition(name, value, is_pattern=is_pattern, is_negated=is_negated)
        series = find_series(store, EVERYTHING, selection(UP, condition), limit=100)
        return {dict(labels).get("a", "") for labels in series["label_set"].to_pylist()}

    assert found("a", "b") == {"b"}
    assert found("a", "'\\") == {"'\\"}
    assert found("a", "b", is_negated=True) == {"", "bb", "é", "x\ny", "'\\"}
    assert found("a", "") == {""}
    assert found("a", "", is_negated=True) == {"b", "bb", "é", "x\ny", "'\\"}
    assert found("no such label", "") == set(values)
    assert found("a", "b", is_pattern=True) == {"b"}
    assert found("a", "b|bb", is_pattern=True) == {"b", "bb"}
    assert found("a", ".", is_pattern=True) == {"b", "é"}
    assert found("a", "x.y", is_pattern=True) == {"x\ny"}
    assert found("a", "(?i)É", is_pattern=True) == {"é"}
    assert found("a", "b*", is_pattern=True, is_negated=True) == {"é", "x\ny", "'\\"}
    assert found(METRIC_NAME, "u.", is_pattern=True) == set(values)
    assert found(METRIC_NAME, "u.", is_pattern=True, is_negated=True) == set()


def test_a_series_is_found_by_the_days_of_its_samples(store: Store) -> None:
    store_samples(store, [Sample(up(), BASE_MS - 3 * 86_400_000, 1.0), Sample(up(), BASE_MS, 1.0)])
    assert find_series(store, EVERYTHING, selection(), limit=10).num_rows == 1
    before = selection(after_ms=BASE_MS - 4 * 86_400_000, until_ms=BASE_MS)
    assert find_series(store, EVERYTHING, before, limit=10).num_rows == 1
    between = selection(after_ms=BASE_MS - 2 * 86_400_000, until_ms=BASE_MS - 86_400_000 - 1)
    assert find_series(store, EVERYTHING, between, limit=10).num_rows == 0


SCOPES: tuple[tuple[Scope, set[float]], ...] = (
    (Scope(frozenset({"a"}), None, frozenset({Signal.METRICS})), {1.0, 2.0}),
    (Scope(frozenset({"a"}), frozenset({"shop"}), frozenset({Signal.METRICS})), {1.0}),
    (Scope(None, frozenset({""}), frozenset({Signal.METRICS})), {2.0, 4.0}),
    (Scope(None, None, frozenset({Signal.LOGS})), set()),
    (Scope(frozenset(), None, frozenset({Signal.METRICS})), set()),
)


@pytest.mark.parametrize("few", [True, False], ids=["by-id", "by-condition"])
def test_a_scope_narrows_series_and_samples(store: Store, monkeypatch: pytest.MonkeyPatch, *, few: bool) -> None:
    places = [("a", "shop"), ("a", ""), ("b", "shop"), ("", "")]
    written = [
        Sample(up(cluster=place[0], namespace=place[1]), BASE_MS, value) for value, place in enumerate(places, 1)
    ]
    store_samples(store, written)
    if not few:
        # so that four series are read as a thousand would be
        monkeypatch.setattr("kobs.storage.metric_reads._FEW_SERIES", 0)
    for scope, expected in SCOPES:
        assert set(last(store, scope)) == expected
        assert {value for _, value in samples(store, scope)} == expected


def test_samples_of_ids_outside_of_the_selection_are_not_read(store: Store) -> None:
    """Many series are read by the scope's condition, not by the ids that were found before."""
    store_samples(store, [Sample(up(n=str(number)), BASE_MS, 1.0) for number in range(1200)])
    scope = Scope(None, frozenset({"shop"}), frozenset({Signal.METRICS}))
    all_series = find_series(store, EVERYTHING, selection(), limit=10_000)
    assert all_series.num_rows == 1200
    assert read_samples(store, scope, selection(), all_series, limit=10_000).num_rows == 0
    assert read_samples(store, EVERYTHING, selection(), all_series, limit=10_000).num_rows == 1200


def test_a_limit_cuts_what_is_read(store: Store) -> None:
    store_samples(store, [Sample(up(n=str(number)), BASE_MS, 1.0) for number in range(5)])
    series = find_series(store, EVERYTHING, selection(), limit=3)
    assert series.num_rows == 3
    assert read_samples(store, EVERYTHING, selection(), series, limit=2).num_rows == 2


def test_samples_whose_series_is_missing_are_not_seen(store: Store) -> None:
    row = {"metric": "up", "fp": fingerprint(up()), "ts": BASE_MS, "value": 1.0}
    write_samples(store, pa.Table.from_pylist([row], schema=SAMPLE_ROWS))
    assert last(store) == []
