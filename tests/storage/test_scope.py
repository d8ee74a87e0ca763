"""No read of data without a Scope, and what a Scope lets through."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import kobs.storage
from kobs.model.scope import Scope, Signal
from kobs.storage.clickhouse import Store
from kobs.storage.scope import where

STORAGE = Path(kobs.storage.__file__).parent
ALLOWED = {
    "clickhouse.py:tables_bytes": "reads system.parts: sizes, no rows",
    "clickhouse.py:_columns_of": "reads system.columns: types, no rows",
    "migrations.py:apply_schema": "reads schema_versions, which says nothing of the data",
}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def selecting(tree: ast.AST) -> Iterator[Function | None]:
    """Yield the innermost function around each `.select(`, None for module level."""

    def walk(node: ast.AST, inside: Function | None) -> Iterator[Function | None]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, Function):
                yield from walk(child, child)
                continue
            if isinstance(child, ast.Attribute) and child.attr == "select":
                yield inside
            yield from walk(child, inside)

    return walk(tree, None)


def uses_scope(function: Function) -> bool:
    """Tell whether a function takes a parameter `scope` and reads it."""
    arguments = function.args
    names = {argument.arg for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]}
    reads = any(
        isinstance(node, ast.Name) and node.id == "scope" and isinstance(node.ctx, ast.Load)
        for statement in function.body
        for node in ast.walk(statement)
    )
    return "scope" in names and reads


def faults(source: str, file_name: str) -> list[str]:
    """Return the functions of a module that select without a scope, `file:function`."""
    found = []
    for function in selecting(ast.parse(source)):
        place = f"{file_name}:{function.name if function is not None else 'module'}"
        if place not in ALLOWED and (function is None or not uses_scope(function)):
            found.append(place)
    return found


@pytest.mark.parametrize("path", sorted(STORAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_no_function_selects_without_a_scope(path: Path) -> None:
    assert faults(path.read_text(), path.name) == []


@pytest.mark.parametrize(
    "source",
    [
        "def read(store): return store.select('SELECT 1')",
        "def read(store, scope): return store.select('SELECT 1')",
        "def read(store, *, scope):\n    def inner(): return store.select('SELECT 1')\n    return scope, inner()",
        "async def read(store): return await store.run(store.select, 'SELECT 1')",
        "rows = store.select('SELECT 1')",
        "class Reader:\n    def find_rows(self): return self.store.select('SELECT 1')",
    ],
    ids=["no-scope", "unused", "inner-function", "handed-on", "module-level", "find-method"],
)
def test_the_proof_sees_a_select_without_a_scope(source: str) -> None:
    assert len(faults(source, "logs.py")) == 1


def test_the_proof_accepts_a_scope_that_is_used() -> None:
    source = (
        "def read(store, *, scope):\n    condition, bound = where(scope)\n    return store.select(condition, bound)"
    )

    assert faults(source, "logs.py") == []


def test_every_exemption_is_still_needed() -> None:
    present = {
        f"{path.name}:{function.name}"
        for path in STORAGE.rglob("*.py")
        for function in selecting(ast.parse(path.read_text()))
        if function is not None
    }

    assert present >= ALLOWED.keys()


SIGNALS = frozenset(Signal)
ROWS = [("east", "shop"), ("east", "bank"), ("west", "shop"), ("west", "it's"), ("west", "")]


@pytest.mark.clickhouse
@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (Scope.all(), ROWS),
        (Scope(frozenset({"east"}), None, SIGNALS), [("east", "shop"), ("east", "bank")]),
        (Scope(None, frozenset({"shop", "it's"}), SIGNALS), [("east", "shop"), ("west", "shop"), ("west", "it's")]),
        (Scope(frozenset({"west"}), frozenset({""}), SIGNALS), [("west", "")]),
        (Scope(frozenset(), None, SIGNALS), []),
        (Scope(None, frozenset(), SIGNALS), []),
        (Scope(None, None, frozenset({Signal.METRICS})), []),
    ],
    ids=["all", "cluster", "namespaces", "both", "no-clusters", "no-namespaces", "other-signal"],
)
def test_a_scope_lets_through_its_own_rows_only(
    shared_store: Store, scope: Scope, expected: list[tuple[str, str]]
) -> None:
    condition, parameters = where(scope, Signal.LOGS, cluster="c", namespace="n")
    rows = ", ".join("('{}', '{}')".format(c, n.replace("'", "''")) for c, n in ROWS)

    table = shared_store.select(f"SELECT c, n FROM VALUES('c String, n String', {rows}) WHERE {condition}", parameters)

    assert [(row["c"], row["n"]) for row in table.to_pylist()] == expected


def test_names_are_bound_and_never_written_into_the_text() -> None:
    condition, parameters = where(Scope(None, frozenset({"x' OR '1"}), SIGNALS), Signal.LOGS, prefix="s_")

    assert condition == "(namespace) IN {s_namespaces:Array(String)}"
    assert parameters == {"s_namespaces": ["x' OR '1"]}
