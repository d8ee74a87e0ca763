"""Which log files are below a folder, as an agent would find them there."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from kobs.collectors.logs.discovery import Discovery, Found
from kobs.collectors.logs.identity import HEAD_BYTES, container_source, first_line
from kobs.collectors.logs.segments import GzipFile, PlainFile, open_segment
from kobs.config import AgentSettings


def find(folder: Path, names: list[Path], settings: AgentSettings, *, cluster: str, node: str) -> list[Found]:
    """Return the log files among the files `names` of a folder.

    Container logs are known by their place. Plain files are those that `agent.files` names; all others count only where
    it names none at all below the folder.
    """
    root = next((path.parents[2] for path in names if _is_container_file(path)), None)
    if root is None and settings.pod_logs is not None and settings.pod_logs.is_relative_to(folder):
        root = settings.pod_logs
    found = _look(folder, settings.model_copy(update={"pod_logs": root}), cluster=cluster, node=node)
    if any(root is None or not each.path.is_relative_to(root) for each in found):
        return found
    parents = sorted({str(path.parent) for path in names if root is None or not path.is_relative_to(root)})
    files = tuple(f"{_literal(parent)}/*" for parent in parents)
    return _look(folder, settings.model_copy(update={"pod_logs": root, "files": files}), cluster=cluster, node=node)


@contextlib.contextmanager
def opened(found: Found) -> Iterator[PlainFile | GzipFile]:
    """Open a log file that is still the one that was found.

    Raises: OSError.
    """
    with contextlib.closing(open_segment(found.path)) as file:
        if file.state().inode != found.inode:
            raise OSError("it was renamed while files were compared")
        yield file


def first_line_of(found: Found) -> bytes | None:
    """Return a file's first line, as far as it tells which segment the file is; None while it is not complete.

    Raises: DamagedError, OSError.
    """
    with opened(found) as file:
        return first_line(file.read(0, HEAD_BYTES))


def _look(folder: Path, settings: AgentSettings, *, cluster: str, node: str) -> list[Found]:
    with contextlib.closing(Discovery(settings, cluster=cluster, node=node)) as discovery:
        look = discovery.look(0.0)
    return [] if look is None else [each for each in look.found if each.path.is_relative_to(folder)]


def _literal(path: str) -> str:
    """Return a path as a glob that matches nothing else."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in path)


def _is_container_file(path: Path) -> bool:
    return len(path.parts) > 3 and container_source(path.parents[2], path, cluster="", node="") is not None
