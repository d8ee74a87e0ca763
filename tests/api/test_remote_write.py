"""Remote write over HTTP: what is stored, what is refused and named, and the statuses that senders act upon."""

import concurrent.futures
import math
import struct
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
import zstandard

from kobs import telemetry
from kobs.config import ServerSettings
from kobs.storage.clickhouse import Store
from tests.api.server import Server, serve
from tests.remote_write_messages import STALE, V1, V2, Series, message_v1, message_v2, snappy

pytestmark = pytest.mark.clickhouse

NOW_MS = time.time_ns() // 1_000_000 - 60_000
UP = {"__name__": "up", "job": "node", "instance": "n1"}
SETTINGS = ServerSettings(sample_delay_ms=0)

MESSAGES = {V1: message_v1, V2: message_v2}
both = pytest.mark.parametrize("kind", [V1, V2], ids=["1.0", "2.0"])


@pytest.fixture
def server(store: Store) -> Iterator[Server]:
    with serve(store, SETTINGS) as running:
        yield running


def send(client: httpx.Client, body: bytes, kind: str = V1, **headers: str) -> httpx.Response:
    told = {"Content-Type": kind, "Content-Encoding": "snappy"}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/api/v1/write", content=body, headers={name: value for name, value in told.items() if value})


def stored(store: Store) -> list[tuple[str, int, int]]:
    """Return metric, time and bits of the value of each sample."""
    sql = "SELECT metric, toUnixTimestamp64Milli(ts) AS at, reinterpretAsUInt64(value) AS bits FROM metric_samples"
    return sorted(tuple(row.values()) for row in store.select(sql).to_pylist())


def bits(value: float) -> int:
    return int(struct.unpack("<Q", struct.pack("<d", value))[0])


def written(answer: httpx.Response) -> tuple[str, str, str]:
    names = ("Samples", "Histograms", "Exemplars")
    samples, histograms, exemplars = (answer.headers[f"X-Prometheus-Remote-Write-{name}-Written"] for name in names)
    return samples, histograms, exemplars


def discarded(reason: str) -> float:
    return telemetry.REGISTRY.get_sample_value("kobs_discarded_total", {"signal": "metrics", "reason": reason}) or 0.0


@both
def test_what_is_answered_as_written_is_stored_to_the_bit(client: httpx.Client, store: Store, kind: str) -> None:
    odd_nan = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_0000_1234))[0]
    values = [1.5, 0.0, -0.0, math.inf, math.nan, odd_nan, STALE]
    # In any order, and twice.
    samples = [(NOW_MS - index, value) for index, value in enumerate(values)]
    body = snappy(MESSAGES[kind](Series(UP, samples[::2]), Series(UP, samples[1::2])))
    answer = send(client, body, kind)
    assert (answer.status_code, answer.content) == (204, b"")
    assert written(answer) == ("7", "0", "0")
    assert stored(store) == sorted(("up", time_ms, bits(value)) for time_ms, value in samples)
    assert send(client, body, kind).status_code == 204
    assert {row: stored(store).count(row) for row in stored(store)} == dict.fromkeys(stored(store), 2)
    series = store.select("SELECT metric, labels FROM metric_series FINAL").to_pylist()
    assert series == [{"metric": "up", "labels": [("instance", "n1"), ("job", "node")]}]


