"""`label_replace` and `label_join`: functions of labels, which see neither times nor values.

Source: Prometheus 3, `promql/functions.go`; Go's `regexp` (RE2's syntax, the template of `Expand`).
"""

import re
from collections.abc import Callable
from typing import Any

import re2

from kobs.errors import QueryEvaluationError
from kobs.query.promql.labelsets import distinct, relabelled, value_of, with_label
from kobs.query.promql.values import Block

_LARGEST_GROUP = 10**8
_DIGITS = re.compile(r"[0-9]+", re.A)


def label_replace(block: Block, target: str, replacement: str, source: str, pattern: str) -> Block:
    """Return the series with a label set to a template of a match, where the whole of another label matches.

    Raises: QueryEvaluationError for a pattern or name that cannot be, and if two series come to have equal labels.
    """
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(f"^(?s:{pattern})$", options)
    except re2.error as error:
        raise QueryEvaluationError(f"invalid regular expression in label_replace(): {pattern}") from error
    if not target:
        raise QueryEvaluationError(f"invalid destination label name in label_replace(): {target}")
    parts = template(replacement, dict(compiled.groupindex))
    replaced: dict[str, str | None] = {}

    def value_for(old: str) -> str | None:
        found = compiled.match(old)
        return None if found is None else "".join(part(found) for part in parts)

    labels = []
    for own in block.labels:
        old = value_of(own, source)
        if old not in replaced:
            replaced[old] = value_for(old)
        new = replaced[old]
        labels.append(own if new is None else with_label(own, target, new))
    return distinct(relabelled(block, labels))


def label_join(block: Block, target: str, separator: str, sources: tuple[str, ...] = ()) -> Block:
    """Return the series with a label set to the values of others, joined.

    Raises: QueryEvaluationError for a name that cannot be, and if two series come to have equal labels.
    """
    for name in sources:
        if not name:
            raise QueryEvaluationError(f"invalid source label name in label_join(): {name}")
    if not target:
        raise QueryEvaluationError(f"invalid destination label name in label_join(): {target}")
    labels = [with_label(own, target, separator.join(value_of(own, name) for name in sources)) for own in block.labels]
    return distinct(relabelled(block, labels))


def template(text: str, names: dict[str, int]) -> list[Callable[[Any], str]]:
    """Return the parts of a replacement, each a function of a match: `$1`, `${1}`, `$name`, `${name}`, `$$`, or text.

    A reference takes as many letters, digits and `_` as there are; a group that is not there or took no part is empty;
    a `$` that begins no reference stands for itself.
    """
    parts: list[Callable[[Any], str]] = []
    place = 0
    while (dollar := text.find("$", place)) >= 0:
        parts.append(_text(text[place:dollar]))
        if text.startswith("$", dollar + 1):
            parts.append(_text("$"))
            place = dollar + 2
            continue
        name, place = _reference(text, dollar + 1)
        parts.append(_text("$") if name is None else _group(name, names))
    parts.append(_text(text[place:]))
    return parts


def _reference(text: str, start: int) -> tuple[str | None, int]:
    """Return the name that a reference has after its `$`, and where the text goes on; None where there is none."""
    in_braces = text.startswith("{", start)
    first = start + in_braces
    end = first
    while end < len(text) and (text[end] == "_" or text[end].isalpha() or text[end].isdecimal()):
        end += 1
    if end == first or (in_braces and not text.startswith("}", end)):
        return None, start
    return text[first:end], end + in_braces


def _group(name: str, names: dict[str, int]) -> Callable[[Any], str]:
    number: int | None
    if _DIGITS.fullmatch(name) and (name == "0" or not name.startswith("0")) and int(name) < _LARGEST_GROUP * 10:
        number = int(name)
    else:
        number = names.get(name)

    def value(found: Any) -> str:
        if number is None or number > found.re.groups:
            return ""
        return str(found.group(number) or "")

    return value


def _text(text: str) -> Callable[[Any], str]:
    return lambda _: text
