"""The documentation names what is there: links, commands, flags, endpoints, settings, loss reasons."""

import re
from pathlib import Path

import click
import httpx
import pytest

from kobs.cli import kobs
from kobs.config import describe
from kobs.model.logs import Finding, LossReason
from kobs.storage.clickhouse import Store
from tests.api.server import serve
from tests.parts import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CALL = re.compile(r"(?:^\$ |`|^  look +|^ {11}|^)(?:\.venv/bin/)?kobs ([a-z]+)((?: [^`\n]*)?)", re.MULTILINE)
FLAG = re.compile(r"(?<![\w-])(--?[A-Za-z][\w-]*)")
SETTING = re.compile(r"`((?:agent|query|server|storage|up|log)\.[a-z_]+)`")
PATHS = re.compile(r"`((?:kobs|tests)/[\w/.]+)`")


def _id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def _command(name: str) -> click.Command | None:
    return kobs.get_command(click.Context(kobs), name)


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_relative_links_resolve(page: Path) -> None:
    broken = []
    for link in LINK.findall(page.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        anchors = [_anchor(found) for found in re.findall(r"(?m)^#+ (.+)$", target.read_text())] if anchor else []
        if not target.exists() or (anchor and anchor not in anchors):
            broken.append(link)
    assert broken == []


def test_readme_names_every_command_and_no_other() -> None:
    text = (ROOT / "README.md").read_text()
    named = set(re.findall(r"(?m)(?:`|^\$ |^ +)(?:\.venv/bin/)?kobs ([a-z]+)\b(?! and)", text))
    assert named == set(kobs.list_commands(click.Context(kobs)))


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_commands_have_the_flags_that_are_shown(page: Path) -> None:
    unknown = []
    for name, rest in CALL.findall(page.read_text()):
        command = _command(name)
        if command is None:
            continue  # planned, or a word of the text
        known = {flag for option in command.params for flag in option.opts} | {"--help", "-h"}
        shown = rest.split(" #")[0]
        unknown += [f"kobs {name} {flag}" for flag in FLAG.findall(shown) if flag not in known]
    assert unknown == []


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_settings_that_are_named_exist(page: Path) -> None:
    known = {setting.key for setting in describe()}
    assert [name for name in SETTING.findall(page.read_text()) if name not in known] == []


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_parts_of_the_project_that_are_named_exist(page: Path) -> None:
    """A row or sentence that says `(planned)` may name what is to come."""
    missing = [
        name
        for line in page.read_text().splitlines()
        if "(planned)" not in line
        for name in PATHS.findall(line)
        if not (ROOT / name).exists()
    ]
    assert missing == []


@pytest.mark.clickhouse
def test_every_endpoint_that_is_named_answers(engine_folder: Path, database_name: str) -> None:
    text = "".join(page.read_text() for page in PAGES)
    paths = set(re.findall(r"(?m)(?:^## |`)GET (/[\w/-]+)", text)) - {"/kobs/v1/logs/tail"}  # a WebSocket
    assert "/kobs/v1/ledger" in paths
    store = Store(f"chdb://{engine_folder}", database=database_name, threads=4)
    try:
        with serve(store) as server:
            codes = {path: httpx.get(server.url + path, trust_env=False).status_code for path in paths}
    finally:
        store.command(f"DROP DATABASE {database_name} SYNC")
        store.close()
    assert {path: code for path, code in codes.items() if code in (404, 405) or code >= 500} == {}


def test_every_reason_of_a_loss_is_explained() -> None:
    text = (ROOT / "docs" / "delivery.md").read_text()
    assert [each for each in (*LossReason, *Finding) if f"`{each.value}`" not in text] == []


def test_every_table_is_in_the_storage_page() -> None:
    schema = "".join(path.read_text() for path in (ROOT / "kobs" / "storage" / "schema").glob("*.sql"))
    tables = re.findall(r"CREATE TABLE \{database\}\.(\w+)", schema)
    text = (ROOT / "docs" / "storage.md").read_text()
    assert tables
    assert [table for table in tables if f"| `{table}` |" not in text] == []


def test_the_path_of_the_data_is_told_alike() -> None:
    path = "collectors -> wire -> ingest -> storage -> query -> alerts -> health -> api"
    assert path in (ROOT / "README.md").read_text()
    assert path in (ROOT / "kobs" / "__init__.py").read_text()
    assert (
        "collectors ─► wire ─► ingest ─► storage ─► query ─► alerts ─► health ─► api"
        in (ROOT / "docs" / "architecture.md").read_text()
    )
