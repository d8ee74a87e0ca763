"""Frames of samples become rows; what is wrong in them is refused by reason and the rest is stored."""

import asyncio
import math

import pytest

from kobs.config import ServerSettings, StorageSettings
from kobs.errors import RejectedError, RetryableError
from kobs.ingest import samples as sample_ingest
from kobs.ingest.sample_sessions import Sessions
from kobs.ingest.samples import SampleIngest
from kobs.ingest.series_table import metric_of
from kobs.model.labels import canonical, series_id
from kobs.model.samples import MetricType, Sample
from kobs.storage.clickhouse import Store
from kobs.telemetry import REGISTRY
from kobs.wire.samples import JobFamily, SampleRequest, SampleStatus
from tests.metric_frames import BASE_MS, NOW_MS, Accepting, frame

UP = {"__name__": "up", "job": "node", "instance": "worker-1"}
DAY_MS = 86_400_000


def rows(store: Store, sql: str) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in store.select(sql).to_pylist()]


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.mark.clickhouse
def test_samples_series_and_families_are_stored(store: Store) -> None:
    samples = [Sample(UP, BASE_MS, 1.0), Sample({**UP, "__name__": "größe"}, BASE_MS + 1, -math.inf)]
    family = JobFamily(job="node", name="up", type=MetricType.GAUGE, help="Whether.")
    with Accepting(store) as accept:
        (answer,) = accept(frame(samples, families=[family]))
    assert (answer.status, answer.rejected) == (SampleStatus.STORED, {})
    assert rows(
        store, "SELECT metric, fp, toUnixTimestamp64Milli(ts), value FROM metric_samples ORDER BY metric DESC"
    ) == [
        ("up", series_id(canonical(UP)), BASE_MS, 1.0),
        ("größe", series_id(canonical({**UP, "__name__": "größe"})), BASE_MS + 1, -math.inf),
    ]
    series = rows(store, "SELECT metric, fp, labels, toString(day) = toString(toDate(min_ts)) FROM metric_series")
    assert sorted(series)[1] == ("up", series_id(canonical(UP)), [("instance", "worker-1"), ("job", "node")], 1)
    assert rows(store, "SELECT metric, job, type, unit, help FROM metric_metadata") == [
        ("up", "node", "gauge", "", "Whether.")
    ]


@pytest.mark.clickhouse
def test_a_series_is_written_once_for_a_day_and_frames_share_an_insert(store: Store) -> None:
    inserts = value("kobs_ingest_sample_inserts_total")
    frames = [frame([Sample(UP, BASE_MS + second * 1000, 1.0)], session=f"s{second}") for second in range(20)]
    with Accepting(store, ServerSettings(sample_delay_ms=500)) as accept:
        accept(*frames)
        assert value("kobs_ingest_sample_inserts_total") == inserts + 1
        accept(frame([Sample(UP, BASE_MS - 2 * DAY_MS, 1.0), Sample(UP, BASE_MS, 2.0)]))
    assert rows(store, "SELECT count(), uniqExact(day) FROM metric_series") == [(2, 2)]
    assert rows(store, "SELECT count() FROM metric_samples") == [(22,)]


@pytest.mark.clickhouse
def test_a_session_that_is_not_known_must_be_told_again(store: Store) -> None:
    later = frame([Sample(UP, BASE_MS, 1.0)], series=[], told=1)
    with Accepting(store) as accept:
        assert accept(later)[0].status is SampleStatus.UNKNOWN_SERIES
        assert rows(store, "SELECT count() FROM metric_samples") == [(0,)]
        accept(frame([Sample(UP, BASE_MS, 1.0)]))
        assert accept(later)[0].status is SampleStatus.STORED
    with Accepting(store) as restarted:
        assert restarted(later)[0].status is SampleStatus.UNKNOWN_SERIES