@pytest.mark.parametrize(
    ("content_type", "encoding", "compress"),
    [
        ("application/x-protobuf", "snappy", snappy),
        ("", "", snappy),
        ("application/x-protobuf", "zstd", zstandard.compress),
        ("application/x-protobuf", "zstd", lambda body: zstandard.ZstdCompressor().compressobj().compress(body)),
        ('Application/X-Protobuf; proto="prometheus.WriteRequest"', "Snappy", snappy),
    ],
    ids=["plain", "no headers", "zstd", "zstd without size", "quoted"],
)
def test_a_message_1_0_is_what_its_headers_say(
    client: httpx.Client, store: Store, content_type: str, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    body = message_v1(Series(UP, [(NOW_MS, 1.0)]))
    if "zstd" in encoding and compress is not zstandard.compress:
        packed = zstandard.ZstdCompressor().compressobj()
        content = packed.compress(body) + packed.flush()
    else:
        content = compress(body)
    answer = send(client, content, content_type, Content_Encoding=encoding)
    assert (answer.status_code, answer.text) == (204, "")
    assert stored(store) == [("up", NOW_MS, bits(1.0))]


@pytest.mark.parametrize(
    ("content_type", "encoding", "told"),
    [
        ("application/json", "snappy", "Content-Type is application/json: expected application/x-protobuf"),
        ("application/x-protobuf;proto=io.prometheus.write.v3.Request", "snappy", "io.prometheus.write.v2.Request"),
        ("application/x-protobuf", "gzip", "Content-Encoding is gzip: expected snappy or zstd"),
        ("application/x-protobuf", "snappy, zstd", "Content-Encoding is snappy, zstd"),
    ],
    ids=["json", "unknown message", "gzip", "twice"],
)
def test_what_cannot_be_read_is_415(client: httpx.Client, content_type: str, encoding: str, told: str) -> None:
    before = discarded("unsupported_media_type")
    answer = send(client, b"", content_type, Content_Encoding=encoding)
    assert answer.status_code == 415
    assert told in answer.text
    assert discarded("unsupported_media_type") == before + 1


@both
def test_an_empty_message_is_written(client: httpx.Client, kind: str) -> None:
    for body in (snappy(b""), b""):
        answer = send(client, body, kind)
        assert answer.status_code == 204
        assert written(answer) == ("0", "0", "0")


@both
def test_good_series_are_stored_and_bad_ones_named(client: httpx.Client, store: Store, kind: str) -> None:
    tomorrow = NOW_MS + 2 * 86_400_000
    message = MESSAGES[kind](
        Series(UP, [(NOW_MS, 1.0), (0, 2.0), (tomorrow, 3.0)]),
        Series({"job": "nameless"}, [(NOW_MS, 1.0)]),
        Series([("__name__", "twice"), ("a", "1"), ("a", "2")], [(NOW_MS, 1.0)]),
        Series([("__name__", "empty"), ("", "1")], [(NOW_MS, 1.0)]),
        Series({"__name__": "long", "a": "x" * 2**20}, [(NOW_MS, 1.0)]),
        Series({"__name__": "many", **{f"l{index}": "x" for index in range(200)}}, [(NOW_MS, 1.0)]),
        Series({"__name__": "größe", "nothing": ""}, [(NOW_MS, 1.0)]),
        Series([("job", "x"), ("__name__", "unsorted")], [(NOW_MS, 1.0)]),
    )
    for _ in range(2):
        answer = send(client, snappy(message), kind)
        assert answer.status_code == 400
        assert written(answer) == ("3", "0", "0")
        assert answer.text.count("\n") == 1
        for told in ("3 samples are stored", "nameless", "twice", "empty", "long", "many", "at 0 ms"):
            assert told in answer.text
        assert "1 samples older than they are kept" in answer.text
        assert len(answer.text) < 5000
    assert {metric for metric, _, _ in stored(store)} == {"up", "größe", "unsorted"}
    names = store.select(
        "SELECT DISTINCT mapKeys(labels) AS names FROM metric_series WHERE metric = 'größe'"
    ).to_pylist()
    assert names == [{"names": []}]


def test_labels_that_are_not_utf_8_are_refused(client: httpx.Client, store: Store) -> None:
    good = message_v1(Series(UP, [(NOW_MS, 1.0)]))
    bad = message_v1(Series({**UP, "x": "abc"}, [(NOW_MS, 1.0)]))
    for damage in (b"a\xffc", b"a\xc3c"):
        answer = send(client, snappy(good + bad.replace(b"abc", damage)))
        assert (answer.status_code, written(answer)[0]) == (400, "1")
        assert "not UTF-8" in answer.text
    assert {metric for metric, _, _ in stored(store)} == {"up"}


@both
def test_exemplars_and_histograms_are_not_kept_and_the_rest_is(client: httpx.Client, store: Store, kind: str) -> None:
    before = discarded("native_histogram"), discarded("exemplar")
    answer = send(
        client, snappy(MESSAGES[kind](Series(UP, [(NOW_MS, 1.0)], exemplars=2), Series(UP, histograms=3))), kind
    )
    assert answer.status_code == 400
    assert written(answer) == ("1", "0", "0")
    assert "3 native histograms (kobs keeps none)" in answer.text
    assert (discarded("native_histogram"), discarded("exemplar")) == (before[0] + 3, before[1] + 2)
    assert len(stored(store)) == 1


@pytest.mark.parametrize(("kind", "status"), [(V1, 204), (V2, 400)], ids=["1.0", "2.0"])
def test_exemplars_alone_are_an_error_where_the_protocol_has_them(client: httpx.Client, kind: str, status: int) -> None:
    answer = send(client, snappy(MESSAGES[kind](Series(UP, [(NOW_MS, 1.0)], exemplars=1))), kind)
    assert (answer.status_code, written(answer)) == (status, ("1", "0", "0"))


def test_metadata_is_stored_by_family(client: httpx.Client, store: Store) -> None:
    send(client, snappy(message_v1(metadata=[(1, "a_total", "All.", ""), (3, "h", "Hist.", "s")])))
    series = [
        Series({"__name__": name, "job": "j"}, [(NOW_MS, 1.0)], metadata=(kind, "Help.", "s"))
        for name, kind in [("h_bucket", 3), ("h_count", 3), ("s_sum", 5), ("c_total", 1), ("gh_gsum", 4)]
    ]
    assert send(client, snappy(message_v2(*series)), V2).status_code == 204
    found = store.select("SELECT metric, job, type, unit, help FROM metric_metadata FINAL ORDER BY job, metric")
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        ("a_total", "", "counter", "", "All."),
        ("h", "", "histogram", "s", "Hist."),
        ("c_total", "j", "counter", "s", "Help."),
        ("gh", "j", "gaugehistogram", "s", "Help."),
        ("h", "j", "histogram", "s", "Help."),
        ("s", "j", "summary", "s", "Help."),
    ]


