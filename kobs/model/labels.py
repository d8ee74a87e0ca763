"""Label sets and their ids.

A label set is a plain `dict[str, str]`. Its id is 64 bits of its sorted names and values; the engine can compute the
same id (`xxHash64`), so that rows can be registered on either side.
"""

from collections.abc import Mapping

import xxhash

METRIC_NAME = "__name__"


def fingerprint(labels: Mapping[str, str]) -> int:
    """Return the id of a label set: xxHash64 (seed 0) of `name 0xff value 0xff` in the order of the names.

    0xff occurs in no UTF-8 text, so two sets have the same bytes only if they are equal. Labels with an empty value
    are the same as labels that are not there.
    """
    canonical = b"".join(
        name.encode() + b"\xff" + value.encode() + b"\xff" for name, value in sorted(labels.items()) if value
    )
    return xxhash.xxh64_intdigest(canonical)
