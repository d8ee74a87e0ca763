"""Relabelling: label sets arrive, label sets or nothing leave, by the rules of a scrape configuration in their order.

All is pure. Patterns are RE2's and match whole values. A label with an empty value is a label that is not there.

Source: Prometheus 3, `model/relabel`.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import re2

from kobs.errors import ConfigError

DEFAULT_SEPARATOR = ";"
DEFAULT_PATTERN = "(.*)"
DEFAULT_REPLACEMENT = "$1"

_LEGACY_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_LEGACY_TEMPLATE = re.compile(r"(?:(?:[a-zA-Z_]|\$(?:\{\w+\}|\w+))+\w*)+")
_REFERENCE = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))", re.ASCII)

Labels = dict[str, str]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, as it is written."""

    action: str = "replace"
    source_labels: tuple[str, ...] = ()
    separator: str = DEFAULT_SEPARATOR
    regex: str = DEFAULT_PATTERN
    modulus: int = 0
    target_label: str = ""
    replacement: str = DEFAULT_REPLACEMENT
    only_legacy_names: bool = False


class Relabelling:
    """Rules, ready to be applied."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        """Compile rules.

        Raises: ConfigError for a rule that cannot be.
        """
        self._steps = [_step(rule) for rule in rules]

    def __bool__(self) -> bool:
        return bool(self._steps)

    def apply(self, labels: Mapping[str, str]) -> Labels | None:
        """Return the labels that the rules make of some; None if they drop them."""
        result = {name: value for name, value in labels.items() if value}
        for step in self._steps:
            if not step(result):
                return None
        return result


Step = Callable[[Labels], bool]
"""Changes labels in place; False drops them."""


def is_label_name(name: str, *, only_legacy: bool) -> bool:
    """Tell whether a label may have this name: any text, or letters, digits and underscores."""
    return _LEGACY_NAME.fullmatch(name) is not None if only_legacy else name != ""


def _step(rule: Rule) -> Step:
    _check(rule)
    pattern = compile_pattern(rule.regex)
    names = rule.source_labels
    separator = rule.separator
    target = rule.target_label

    def value_of(labels: Labels) -> str:
        if len(names) == 1:
            return labels.get(names[0], "")
        return separator.join([labels.get(name, "") for name in names])

    def set_target(labels: Labels, value: str) -> bool:
        _set(labels, target, value)
        return True

    match rule.action:
        case "keep":
            return lambda labels: pattern.fullmatch(value_of(labels)) is not None
        case "drop":
            return lambda labels: pattern.fullmatch(value_of(labels)) is None
        case "keepequal":
            return lambda labels: labels.get(target, "") == value_of(labels)
        case "dropequal":
            return lambda labels: labels.get(target, "") != value_of(labels)
        case "lowercase":
            return lambda labels: set_target(labels, _lower(value_of(labels)))
        case "uppercase":
            return lambda labels: set_target(labels, _upper(value_of(labels)))
        case "hashmod":
            return lambda labels: set_target(labels, str(_hash(value_of(labels)) % rule.modulus))
        case "labelmap":
            return _labelmap(pattern, rule)
        case "labeldrop":
            return lambda labels: _keep_names(labels, lambda name: pattern.fullmatch(name) is None)
        case "labelkeep":
            return lambda labels: _keep_names(labels, lambda name: pattern.fullmatch(name) is not None)
    return _replace(pattern, rule, value_of)


def _replace(pattern: Any, rule: Rule, value_of: Callable[[Labels], str]) -> Step:
    expand_target = _template(rule.target_label, pattern)
    expand = _template(rule.replacement, pattern)

    def step(labels: Labels) -> bool:
        found = pattern.fullmatch(value_of(labels))
        if found is not None:
            target = expand_target(found)
            if is_label_name(target, only_legacy=rule.only_legacy_names):
                _set(labels, target, expand(found))
        return True

    return step


def _labelmap(pattern: Any, rule: Rule) -> Step:
    expand = _template(rule.replacement, pattern)

    def step(labels: Labels) -> bool:
        for name, value in sorted(labels.items()):
            found = pattern.fullmatch(name)
            if found is not None:
                _set(labels, expand(found), value)
        return True

    return step


def _keep_names(labels: Labels, is_kept: Callable[[str], bool]) -> bool:
    for name in [name for name in labels if not is_kept(name)]:
        del labels[name]
    return True


def _set(labels: Labels, name: str, value: str) -> None:
    if value:
        labels[name] = value
    else:
        labels.pop(name, None)


def _lower(text: str) -> str:
    """Map each character alone, as Go does: `Σ` at a word's end is no other than elsewhere."""
    return text.lower() if text.isascii() else "".join([character.lower()[0] for character in text])


