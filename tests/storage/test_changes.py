"""Changes of tables: their numbers, and the time before which nothing has changed since one."""

import random
from contextlib import ExitStack

import pytest

from kobs.storage import changes
from kobs.storage.changes import ANY_TABLE, ANY_TIME, Changes

FOREVER = 2**63 - 1


def change(noted: Changes, table: str, earliest_ms: int = ANY_TIME) -> None:
    with noted.changing(table, earliest_ms=earliest_ms):
        pass


@pytest.mark.parametrize("most", [4, 10_000], ids=["forgetting", "all kept"])
def test_the_earliest_time_since_a_number_is_told(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a list of all changes; where some are forgotten the answer may reach further back, never less."""
    monkeypatch.setattr(changes, "_MOST_NOTED", most)
    numbers = random.Random(5)
    for _ in range(50):
        noted = Changes()
        seen: list[tuple[int, int]] = []
        earliest: list[int] = []
        for at in range(60):
            seen.append((noted.number("t"), len(earliest)))
            time_ms = at * 10 - (numbers.randrange(400) if numbers.random() < 0.1 else 0)
            change(noted, "t", time_ms)
            change(noted, "other", -5)
            earliest.append(time_ms)
            number, before = numbers.choice(seen)
            told = noted.unchanged_before_ms("t", number)
            wanted = min(earliest[before:], default=FOREVER)
            assert told == wanted if most > 1000 else told in (wanted, ANY_TIME)
        assert noted.unchanged_before_ms("t", noted.number("t")) == FOREVER


def test_a_change_that_goes_on_counts() -> None:
    noted = Changes()
    with ExitStack() as running:
        running.enter_context(noted.changing("t", earliest_ms=100))
        during = noted.number("t")
        assert noted.unchanged_before_ms("t", during) == 100
    assert noted.number("t") != during
    assert noted.unchanged_before_ms("t", during) == 100
    assert noted.unchanged_before_ms("t", noted.number("t")) == FOREVER


def test_what_changes_nobody_knows_what_changes_all() -> None:
    noted = Changes()
    change(noted, "t", 100)
    number = noted.number("t")
    change(noted, ANY_TABLE)
    assert noted.number("t") != number
    assert noted.unchanged_before_ms("t", number) == ANY_TIME
    assert noted.unchanged_before_ms("t", noted.number("t")) == FOREVER
