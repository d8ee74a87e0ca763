"""Finding addresses: the discoveries of one job arrive, all its groups of addresses leave whenever they have changed.

A source that cannot be read keeps the groups that it had; why is told in `problems`. Files are looked at every few
seconds, so that a change is seen soon wherever they are; a service is asked once in its interval.

Source: Prometheus 3, `discovery/file` and `discovery/http`.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from kobs import telemetry
from kobs.collectors.scraping.configuration import FileDiscovery, HttpDiscovery, ScrapeConfig, TargetGroup
from kobs.collectors.scraping.configuration_file import found_files
from kobs.collectors.scraping.documents import Document, without_nothing
from kobs.collectors.scraping.http import HttpClients
from kobs.collectors.scraping.request_errors import HttpError
from kobs.errors import ConfigError, KobsError

FILES_SECONDS = 2.0
MOST_BODY_BYTES = 256 * 1024 * 1024

_JSON = re.compile(r'application/json(?:;\s*charset=("utf-8"|utf-8))?', re.IGNORECASE)
_GROUPS = TypeAdapter(tuple[TargetGroup, ...])

log = telemetry.get_logger(__name__)


class Group(NamedTuple):
    """Addresses with the labels that they have in common."""

    addresses: Sequence[str]
    labels: Mapping[str, str]


class JobDiscovery:
    """All discoveries of one job."""

    def __init__(self, job: ScrapeConfig, changed: Callable[[list[Group]], None]) -> None:
        """Begin with the static groups; `changed` is called with all groups each time that they are others."""
        self._job = job
        self._changed = changed
        self._found: dict[str, list[Group]] = {
            "static": [Group(group.targets, group.labels) for group in job.static_configs]
        }
        self.problems: dict[str, str] = {}
        """Why a source cannot be read, by its name."""

    async def run(self) -> None:
        """Look until cancelled."""
        self._changed(self._groups())
        async with asyncio.TaskGroup() as tasks:
            for number, files in enumerate(self._job.file_sd_configs):
                tasks.create_task(self._watch_files(number, files))
            for number, service in enumerate(self._job.http_sd_configs):
                tasks.create_task(self._ask(number, service))

    def _groups(self) -> list[Group]:
        return [group for groups in self._found.values() for group in groups]

    def _take(self, source: str, groups: list[Group]) -> None:
        if self._found.get(source) != groups:
            self._found[source] = groups
            self._changed(self._groups())

    async def _watch_files(self, number: int, discovery: FileDiscovery) -> None:
        states: dict[Path, tuple[int, int, int]] = {}
        read: dict[Path, list[Group]] = {}
        source = f"file_sd_configs[{number}]"
        while True:
            found = await asyncio.to_thread(_states, discovery.files)
            for path in [path for path in found if states.get(path) != found[path]]:
                groups = await self._read(f"file {path}", asyncio.to_thread(read_groups, path))
                if groups is not None:
                    read[path] = groups
            for path in states.keys() - found.keys():
                self.problems.pop(f"file {path}", None)
            states = found
            read = {path: read[path] for path in found if path in read}
            self._take(source, [group for groups in read.values() for group in groups])
            await asyncio.sleep(FILES_SECONDS)

    async def _ask(self, number: int, discovery: HttpDiscovery) -> None:
        clients = HttpClients(discovery)
        interval = discovery.refresh_interval / 1000 or 60.0
        try:
            while True:
                groups = await self._read(f"url {discovery.url}", _fetch_groups(clients, discovery, interval))
                if groups is not None:
                    self._take(f"http_sd_configs[{number}]", groups)
                await asyncio.sleep(interval)
        finally:
            await clients.close()

    async def _read(self, name: str, reading: Awaitable[list[Group]]) -> list[Group] | None:
        """Return the groups of a source; None where it cannot be read, which becomes a problem."""
        try:
            groups = await reading
        except KobsError as error:
            problem = str(error)
            if self.problems.get(name) != problem:
                log.warning("A discovery cannot be read.", pool=self._job.job_name, source=name, error=problem)
            self.problems[name] = problem
            return None
        self.problems.pop(name, None)
        return groups


def read_groups(path: Path) -> list[Group]:
    """Return the groups of a file, JSON or YAML by its name.

    Raises: ConfigError.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"file {path}: cannot be read: {error.strerror}") from None
    is_json = path.suffix.lower() == ".json"
    content = _json(text, f"file {path}") if is_json else without_nothing(Document(path, text).content)
    return _groups(content, f"file {path}", {"__meta_filepath": str(path)})


async def _fetch_groups(clients: HttpClients, discovery: HttpDiscovery, interval: float) -> list[Group]:
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": "gzip",
        "X-Prometheus-Refresh-Interval-Seconds": f"{interval:g}",
    }
    try:
        async with (
            asyncio.timeout(interval),
            clients.get(discovery.url, headers, body_limit=MOST_BODY_BYTES) as answer,
        ):
            if _JSON.fullmatch(answer.content_type.strip()) is None:
                raise HttpError(f'unsupported content type "{answer.content_type[:200]}"; expected application/json')
            body = b"".join([piece async for piece in answer.pieces])
    except TimeoutError:
        raise HttpError(f"no whole answer within {interval:g} s (refresh_interval)") from None
    name = f"url {discovery.url}"
    return _groups(_json(body, name), name, {"__meta_url": discovery.url})


def _json(text: bytes, name: str) -> object:
    try:
        content = json.loads(text)
        json.dumps(content, ensure_ascii=False).encode()  # escapes can write half a character
        return content
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "it is not UTF-8, or too deep"
        raise ConfigError(f"{name}: expected JSON: {reason}") from None


def _groups(content: object, name: str, labels: Mapping[str, str]) -> list[Group]:
    try:
        groups = _GROUPS.validate_python(content or ())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{name}: {place or 'the whole'}: {first['msg']}; expected a list of groups with targets and labels"
        ) from None
    return [Group(group.targets, {**group.labels, **labels}) for group in groups]


def _states(patterns: Sequence[str]) -> dict[Path, tuple[int, int, int]]:
    """Return what tells a changed file from an unchanged one, by path."""
    found = {}
    for path in (path for pattern in patterns for path in found_files(pattern)):
        try:
            told = path.stat()
        except OSError:
            continue
        found[path] = told.st_mtime_ns, told.st_size, told.st_ino
    return found
