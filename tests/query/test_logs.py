"""Search: filters give what a brute-force filter gives, pages add up to the whole, indexes are used."""

import asyncio
import itertools
import random
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from kobs.errors import LimitError, QueryError
from kobs.model.log_filter import EVERY_ENTRY, LogFilter, SourceFilter
from kobs.model.scope import Scope, Signal
from kobs.query import logs
from kobs.query.labels import StreamLabels
from kobs.query.logs import LogPage, LogQuery, LogSearch
from kobs.storage import log_reads
from kobs.storage.clickhouse import Store
from kobs.storage.log_reads import Streams
from tests.query.rows import DAY_NS, SHOP, T0_NS, Entry, insert

pytestmark = pytest.mark.clickhouse

WINDOW = {"start_ns": T0_NS - DAY_NS, "end_ns": T0_NS + DAY_NS}
WORDS = [
    "GET",
    "get",
    "/cart",
    "foo_bar",
    "timeout",
    "Timeout",
    "42",
    "été",
    "a",
    "ab",
    "abc",
    "\n",
    "=",
    "\x00",
    "'",
    "\\",
]
POISON = [b"\xff", b"\xc3", b"\xe2\x82"]


def search_of(store: Store, *, now_ns: int = T0_NS, timeout_seconds: float = 30.0) -> LogSearch:
    return LogSearch(store, labels=StreamLabels(store), timeout_seconds=timeout_seconds, now_ns=lambda: now_ns)


def ask(store: Store, query: LogQuery, *, scope: Scope | None = None) -> LogPage:
    return asyncio.run(search_of(store).search(scope or Scope.all(), query))


def keys(page: LogPage) -> list[tuple[int, int, int, int]]:
    return [tuple(entry.row.position) for entry in page.entries]


def all_pages(
    store: Store, query: LogQuery, *, between: Callable[[], None] = lambda: None
) -> list[tuple[int, int, int, int]]:
    found: list[tuple[int, int, int, int]] = []
    for _ in range(10_000):
        page = ask(store, query)
        assert len(page.entries) <= query.limit
        found += keys(page)
        if page.cursor is None:
            return found
        query = replace(query, cursor=page.cursor)
        between()
    raise AssertionError("paging does not end")


def random_body(dice: random.Random) -> bytes:
    parts = [
        dice.choice(WORDS).encode() if dice.random() < 0.9 else dice.choice(POISON) for _ in range(dice.randint(0, 8))
    ]
    return dice.choice([b" ", b"", b"-"]).join(parts)