@pytest.mark.clickhouse
def test_a_frame_that_comes_twice_registers_its_series_once(store: Store) -> None:
    other = {**UP, "instance": "worker-2"}
    second = frame([Sample(other, BASE_MS, 2.0)], told=1, numbers=[1])
    with Accepting(store) as accept:
        accept(frame([Sample(UP, BASE_MS, 1.0)]))
        accept(second)
        accept(second)
        accept(frame([Sample(other, BASE_MS + 1, 3.0)], series=[], told=2, numbers=[1]))
    found = rows(store, f"SELECT value FROM metric_samples WHERE fp = {series_id(canonical(other))} ORDER BY ts, value")
    assert found == [(2.0,), (2.0,), (3.0,)]


@pytest.mark.clickhouse
def test_bad_samples_are_refused_by_reason_and_the_rest_is_stored(store: Store) -> None:
    series = [UP, {"job": "node"}, {**UP, "": "x"}, {**UP, "a" * 1025: "x"}, {f"l{n}": "x" for n in range(129)}]
    times = {
        0: [BASE_MS, NOW_MS + 2 * DAY_MS, 0, NOW_MS - 16 * DAY_MS, -(2**62), 2**62],
        1: [BASE_MS],
        2: [BASE_MS],
        3: [BASE_MS, BASE_MS + 1],
        4: [BASE_MS, 0],
        9: [BASE_MS],
    }
    samples = [Sample(UP, time_ms, 1.0) for number in times for time_ms in times[number]]
    numbers = [number for number in times for _ in times[number]]
    before = {
        reason: value("kobs_discarded_total", signal="metrics", reason=reason)
        for reason in ("time_out_of_range", "label_too_long")
    }
    with Accepting(store) as accept:
        (answer,) = accept(frame(samples, series=series, numbers=numbers))
    assert answer.rejected == {
        "time_out_of_range": 3,
        "expired_on_arrival": 2,
        "label_name_invalid": 2,
        "label_too_long": 2,
        "labels_too_many": 2,
        "unknown_series": 1,
    }
    assert rows(store, "SELECT metric, toUnixTimestamp64Milli(ts) FROM metric_samples") == [("up", BASE_MS)]
    assert rows(store, "SELECT metric FROM metric_series") == [("up",)]
    after = {reason: value("kobs_discarded_total", signal="metrics", reason=reason) for reason in before}
    assert {reason: after[reason] - before[reason] for reason in before} == {
        "time_out_of_range": 3,
        "label_too_long": 2,
    }


@pytest.mark.clickhouse
def test_a_frame_of_nothing_but_bad_samples_is_answered(store: Store) -> None:
    with Accepting(store) as accept:
        (answer,) = accept(frame([Sample(UP, 0, 1.0)]))
    assert answer.rejected == {"expired_on_arrival": 1}


@pytest.mark.clickhouse
def test_empty_values_are_labels_that_are_not_there(store: Store) -> None:
    with Accepting(store) as accept:
        accept(frame([Sample({**UP, "zone": ""}, BASE_MS, 1.0)]))
    assert rows(store, "SELECT fp, mapKeys(labels) FROM metric_series") == [
        (series_id(canonical(UP)), ["instance", "job"])
    ]


@pytest.mark.clickhouse
def test_an_endless_help_is_left_out(store: Store) -> None:
    families = [
        JobFamily(job="node", name="up", type=MetricType.GAUGE, help="x" * 5000),
        JobFamily(job="node", name="down", type=MetricType.GAUGE),
    ]
    with Accepting(store) as accept:
        accept(frame([], families=families))
    assert rows(store, "SELECT metric FROM metric_metadata") == [("down",)]


@pytest.mark.clickhouse
def test_a_frame_of_too_many_samples_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_ingest, "MOST_SAMPLES", 2)  # a small limit shows what 500,000 would
    samples = [Sample(UP, BASE_MS + number, 1.0) for number in range(3)]
    with Accepting(store) as accept:
        with pytest.raises(RejectedError, match="frame of 3 samples: the limit is 2") as raised:
            accept(frame(samples))
        assert raised.value.reason == "too_many_samples"
        assert accept(frame(samples[:2]))[0].rejected == {}


