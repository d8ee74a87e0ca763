"""Rules of the code's shape that no linter knows: names, who reads the environment, what a node loads, what is kept."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts import ROOT, require

VAGUE = {
    "util",
    "utils",
    "helper",
    "helpers",
    "manager",
    "handler",
    "handlers",
    "common",
    "misc",
    "base",
    "impl",
    "wrapper",
}
WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")

ON_A_NODE = ("kobs.collectors", "kobs.wire")
ONLY_ON_SERVERS = ("kobs.wire.remote_write",)
TOO_BIG_FOR_A_NODE = ("chdb", "clickhouse_connect", "fastapi", "kubernetes", "numpy", "pandas", "polars", "pyarrow")

# Written so that this file does not contain what it looks for.
FOREIGN = {
    "a path of some machine": r"(?<![\w}$.~-])/(?:root|work|opt/wheels)/[\w.]",
    "the host of a package registry": r"\b(?:pypi[.]org|pythonhosted[.]org|(?:proxy|sum)[.]golang[.]org|npmjs[.]org"
    r"|crates[.]io|maven[.](?:org|apache[.]org)|deb[.]debian[.]org)\b",
    "where packages are downloaded from": r"--(?:extra-)?index-url\b|--find-links\b|--trusted-host\b",
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Yield the dotted name and the syntax tree of each module of kobs."""
    for path in sorted((ROOT / "kobs").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts).removesuffix(".__init__"), ast.parse(path.read_bytes(), filename=str(path))


def project_files() -> list[Path]:
    """Return the files under version control and the new ones that are not ignored."""
    require((ROOT / ".git").exists(), "not a clone: no list of the project's files")
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True).stdout.split(b"\0")
    return [path for name in names if name and (path := ROOT / name.decode()).is_file()]


def test_names_of_modules_and_classes_say_what_they_are() -> None:
    names = [
        name
        for module, tree in modules()
        for name in (module, *(f"{module}.{node.name}" for node in ast.walk(tree) if isinstance(node, ast.ClassDef)))
    ]
    assert [name for name in names if VAGUE & {word.lower() for word in WORDS.findall(name)}] == []


def test_only_config_reads_the_environment() -> None:
    readers = {"environ", "environb", "getenv", "getenvb"}
    found = [
        f"{module}:{node.lineno}"
        for module, tree in modules()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr in readers)
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and readers & {each.name for each in node.names})
    ]
    assert {each.split(":")[0] for each in found} == {"kobs.config"}, found


def test_what_runs_on_a_node_loads_nothing_big() -> None:
    """In a fresh interpreter: import-linter follows the imports of kobs, not those of the packages that it uses."""
    names = [module for module, _ in modules() if module.startswith(ON_A_NODE)]
    names = [module for module in names if not module.startswith(ONLY_ON_SERVERS)]
    assert {".".join(name.split(".")[:2]) for name in names} == set(ON_A_NODE)
    program = f"import sys, {', '.join(names)}; print(*sorted({set(TOO_BIG_FOR_A_NODE)} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert loaded.stdout.split() == []


@pytest.mark.parametrize("pattern", FOREIGN.values(), ids=FOREIGN)
def test_no_file_tells_of_a_machine(pattern: str) -> None:
    expression = re.compile(pattern.encode())
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line[:160]!r}"
        for path in project_files()
        if path != Path(__file__)
        for number, line in enumerate(path.read_bytes().splitlines(), 1)
        if expression.search(line)
    ]
    assert found == []


def test_lock_file_pins_each_package_by_hash_and_has_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text()
    entries = re.findall(r"(?m)^[^\s#].*\n.*", text)
    pinned = re.compile(r"[\w.-]+==[\w.]+(?: ; .+)? \\\n    --hash=sha256:[0-9a-f]{64}(?: \\)?")
    assert entries
    assert [entry for entry in entries if not pinned.fullmatch(entry)] == []
    assert "://" not in text