def random_entries(dice: random.Random, count: int, *, spread_ns: int) -> list[Entry]:
    """Return entries in many streams, of which many share their time."""
    times = [T0_NS - dice.randrange(spread_ns) for _ in range(max(count // 8, 1))]
    return [
        Entry(
            dice.choice(times),
            body=random_body(dice),
            labels={
                name: value
                for name, value in {
                    "cluster": dice.choice(["east", "west", ""]),
                    "namespace": dice.choice(["shop", "bank", ""]),
                    "pod": dice.choice(["web-1", "web-2", ""]),
                    "container": dice.choice(["app", "proxy"]),
                    "node": dice.choice(["n1", "n2"]),
                }.items()
                if value
            },
            severity=dice.choice(["error", "info", ""]),
            source=dice.choice([1, 2**63, 2**64 - 1]),
            segment=dice.choice([-(2**63), 0, 2**63 - 1]),
            offset=number,
        )
        for number in range(count)
    ]


def matches(entry: Entry, wanted: LogFilter) -> bool:
    """Say what a filter means, in the plainest way."""
    labels = wanted.sources.by_label()
    # RE2 reads UTF-8: "." takes no byte that is none; and "$" is the very end
    pattern = wanted.regex.replace(".", "[^\udc80-\udcff]").replace("$", r"\Z")
    tokens = re.split(rb"[\x00-/:-@\[-`{-\x7f]+", entry.body.lower())
    return (
        all(entry.labels.get(name, "") in values for name, values in labels.items())
        and (not wanted.severities or entry.severity in wanted.severities)
        and (not wanted.token or wanted.token.encode().lower() in tokens)
        and wanted.text.encode() in entry.body
        and re.search(pattern, entry.body.decode(errors="surrogateescape")) is not None
    )


def random_filter(dice: random.Random) -> LogFilter:
    def some(values: list[str]) -> tuple[str, ...]:
        return tuple(sorted(dice.sample(values, dice.choice([0, 0, 0, 1, 2]))))

    joined = dice.choice([" ", "-"]).join(dice.choices(WORDS, k=dice.randint(1, 3)))
    return LogFilter(
        sources=SourceFilter(
            clusters=some(["east", "west", ""]),
            namespaces=some(["shop", "bank", "", "none"]),
            pods=some(["web-1", "web-2", ""]),
            containers=some(["app", "proxy"]),
            nodes=some(["n1", "n2", "n3"]),
        ),
        severities=some(["error", "info", ""]),
        token=dice.choice(["", "", "get", "GET", "bar", "été", "42", "a"]),
        text=dice.choice(["", "", joined, dice.choice(WORDS)]),
        regex=dice.choice(["", "", "(?i)get", "^a", "t.m", "[0-9]+$", "b.*=", "a\nb|ab$"]),
    )


class TestFilters:
    @pytest.mark.parametrize("seed", range(2))
    def test_every_filter_gives_what_a_brute_force_filter_gives(self, store: Store, seed: int) -> None:
        dice = random.Random(seed)
        entries = random_entries(dice, 600, spread_ns=3 * 3_600_000_000_000)
        insert(store, entries)
        hits = 0
        for _ in range(20):
            wanted = random_filter(dice)
            expected = sorted(entry.order for entry in entries if matches(entry, wanted))
            page = ask(store, LogQuery(filter=wanted, **WINDOW, limit=1000, backward=False))
            assert keys(page) == expected, wanted
            assert page.cursor is None
            hits += bool(expected)
        assert hits > 3

    def test_start_is_inclusive_and_end_exclusive(self, store: Store) -> None:
        insert(store, [Entry(T0_NS + step, offset=step) for step in range(5)])
        page = ask(store, LogQuery(start_ns=T0_NS + 1, end_ns=T0_NS + 4, backward=False))
        assert [entry.row.offset for entry in page.entries] == [1, 2, 3]

    def test_without_times_it_is_the_last_hour(self, store: Store) -> None:
        hour_ns = 3_600_000_000_000
        insert(
            store,
            [Entry(T0_NS + shift, offset=shift + 2 * hour_ns) for shift in (-hour_ns - 1, -hour_ns, -1, 5, hour_ns)],
        )
        found = [entry.row.time_ns - T0_NS for entry in ask(store, LogQuery()).entries]
        assert found == [5, -1, -hour_ns]

    def test_the_widest_window_is_taken(self, store: Store) -> None:
        insert(store, [Entry(T0_NS)])
        pod = LogFilter(sources=SourceFilter(pods=("web-1",)))
        for wanted in (LogFilter(), pod):
            assert len(ask(store, LogQuery(filter=wanted, start_ns=0, end_ns=logs.LAST_NS)).entries) == 1

    def test_labels_and_bytes_come_back_as_they_were(self, store: Store) -> None:
        body = bytes(range(256))
        insert(store, [Entry(T0_NS, body=body, trace_id="4bf9", severity="error")])
        (entry,) = ask(store, LogQuery(**WINDOW)).entries
        assert (entry.row.body, entry.row.trace_id, entry.row.severity) == (body, "4bf9", "error")
        assert entry.labels == SHOP

    def test_more_streams_than_a_list_takes_are_a_subquery(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        dice = random.Random(7)
        entries = random_entries(dice, 300, spread_ns=1_000)
        insert(store, entries)
        # a bound that needs no thousand streams
        monkeypatch.setattr(log_reads, "MOST_LITERAL_STREAMS", 3)
        wanted = LogFilter(sources=SourceFilter(nodes=("n1",), containers=("app",)))
        expected = sorted(entry.order for entry in entries if matches(entry, wanted))
        assert log_reads.find_streams(store, Scope.all(), wanted.sources, **WINDOW).is_subquery
        assert keys(ask(store, LogQuery(filter=wanted, **WINDOW, limit=500, backward=False))) == expected


class TestScope:
    def test_a_narrow_scope_hides_what_is_outside(self, store: Store) -> None:
        insert(store, random_entries(random.Random(1), 200, spread_ns=1_000))
        narrow = Scope(clusters=frozenset({"east"}), namespaces=frozenset({"bank"}), signals=frozenset({Signal.LOGS}))
        for wanted in (LogFilter(), LogFilter(sources=SourceFilter(nodes=("n1", "n2")))):
            entries = ask(store, LogQuery(filter=wanted, **WINDOW, limit=500), scope=narrow).entries
            assert {(entry.row.cluster, entry.row.namespace) for entry in entries} == {("east", "bank")}

    def test_a_scope_without_logs_sees_none(self, store: Store) -> None:
        insert(store, [Entry(T0_NS)])
        blind = Scope(clusters=None, namespaces=None, signals=frozenset({Signal.METRICS}))
        assert ask(store, LogQuery(**WINDOW), scope=blind).entries == ()


class TestPaging:
    @pytest.mark.parametrize("backward", [True, False], ids=["backward", "forward"])
    @pytest.mark.parametrize("limit", [1, 7, 50], ids=str)
    def test_pages_add_up_to_the_whole_list(self, store: Store, limit: int, backward: bool) -> None:  # noqa: FBT001 - a parameter of the test
        """Many entries share their time, their source and segment, and some are there twice or three times."""
        dice = random.Random(limit)
        entries = random_entries(dice, 20 + 4 * limit, spread_ns=40 * 3_600_000_000_000)
        entries += dice.choices(entries, k=10)
        insert(store, entries)
        query = LogQuery(start_ns=T0_NS - 2 * DAY_NS, end_ns=T0_NS + 1, limit=limit, backward=backward)
        assert all_pages(store, query) == sorted((entry.order for entry in entries), reverse=backward)

    def test_a_position_with_more_doubles_than_a_page_ends(self, store: Store) -> None:
        insert(store, [Entry(T0_NS, offset=number // 5) for number in range(10)])
        for backward, limit in itertools.product((True, False), (1, 2, 4)):
            assert len(all_pages(store, LogQuery(**WINDOW, limit=limit, backward=backward))) == 10

    def test_entries_that_arrive_while_paging_cause_no_skips_and_no_repeats(self, store: Store) -> None:
        entries = [Entry(T0_NS - (number % 10), offset=number) for number in range(50)]
        insert(store, entries)
        numbers = itertools.count(1000)
        dice = random.Random(3)

        def arrive() -> None:
            insert(store, [Entry(T0_NS - dice.randrange(10), offset=next(numbers))])

        for backward in (True, False):
            found = all_pages(store, LogQuery(**WINDOW, limit=7, backward=backward), between=arrive)
            assert len(found) == len(set(found))
            assert found == sorted(found, reverse=backward)
            assert {entry.order for entry in entries} <= set(found)

    def test_very_large_entries_make_shorter_pages(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        entries = [Entry(T0_NS + number, body=b"x" * 100_000, offset=number) for number in range(12)]
        insert(store, entries)
        # a bound that needs no large memory
        monkeypatch.setattr(logs, "_MOST_PAGE_BYTES", 250_000)
        page = ask(store, LogQuery(**WINDOW, limit=10, backward=False))
        assert 0 < len(page.entries) < 10
        assert page.cursor is not None
        assert all_pages(store, LogQuery(**WINDOW, limit=10, backward=False)) == [entry.order for entry in entries]

    @pytest.mark.parametrize(
        "change",
        [
            {"limit": 9},
            {"filter": LogFilter(token="other")},
            {"backward": False},
            {"end_ns": T0_NS},
            {"start_ns": None},
        ],
        ids=["limit", "token", "direction", "end", "start"],
    )
    def test_a_cursor_belongs_to_its_query(self, store: Store, change: dict[str, object]) -> None:
        insert(store, [Entry(T0_NS - number, offset=number) for number in range(5)])
        query = LogQuery(**WINDOW, limit=2)
        other = replace(query, cursor=ask(store, query).cursor, **change)
        if "limit" in change:
            assert len(ask(store, other).entries) == 3
        else:
            with pytest.raises(QueryError, match="cursor: it belongs to another query"):
                ask(store, other)

    @pytest.mark.parametrize("cursor", ["", "x", "é", "AAAA", "A" * 72, "A" * 75], ids=str)
    def test_what_is_no_cursor_is_refused(self, store: Store, cursor: str) -> None:
        with pytest.raises(QueryError, match="cursor: not a cursor"):
            ask(store, LogQuery(cursor=cursor))


class TestIndexes:
    """Prunes are read from the engine's own account of what it would read: granules kept, of those there were."""

    def fill(self, store: Store, *, rows_a_minute: int) -> None:
        store.command(
            "INSERT INTO logs (ts, received, namespace, stream, body, keep_days) "
            "SELECT fromUnixTimestamp64Nano(toInt64({t0:Int64} + intDiv(number, {rows:Int64}) * 60000000000)), "
            "now64(3), 'shop', number % 50, "
            "concat('line number', toString(number), ' of user-', toString(number * 7919)), 30 FROM numbers(140000)",
            {"t0": T0_NS, "rows": rows_a_minute},
        )
        store.command("OPTIMIZE TABLE logs FINAL")

    def granules(
        self,
        store: Store,
        *,
        wanted: LogFilter = EVERY_ENTRY,
        streams: Streams | None = None,
        end_ns: int = T0_NS + DAY_NS,
    ) -> dict[str, tuple[int, int]]:
        sql, parameters = log_reads.rows_statement(
            Scope.all(),
            wanted,
            streams or Streams(),
            start_ns=T0_NS,
            end_ns=end_ns,
            backward=True,
            limit=100,
        )
        found: dict[str, tuple[int, int]] = {}
        name = ""
        for line in store.select(f"EXPLAIN indexes = 1 {sql}", parameters)["explain"].to_pylist():
            told = line.strip(" │├└─")
            if told.startswith("Name:") or told == "PrimaryKey":
                name = told.split()[-1]
            elif name and told.startswith("Granules:"):
                kept, _, of = told.split()[-1].partition("/")
                found[name] = (int(kept), int(of))
        return found

    @pytest.mark.parametrize(
        "wanted",
        [LogFilter(token="NUMBER77777"), LogFilter(text="e number77777 of")],
        ids=["token", "tokens delimited in a text"],
    )
    def test_a_token_prunes_by_the_token_index(self, store: Store, wanted: LogFilter) -> None:
        self.fill(store, rows_a_minute=100)
        kept, of = self.granules(store, wanted=wanted)["ix_token"]
        assert kept <= of / 4

    def test_times_prune_by_the_primary_key(self, store: Store) -> None:
        self.fill(store, rows_a_minute=100)
        kept, of = self.granules(store, end_ns=T0_NS + 600_000_000_000)["PrimaryKey"]
        assert kept <= of / 4

    def test_streams_prune_by_the_primary_key(self, store: Store) -> None:
        self.fill(store, rows_a_minute=20_000)
        kept, of = self.granules(store, streams=Streams(ids=(3,), namespaces=("shop",)))["PrimaryKey"]
        assert kept <= of / 2


class TestLimits:
    def test_a_search_beyond_its_time_says_so(self, store: Store) -> None:
        insert(store, [Entry(T0_NS)])
        with pytest.raises(LimitError, match=r"server\.search_timeout_seconds"):
            asyncio.run(search_of(store, timeout_seconds=1e-9).search(Scope.all(), LogQuery(**WINDOW)))
