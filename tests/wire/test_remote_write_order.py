"""Numbers of label sets are those of a plain dictionary, in whatever order and cuts they come."""

import random

import numpy as np
import pytest

from kobs.wire import remote_write_order
from kobs.wire.remote_write_order import UNKNOWN, LabelSetOrder


class Asking:
    """An order beside the dictionary that it must agree with; `looks` counts the keys that were looked up."""

    def __init__(self) -> None:
        self.numbers: dict[bytes, int] = {}
        self.order = LabelSetOrder()
        self.looks = 0

    def check(self, *keys: tuple[int, ...]) -> None:
        """Ask for keys; unknown ones are numbered then, as a reader does."""
        flat = np.array([number for key in keys for number in key], np.uint32)
        bounds = np.cumsum([0, *map(len, keys)]).astype(np.int64)
        raw = [np.array(key, np.uint32).tobytes() for key in keys]
        found = self.order.numbers_of(flat, bounds, self._find)
        assert found.tolist() == [self.numbers.get(key, UNKNOWN) for key in raw]
        for key in raw:
            # Every seventh is not allowed, and has a number below zero.
            count = len(self.numbers)
            self.numbers.setdefault(key, count if count % 7 else -3)

    def _find(self, key: bytes) -> int | None:
        self.looks += 1
        return self.numbers.get(key)


def keys_of(count: int) -> list[tuple[int, ...]]:
    """Return different keys, of which many begin as others do or are what others begin with."""
    dice = random.Random(4)
    keys = [tuple(dice.choices(range(3), k=dice.randint(0, 12))) for _ in range(3 * count)]
    return list(dict.fromkeys(keys))[:count]


def test_any_order_of_keys_gives_their_numbers() -> None:
    dice = random.Random(11)
    keys = keys_of(900)
    asking = Asking()
    for _ in range(150):
        begin = dice.randrange(len(keys))
        run = (keys + keys)[begin : begin + dice.randint(0, 400)]
        for _ in range(dice.choice([0, 0, 0, 1, 3, 200])):
            if run:
                at = dice.randrange(len(run))
                run[at : at + dice.randint(0, 1)] = dice.choices(keys, k=dice.randint(0, 1))
        if dice.random() < 0.1:
            dice.shuffle(run)
        asking.check(*run)


def test_what_comes_again_is_looked_up_once_a_run_wherever_it_is_cut() -> None:
    keys = [(number, 7, number + 1) for number in range(1, 10_000)]
    asking = Asking()
    asking.numbers = {np.array(key, np.uint32).tobytes(): number for number, key in enumerate(keys)}
    for begin in range(0, len(keys), 1000):
        asking.check(*keys[begin : begin + 1000])
    asking.looks = 0
    for begin in range(0, len(keys), 777):
        asking.check(*keys[begin : begin + 777])
    assert asking.looks == -(-len(keys) // 777)


def test_the_order_is_forgotten_where_it_grows_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_write_order, "_MOST_KEYS", 5000)
    keys = [(number, 7, number + 1) for number in range(1, 4000)]
    asking = Asking()
    for _ in range(3):
        for begin in range(0, len(keys), 500):
            asking.check(*keys[begin : begin + 500])
            assert len(asking.order._keys) <= 5000
