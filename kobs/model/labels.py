"""Label sets and their ids.

A label set is a plain `dict[str, str]`. Its *canonical* form is bytes: `name 0xff value 0xff` in the order of the
names, without empty values. 0xff occurs in no UTF-8 text, so two sets have the same bytes only if they are equal. Its
id is made of the xxHash64 of these bytes, for metrics with a few bits that put neighbours beside each other.
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


def series_id(content: bytes) -> int:
    """Return the id of a metric's series by its canonical bytes.

    The first 8 bits tell of its namespace, where it has none of its instance; the other 56 are the label set's hash.
    The store keeps samples in the order of ids: what is asked for together lies together. Without those bits, the 1,000
    series of one namespace among 50,000 lie in three quarters of all that is stored of their metric.
    """
    place = _value(content, b"namespace") or _value(content, b"instance")
    return (xxhash.xxh64_intdigest(place) & 0xFF) << 56 | xxhash.xxh64_intdigest(content) >> 8


def _value(content: bytes, name: bytes) -> bytes:
    """Return the value of a label in canonical bytes, none if it is not there."""
    if content.startswith(name + b"\xff"):
        start = len(name) + 1
    else:
        at = content.find(b"\xff" + name + b"\xff")
        # a value could read as the name: names are every second part
        while at >= 0 and content.count(b"\xff", 0, at) % 2 == 0:
            at = content.find(b"\xff" + name + b"\xff", at + 1)
        if at < 0:
            return b""
        start = at + len(name) + 2
    return content[start : content.index(b"\xff", start)]
