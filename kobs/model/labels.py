"""Label sets and their ids.

A label set is a plain `dict[str, str]`. Its *canonical* form is bytes: `name 0xff value 0xff` in the order of the
names, without empty values. 0xff occurs in no UTF-8 text, so two sets have the same bytes only if they are equal. Its
id is the xxHash64 of these bytes; the engine can compute the same id, so that rows can be registered on either side.
"""

from collections.abc import Mapping

import xxhash

METRIC_NAME = "__name__"


def canonical(labels: Mapping[str, str]) -> bytes:
    """Return a label set's canonical bytes. A label with an empty value is the same as one that is not there."""
    return b"".join(
        name.encode() + b"\xff" + value.encode() + b"\xff" for name, value in sorted(labels.items()) if value
    )


def from_canonical(content: bytes) -> dict[str, str]:
    """Return the label set whose canonical bytes these are.

    Raises: ValueError where they are no label set's.
    """
    parts = content.decode("utf-8", "surrogateescape").split("\udcff")
    if parts.pop() or len(parts) % 2:
        raise ValueError("label set does not end after a value")
    names = parts[::2]
    labels = dict(zip(names, parts[1::2], strict=True))
    if len(labels) != len(names) or sorted(names) != names or canonical(labels) != content:
        raise ValueError("label set is not sorted, has a label twice, an empty value or text that is not UTF-8")
    return labels


def fingerprint(labels: Mapping[str, str]) -> int:
    """Return the id of a label set: xxHash64 (seed 0) of its canonical bytes."""
    return xxhash.xxh64_intdigest(canonical(labels))
