"""Who has a turn: those with something to do, and nobody else."""

from kobs.collectors.logs.turns import Turns

_NEVER = float("inf")


def _round(turns: Turns, now: float) -> list[int]:
    return [turns.take() for _ in range(turns.due(now))]


def test_sources_have_their_turns_in_the_order_in_which_they_were_woken() -> None:
    turns = Turns()
    for source in (3, 1, 2, 1):
        turns.wake(source)
    assert _round(turns, 0.0) == [3, 1, 2]
    assert _round(turns, 0.0) == []


def test_a_source_comes_back_at_its_time_and_not_before() -> None:
    turns = Turns()
    turns.later(1, 5.0)
    turns.later(2, 4.0)
    assert _round(turns, 3.9) == []
    assert _round(turns, 5.0) == [2, 1]


def test_a_source_that_is_woken_does_not_come_back_a_second_time() -> None:
    turns = Turns()
    turns.later(1, 5.0)
    turns.wake(1)
    assert _round(turns, 1.0) == [1]
    turns.later(1, 9.0)
    assert _round(turns, 6.0) == []
    assert _round(turns, 9.0) == [1]


def test_a_source_that_rests_comes_only_when_it_is_woken() -> None:
    turns = Turns()
    turns.wake(1)
    assert _round(turns, 0.0) == [1]
    turns.later(1, _NEVER)
    assert _round(turns, 1e9) == []
    turns.wake(1)
    assert _round(turns, 1e9) == [1]


def test_a_source_that_is_woken_in_its_turn_keeps_its_turn() -> None:
    turns = Turns()
    turns.wake(1)
    assert turns.due(0.0) == 1
    source = turns.take()
    turns.wake(source)
    turns.later(source, _NEVER)
    assert _round(turns, 0.0) == [1]
