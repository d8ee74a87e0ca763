"""The labels of all series of one metric, as numbers: whose label has a value is found without a statement.

Rows of the table of series arrive, ids and label sets leave. A series has a row for each day.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Labels = tuple[tuple[str, str], ...]
"""A label set in the order of the names, the metric's own name among them."""

_NAME = "__name__"


class LabelIndex:
    """An index of rows with the columns metric, fp and labels."""

    def __init__(self, rows: pa.Table) -> None:
        rows = rows.combine_chunks()
        self._metric: str = rows["metric"][0].as_py() if rows.num_rows else ""
        self._ids = rows["fp"].to_numpy().astype(np.uint64, copy=False) if rows.num_rows else np.zeros(0, np.uint64)
        maps = rows["labels"].chunk(0) if rows.num_rows else pa.array([], pa.map_(pa.string(), pa.string()))
        self._offsets = maps.offsets.to_numpy()
        self._names, self._name_codes = _numbered(maps.keys)
        self._values, self._value_codes = _numbered(maps.items)
        self._number_of_name = {name: number for number, name in enumerate(self._names)}
        self._number_of_value = {value: number for number, value in enumerate(self._values)}
        pairs = self._name_codes.astype(np.int64) * len(self._values) + self._value_codes
        order = np.argsort(pairs, kind="stable")
        self._pairs = pairs[order]
        self._rows = np.repeat(np.arange(len(self._ids), dtype=np.int32), np.diff(self._offsets))[order]

    def __len__(self) -> int:
        """Return how many labels there are."""
        return len(self._pairs)

    def find(self, wanted: Sequence[tuple[str, str]]) -> NDArray[np.uint64]:
        """Return the ids of the series that have all of some labels with these values, ascending."""
        return np.unique(self._ids[self._rows_with(wanted)])

    def labels(self, wanted: Sequence[tuple[str, str]]) -> dict[int, Labels]:
        """Return the label sets of the series that `find` finds, by their ids."""
        found: dict[int, Labels] = {}
        names, values = self._names, self._values
        for row in self._rows_with(wanted).tolist():
            number = int(self._ids[row])
            if number in found:
                continue
            own = slice(self._offsets[row], self._offsets[row + 1])
            codes = zip(self._name_codes[own].tolist(), self._value_codes[own].tolist(), strict=True)
            pairs = [(_NAME, self._metric), *((names[name], values[value]) for name, value in codes)]
            found[number] = tuple(sorted(pair for pair in pairs if pair[1]))
        return found

    def _rows_with(self, wanted: Sequence[tuple[str, str]]) -> NDArray[np.int32]:
        """Return the rows with all of some labels, at least one of them."""
        found: list[NDArray[np.int32]] = []
        for name, value in wanted:
            number, of_value = self._number_of_name.get(name), self._number_of_value.get(value)
            if number is None or of_value is None:
                return np.zeros(0, np.int32)
            pair = number * len(self._values) + of_value
            begin, end = np.searchsorted(self._pairs, [pair, pair + 1]).tolist()
            found.append(self._rows[begin:end])
        found.sort(key=len)
        rows = found[0]
        for more in found[1:]:
            rows = np.intersect1d(rows, more, assume_unique=True)
        return rows


def _numbered(texts: pa.Array) -> tuple[list[str], NDArray[np.int32]]:
    """Return the different texts, and for each text its number among them."""
    encoded = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32)