class TestBadBodies:
    @pytest.mark.parametrize(
        ("body", "encoding"),
        [
            (b"\xff\xff\xff\xff\xff\xff", "snappy"),
            (snappy(message_v1(Series(UP, [(NOW_MS, 1.0)])))[:-4], "snappy"),
            (b"\x05abc", "snappy"),
            (b"not zstd", "zstd"),
            (zstandard.compress(message_v1(Series(UP, [(NOW_MS, 1.0)])))[:-4], "zstd"),
            (snappy(b"\x0a\xff\xff\xff\xff\x0f"), "snappy"),
            (snappy(b"<html>no metrics here</html>"), "snappy"),
        ],
        ids=["noise", "cut", "short", "no zstd", "cut zstd", "a part beyond the end", "html"],
    )
    def test_a_damaged_body_is_400_and_nothing_of_it_is_stored(
        self, client: httpx.Client, store: Store, body: bytes, encoding: str
    ) -> None:
        before = discarded("malformed_message")
        answer = send(client, body, V1, Content_Encoding=encoding)
        assert answer.status_code == 400, answer.text
        assert answer.text
        assert discarded("malformed_message") == before + 1
        assert stored(store) == []

    @pytest.mark.parametrize(
        ("body", "encoding"),
        [
            (b"\xff\xff\xff\xff\x0f" + b"\x00" * 100, "snappy"),
            (snappy(b"\x00" * (17 * 2**20)), "snappy"),
            (zstandard.compress(b"\x00" * (100 * 2**20)), "zstd"),
        ],
        ids=["claims 4 GiB", "17 MiB", "100 MiB of zstd"],
    )
    def test_a_small_body_that_becomes_large_is_413(self, client: httpx.Client, body: bytes, encoding: str) -> None:
        answer = send(client, body, V1, Content_Encoding=encoding)
        assert answer.status_code == 413
        assert "server.max_body_bytes" in answer.text

    def test_a_body_beyond_the_limit_is_413(self, store: Store) -> None:
        with (
            serve(store, ServerSettings(max_body_bytes=1000)) as small,
            httpx.Client(base_url=small.url, trust_env=False) as client,
        ):
            assert send(client, b"x" * 1001).status_code == 413

    def test_a_million_empty_series_are_413_and_soon(self, client: httpx.Client) -> None:
        answer = send(client, snappy(b"\x0a\x00" * 1_000_000))
        assert answer.status_code == 413
        assert "500000 series" in answer.text


def test_without_the_token_nothing_is_written(store: Store) -> None:
    settings = ServerSettings.model_validate({"token": "secret", "sample_delay_ms": 0})
    body = snappy(message_v1(Series(UP, [(NOW_MS, 1.0)])))
    with serve(store, settings) as guarded, httpx.Client(base_url=guarded.url, trust_env=False) as client:
        assert send(client, body).status_code == 401
        assert send(client, body, Authorization="Bearer secret").status_code == 204
    assert len(stored(store)) == 1


def test_a_store_that_fails_is_503_so_that_the_sender_tries_again(client: httpx.Client, store: Store) -> None:
    body = snappy(message_v1(Series(UP, [(NOW_MS, 1.0)])))
    store.command("RENAME TABLE metric_samples TO metric_samples_away")
    answer = send(client, body)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    store.command("RENAME TABLE metric_samples_away TO metric_samples")
    assert send(client, body).status_code == 204
    assert len(stored(store)) == 1


def test_many_senders_may_write_at_once(server: Server, store: Store) -> None:
    """With the same series and with others, in both messages: no sample gets another one's series."""

    def write(sender: int) -> None:
        with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client:
            for turn in range(5):
                series = [
                    Series({"__name__": f"m{number}", "of": f"{number % 7}"}, [(NOW_MS + sender * 10 + turn, number)])
                    for number in range(200)
                ]
                kind = (V1, V2)[(sender + turn) % 2]
                assert send(client, snappy(MESSAGES[kind](*series)), kind).status_code == 204

    with concurrent.futures.ThreadPoolExecutor(6) as senders:
        list(senders.map(write, range(6)))
    found = store.select(
        "SELECT count() AS all, countIf(metric != concat('m', toString(toUInt32(value)))) AS wrong FROM metric_samples"
    ).to_pylist()
    assert found == [{"all": 6 * 5 * 200, "wrong": 0}]
    series = store.select("SELECT uniqExact(fp) AS series, uniqExact(metric, labels) AS sets FROM metric_series")
    assert series.to_pylist() == [{"series": 200, "sets": 200}]