@pytest.mark.clickhouse
def test_a_damaged_frame_is_refused(store: Store) -> None:
    with Accepting(store) as accept, pytest.raises(RejectedError) as raised:
        accept(frame([Sample(UP, BASE_MS, 1.0)])[:-1])
    assert raised.value.reason == "malformed_frame"


@pytest.mark.clickhouse
def test_who_waits_when_the_server_stops_must_send_again(store: Store) -> None:
    async def stop() -> None:
        ingest = SampleIngest(store, ServerSettings(sample_delay_ms=60_000), StorageSettings())
        running = asyncio.ensure_future(ingest.run())
        accepting = asyncio.ensure_future(ingest.accept(frame([Sample(UP, BASE_MS, 1.0)])))
        while value("kobs_ingest_queued_samples") == 0:  # noqa: ASYNC110 - a metric is no event
            await asyncio.sleep(0.005)
        running.cancel()
        with pytest.raises(RetryableError, match="the server stops"):
            await accepting

    asyncio.run(stop())


@pytest.mark.clickhouse
def test_an_insert_that_fails_fails_for_all_its_frames_and_the_next_goes_on(store: Store) -> None:
    ingest = SampleIngest(store, ServerSettings(sample_delay_ms=100), StorageSettings())
    frames = [frame([Sample(UP, BASE_MS + number, 1.0)], session=f"s{number}") for number in range(2)]
    store.command("RENAME TABLE metric_samples TO metric_samples_away")

    async def run() -> None:
        running = asyncio.ensure_future(ingest.run())
        failed = await asyncio.gather(*(ingest.accept(each) for each in frames), return_exceptions=True)
        assert [type(error).__name__ for error in failed] == ["StorageError", "StorageError"]
        store.command("RENAME TABLE metric_samples_away TO metric_samples")
        assert (await ingest.accept(frames[0])).status is SampleStatus.STORED
        running.cancel()

    asyncio.run(run())
    assert rows(store, "SELECT count() FROM metric_samples") == [(1,)]


def told(session: str, number: int, *names: str) -> SampleRequest:
    series = [canonical({"__name__": name}) for name in names]
    numbers = list(range(number, number + len(names)))
    return SampleRequest(session=session, node="n", told=number, series=series, numbers=numbers)


def test_beyond_a_number_of_series_all_sessions_are_told_again() -> None:
    sessions = Sessions(most_series=2)
    assert sessions.of(told("a", 0, "x")) is not None
    assert sessions.of(told("b", 0, "x", "y")) is not None
    assert sessions.of(told("a", 1)) is None
    assert sessions.of(told("a", 0, "x")) is not None
    assert sessions.of(told("a", 1)) is not None


def test_a_frame_that_comes_late_is_not_taken_for_one_of_now() -> None:
    """Its numbers may name other series by now: the one who sent it has sent it again and gone on."""
    sessions = Sessions()
    late = told("a", 0, "x")
    assert sessions.of(late) is not None
    assert sessions.of(late) is not None
    assert sessions.of(told("a", 1, "y")) is not None
    assert sessions.of(late) is None


def test_a_number_may_be_told_again_and_then_names_another_series() -> None:
    sessions = Sessions()
    first = sessions.of(told("a", 0, "x"))
    again = SampleRequest(session="a", node="n", told=1, series=[canonical({"__name__": "y"})], numbers=[0])
    second = sessions.of(again)
    assert first is not None
    assert second is not None
    assert [each.table.series(int(each.slots[0])) for each in (first, second)] == [
        canonical({"__name__": "x"}),
        canonical({"__name__": "y"}),
    ]


def test_names_in_utf_8_are_allowed() -> None:
    assert metric_of(canonical({"__name__": "größe.gesamt", "a b": "c"})) == "größe.gesamt"
