"""An index of labels finds what a look at each series finds."""

import random

import pyarrow as pa

from kobs.storage.label_index import LabelIndex

_TYPE = pa.schema([("metric", pa.string()), ("fp", pa.uint64()), ("labels", pa.map_(pa.string(), pa.string()))])


def rows_of(series: dict[int, dict[str, str]], *, days: int) -> pa.Table:
    """Return rows as the store answers them, in pieces: one for each day of a series."""
    rows = [
        {"metric": "up", "fp": number, "labels": list(labels.items())}
        for number, labels in series.items()
        for _ in range(days)
    ]
    pieces = [pa.Table.from_pylist(rows[at : at + 7], schema=_TYPE) for at in range(0, len(rows), 7)]
    return pa.concat_tables(pieces) if pieces else _TYPE.empty_table()


def test_labels_find_their_series() -> None:
    dice = random.Random(3)
    names, values = ["a", "b", "node", "größe", "x"], ["1", "2", "web-1", "web-10", "ä", "a", "x"]
    series = {
        dice.getrandbits(64): {name: dice.choice(values) for name in dice.sample(names, dice.randint(0, 5))}
        for _ in range(300)
    }
    for days in (1, 3):
        index = LabelIndex(rows_of(series, days=days))
        for _ in range(500):
            wanted = [
                (dice.choice([*names, "none"]), dice.choice([*values, "none"])) for _ in range(dice.randint(1, 3))
            ]
            expected = {
                number: tuple(sorted([("__name__", "up"), *labels.items()]))
                for number, labels in series.items()
                if all(labels.get(name) == value for name, value in wanted)
            }
            assert index.find(wanted).tolist() == sorted(expected)
            assert index.labels(wanted) == expected


def test_no_series_have_no_labels() -> None:
    index = LabelIndex(rows_of({}, days=1))
    assert (len(index), index.find([("a", "1")]).tolist(), index.labels([("a", "1")])) == (0, [], {})
    index = LabelIndex(rows_of({1: {}}, days=1))
    assert (len(index), index.find([("a", "1")]).tolist()) == (0, [])