def _upper(text: str) -> str:
    if text.isascii():
        return text.upper()
    return "".join([upper if len(upper := character.upper()) == 1 else character for character in text])


def _hash(value: str) -> int:
    # md5 spreads values over scrapers as every Prometheus does; it protects nothing
    return int.from_bytes(hashlib.md5(value.encode(), usedforsecurity=False).digest()[8:], "big")


def _template(template: str, pattern: Any) -> Callable[[Any], str]:
    """Return what puts a match's groups into a template: `$1`, `${1}`, `${name}`; `$$` is a dollar sign.

    A name is as long as letters, digits and underscores go on. A group that there is not, or that matched nothing, is
    empty; a dollar sign that begins no name stays.
    """
    parts: list[str | int] = []
    end = 0
    for found in _REFERENCE.finditer(template):
        parts.append(template[end : found.start()])
        end = found.end()
        name = found[1] or found[2]
        if name is None:
            parts.append("$")
            continue
        number = int(name) if name.isdigit() else pattern.groupindex.get(name, -1)
        if 0 <= number <= pattern.groups:
            parts.append(number)
    parts.append(template[end:])
    if all(isinstance(part, str) for part in parts):
        whole = "".join(map(str, parts))
        return lambda _: whole
    return lambda match: "".join([part if isinstance(part, str) else match.group(part) or "" for part in parts])


def compile_pattern(pattern: str) -> Any:
    """Compile a pattern that must match whole values; a dot matches line breaks too.

    Raises: ConfigError.
    """
    options = re2.Options()
    options.log_errors = False
    options.dot_nl = True
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ConfigError(f"regex {pattern!r}: expected a regular expression in RE2's syntax ({text})") from None


_WITH_TARGET = frozenset({"replace", "hashmod", "lowercase", "uppercase", "keepequal", "dropequal"})
_ACTIONS = _WITH_TARGET | {"keep", "drop", "labelmap", "labeldrop", "labelkeep"}


def _check(rule: Rule) -> None:
    """Refuse what Prometheus refuses, in nearly its words."""
    action, target = rule.action, rule.target_label
    if action not in _ACTIONS:
        raise ConfigError(f"unknown relabel action {action!r}: expected one of {', '.join(sorted(_ACTIONS))}")
    if action == "hashmod" and rule.modulus == 0:
        raise ConfigError("relabel configuration for hashmod requires non-zero modulus")
    if action in _WITH_TARGET and not target:
        raise ConfigError(f"relabel configuration for {action} action requires 'target_label' value")
    is_template = action == "replace" and "$" in target
    if target and action in _WITH_TARGET and not _may_name(target, rule, is_template=is_template):
        raise ConfigError(f"{target!r} is invalid 'target_label' for {action} action")
    if action == "labelmap" and not _may_name(rule.replacement, rule, is_template=True):
        raise ConfigError(f"{rule.replacement!r} is invalid 'replacement' for labelmap action")
    changed = {
        "source_labels": rule.source_labels != (),
        "separator": rule.separator != DEFAULT_SEPARATOR,
        "regex": rule.regex != DEFAULT_PATTERN,
        "modulus": rule.modulus != 0,
        "target_label": target != "",
        "replacement": rule.replacement != DEFAULT_REPLACEMENT,
    }
    if action in ("lowercase", "uppercase") and changed["replacement"]:
        raise ConfigError(f"'replacement' can not be set for {action} action")
    allowed = {
        "keepequal": {"source_labels", "target_label"},
        "dropequal": {"source_labels", "target_label"},
        "labeldrop": {"regex"},
        "labelkeep": {"regex"},
    }.get(action)
    if allowed is not None and any(is_set for name, is_set in changed.items() if name not in allowed):
        only = " and ".join(repr(name) for name in sorted(allowed))
        raise ConfigError(f"{action} action requires only {only}, and no other fields")


def _may_name(text: str, rule: Rule, *, is_template: bool) -> bool:
    if not rule.only_legacy_names:
        return text != ""
    return (_LEGACY_TEMPLATE if is_template else _LEGACY_NAME).fullmatch(text) is not None
