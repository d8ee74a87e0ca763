"""YAML as Prometheus reads it: every scalar is text until a field says otherwise, and each value knows its line.

`password: 0123` is a text, `honor_labels: yes` a boolean, by the field that takes it. A key that appears twice is an
error. Errors name file and line and never quote the file, which may hold secrets.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from kobs.errors import ConfigError


class _Texts(yaml.SafeLoader):
    """A loader for which all scalars but null are text."""


# resolvers are the class's own: those of SafeLoader must not change
_Texts.yaml_implicit_resolvers = {
    first: kept
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    if (kept := [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":null", ":merge"))])
}


class Document:
    """A file's content as plain mappings, lists and texts, and the lines of its parts."""

    def __init__(self, path: Path, text: bytes) -> None:
        """Read a YAML text.

        Raises: ConfigError.
        """
        self.path = path
        loader = None
        try:
            loader = _Texts(text)
            self._root = loader.get_single_node()
            self._check_keys(self._root)
            self.content: Any = None if self._root is None else loader.construct_document(self._root)
        except yaml.MarkedYAMLError as error:
            place = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
            raise ConfigError(f"file {path}{place}: expected YAML: {error.problem}") from None
        except (yaml.YAMLError, UnicodeError, RecursionError):
            raise ConfigError(f"file {path}: expected YAML in UTF-8") from None
        finally:
            if loader is not None:
                loader.dispose()

    def line_of(self, place: Sequence[str | int]) -> int:
        """Return the line of a value by its keys and indexes; where there is none, that of the part that lacks it."""
        node = self._root
        line = 0 if node is None else node.start_mark.line
        for step in place:
            if isinstance(node, yaml.MappingNode):
                pair = next(((key, value) for key, value in node.value if key.value == step), None)
                if pair is None:
                    break
                line, node = pair[0].start_mark.line, pair[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                line = node.start_mark.line
            else:
                break
        return int(line) + 1

    def _check_keys(self, node: object) -> None:
        """Refuse a key that appears twice in one mapping, of which YAML would silently take the last.

        Raises: ConfigError; UnicodeEncodeError for half a character, which YAML's escapes can write.
        """
        if isinstance(node, yaml.ScalarNode):
            node.value.encode()
        elif isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                if str(key.value) in seen:
                    line = key.start_mark.line + 1
                    raise ConfigError(f"file {self.path}, line {line}: the key {key.value} appears twice")
                seen.add(str(key.value))
                self._check_keys(key)
                self._check_keys(value)
        elif isinstance(node, yaml.SequenceNode):
            for value in node.value:
                self._check_keys(value)


def read_document(path: Path) -> Document:
    """Read a file.

    Raises: ConfigError.
    """
    try:
        return Document(path, path.read_bytes())
    except OSError as error:
        raise ConfigError(f"file {path}: cannot be read: {error.strerror}") from error


def without_nothing(content: object) -> Any:
    """Return plain content without the keys that have no value, which stand for their defaults."""
    if isinstance(content, Mapping):
        return {str(key): without_nothing(value) for key, value in content.items() if value is not None}
    return [without_nothing(value) for value in content] if isinstance(content, list) else content
