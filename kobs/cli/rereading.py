"""Reads log files again and compares them with the rows that a server has of them: `kobs verify --files`.

Each byte of each complete line must be covered by one row or by a loss on record, and each row must hold what its lines
hold. Files are found, and their sources and segments computed, as the agent does it. Files are read and rows asked for
piece by piece, so that memory stays bounded however much there is.
"""

import base64
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kobs.cli.client import Client
from kobs.cli.found_files import find, first_line_of, opened
from kobs.cli.line_coverage import Coverage, LineCoverage, Rest, Row, read_pieces
from kobs.collectors.logs.discovery import Found
from kobs.collectors.logs.identity import segment_of
from kobs.collectors.logs.segments import DamagedError, GzipFile, PlainFile
from kobs.config import AgentSettings
from kobs.errors import ConfigError
from kobs.model.logs import LogSource
from kobs.wire.ship import LineFormat

_RECENT_SECONDS = 60.0
"""A file that was written to so lately may have lines that are on their way."""
_PAGE_BYTES = 4 * 1024 * 1024
_PAGE_ROWS = 1000
_COMPRESSED_PAGE_ROWS = 200
_MOST_GENERATIONS = 8
_MOST_NOTES = 20
_LONGEST_REST_BYTES = 4 * 1024 * 1024
"""What of an entry may be in the next file, at most: as much as a batch."""


@dataclass(slots=True)
class FileReport:
    """What became of one file's bytes."""

    path: str
    source: str = ""
    segment: str = ""
    rows: int = 0
    covered_bytes: int = 0
    lost_bytes: int = 0
    """On record as lost, left out or expired."""
    pending_bytes: int = 0
    missing_bytes: int = 0
    doubled_rows: int = 0
    altered_rows: int = 0
    unseen: bool = False
    """The store knows nothing of it, neither rows nor losses."""
    unchecked: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing, doubled or changed."""
        return not (self.missing_bytes or self.doubled_rows or self.altered_rows)


@dataclass(slots=True)
class _Loss:
    start: int
    end: int | None
    left: int | None
    """Bytes that it may still account for; None: any."""


class Rereading:
    """Compares the files below a folder with the store of a server.

    Raises: ConfigError where the folder cannot be read.
    """

    def __init__(self, folder: Path, settings: AgentSettings, *, cluster: str, node: str) -> None:
        if not folder.is_dir():
            raise ConfigError(f"--files {folder}: no such folder")
        self._folder = folder.absolute()
        self._cluster = cluster
        self._node = node
        self._now = time.time()
        names = [path for path in sorted(self._folder.rglob("*")) if path.is_file()]
        self._found = find(self._folder, names, settings, cluster=cluster, node=node)
        self.left_aside = sorted({str(path) for path in names} - {str(each.path) for each in self._found})
        """Files that are no logs, or that `agent.files` does not name."""

    def compare(self, client: Client, report: dict[str, Any]) -> Iterator[FileReport]:
        """Yield what became of each file. `report` is the answer of /kobs/v1/verify, asked after the files were found.

        Raises: as `Client.get`.
        """
        by_source: dict[int, list[Found]] = defaultdict(list)
        for found in self._found:
            by_source[found.stream.source.id()].append(found)
        known = _Known(client, report, set(by_source))
        for source, files in by_source.items():
            of_source = _SourceFiles(client, known, source, now=self._now)
            yield from of_source.compare(files)


class _Known:
    """What the server says of sources: their sums, missing ranges and losses on record."""

    def __init__(self, client: Client, report: dict[str, Any], sources: set[int]) -> None:
        self._sums: dict[tuple[str, ...], dict[str, Any]] = {_key(each["labels"]): each for each in report["sources"]}
        self.missing = {
            (int(each["source"]), int(each["segment"])) for one in report["sources"] for each in one["missing"]
        }
        self.losses: dict[tuple[int, int], list[_Loss]] = defaultdict(list)
        self.cut: dict[tuple[int, int, int], int] = {}
        for loss in _losses(client):
            source, segment = int(loss["source"]), int(loss["segment"])
            if source not in sources:
                continue
            if loss["in_row"]:
                self.cut[source, segment, loss["start"]] = loss["bytes"] or 0
            else:
                self.losses[source, segment].append(_Loss(loss["start"], loss["end"], loss["bytes"]))

    def sums(self, source: LogSource) -> dict[str, Any]:
        """Return the numbers of a source; empty where the server does not know it."""
        names = ("cluster", "node", "namespace", "pod", "container", "path")
        labels = {name: getattr(source, name) for name in names} | {"kind": source.kind.value}
        return self._sums.get(_key(labels), {})


class _SourceFiles:
    """The files of one source, one after another: an entry may go on from one to the next."""

    def __init__(self, client: Client, known: _Known, source: int, *, now: float) -> None:
        self._client = client
        self._known = known
        self._source = source
        self._now = now
        self._rest: Rest | None = None
        self._before: FileReport | None = None

    def compare(self, files: Iterable[Found]) -> Iterator[FileReport]:
        """Yield the report of each file, in the order of their segments."""
        ordered: list[tuple[int, Found, bytes]] = []
        for found in files:
            try:
                line = first_line_of(found)
            except (DamagedError, OSError) as error:
                yield FileReport(str(found.path), unchecked=[f"it cannot be read: {error}"])
                continue
            if line is None:
                yield FileReport(str(found.path), unchecked=["its first line is not complete yet"])
                continue
            ordered.append((segment_of(found.stream, line, inode=found.inode), found, line))
        if ordered and ordered[0][1].stream.format is LineFormat.CRI:
            ordered.sort(key=lambda each: each[:1])
        for number, (_, found, line) in enumerate(ordered):
            yield self._compare_file(found, line, is_first=number == 0)
        if self._rest is not None and self._before is not None:
            self._before.unchecked.append("its last entry goes on in a file that is not here")

    def _compare_file(self, found: Found, line: bytes, *, is_first: bool) -> FileReport:
        """Compare under the segment that fits best: a file that was truncated begins another with the same line."""
        best = FileReport(str(found.path))
        best_rest: Rest | None = None
        for generation in range(_MOST_GENERATIONS):
            segment = segment_of(found.stream, line, inode=found.inode, generation=generation)
            report = FileReport(str(found.path), _name(found.stream.source), str(segment))
            try:
                with opened(found) as file:
                    rest = self._lay_rows(found, file, segment, report, is_first=is_first)
            except (DamagedError, OSError) as error:
                report.unchecked.append(f"it cannot be read to its end: {error}")
                rest = None
            if generation == 0 or (report.rows and _faults(report) < _faults(best)):
                best, best_rest = report, rest
            if report.is_whole or report.rows == 0:
                break
        self._before, self._rest = best, best_rest
        return best

    def _lay_rows(
        self, found: Found, file: PlainFile | GzipFile, segment: int, report: FileReport, *, is_first: bool
    ) -> Rest | None:
        on_record = sorted(self._known.losses.get((self._source, segment), []), key=lambda each: each.start)
        losses = [_Loss(each.start, each.end, each.left) for each in on_record]
        gaps: list[tuple[int, int]] = []

        def uncovered(start: int, end: int) -> None:
            for low, high in _not_on_record(start, end, losses):
                if len(gaps) > 10_000 and gaps[-1][1] < low:
                    gaps[-1] = (gaps[-1][0], high)  # so many that their exact places tell nothing more
                else:
                    gaps.append((low, high))
            report.lost_bytes += end - start

        coverage = LineCoverage(
            read_pieces(file, found.stream.format),
            end=None if file.compressed else found.size,
            cut_bytes=lambda offset: self._known.cut.get((self._source, segment, offset), 0),
            uncovered=uncovered,
        )
        if self._rest is not None:
            coverage.take_rest(self._rest)
        for row in self._rows(segment, file):
            if not coverage.take(row):
                break
        what = coverage.finish()
        self._fill(report, what)
        report.lost_bytes -= sum(end - start for start, end in gaps)
        self._judge(found, segment, report, gaps, end=what.end, has_before=not is_first, has_losses=bool(losses))
        return what.rest

    def _rows(self, segment: int, file: PlainFile | GzipFile) -> Iterator[Row]:
        """Yield the rows of a segment, in pages of about as many bytes as may be held."""
        after = 0
        while True:
            limit = _COMPRESSED_PAGE_ROWS
            if not file.compressed:
                limit = min(max(file.read(after, _PAGE_BYTES).count(b"\n"), 1), _PAGE_ROWS)
            asked = {"source": self._source, "segment": segment, "offset": after, "limit": limit}
            page = self._client.get("/kobs/v1/verify/entries", [(name, str(value)) for name, value in asked.items()])
            rows = page["entries"]
            for row in rows:
                yield Row(row["offset"], row["size"], row["copies"], base64.b64decode(row["body_base64"]))
            if len(rows) < limit:
                return
            after = rows[-1]["offset"] + 1

    def _fill(self, report: FileReport, what: Coverage) -> None:
        report.rows = what.rows
        report.covered_bytes = what.covered_bytes
        report.doubled_rows = what.doubled_rows
        report.altered_rows = what.altered_rows
        report.findings += what.notes
        if what.overlapping_bytes:
            report.doubled_rows += 1
        if what.beyond_rows:
            report.unchecked.append(f"{what.beyond_rows} rows lie beyond its end: it was truncated since")

    def _judge(
        self,
        found: Found,
        segment: int,
        report: FileReport,
        gaps: list[tuple[int, int]],
        *,
        end: int,
        has_before: bool,
        has_losses: bool,
    ) -> None:
        """Say what the bytes are that neither a row nor a loss accounts for."""
        sums = self._known.sums(found.stream.source)
        recent = self._now - found.modified_ns / 1e9 < _RECENT_SECONDS
        pending = recent or bool(sums.get("pending_bytes"))
        told_missing = (self._source, segment) in self._known.missing
        may_have_expired = int(sums.get("expired_bytes", 0))
        covered_any = report.rows > 0 or has_losses
        is_plain = found.stream.format is LineFormat.PLAIN
        may_go_on = not is_plain and not has_before
        if gaps and not covered_any and is_plain and not found.is_live and sums:
            report.unchecked.append("it may be a copy or compressed form of a file that is known by another inode")
            return
        if gaps and not covered_any and not pending and not may_have_expired:
            report.unseen = True
            report.findings.append("the store knows nothing of it")
        for low, high in gaps:
            size = high - low
            if high >= end and pending and not told_missing:
                report.pending_bytes += size
            elif size <= may_have_expired and not told_missing:
                may_have_expired -= size
                if len(report.unchecked) < _MOST_NOTES:
                    report.unchecked.append(
                        f"bytes {low} to {high}: their time may have been over, their rows are gone"
                    )
            elif low == 0 and high <= _LONGEST_REST_BYTES and covered_any and may_go_on and not told_missing:
                report.unchecked.append(
                    f"bytes 0 to {high} may belong to an entry that began in a file that is not here"
                )
            else:
                report.missing_bytes += size
                if len(report.findings) < _MOST_NOTES and not report.unseen:
                    report.findings.append(f"bytes {low} to {high} are not stored and no loss is on record")


def _faults(report: FileReport) -> int:
    return report.missing_bytes + report.doubled_rows + report.altered_rows


def _not_on_record(start: int, end: int, losses: list[_Loss]) -> Iterator[tuple[int, int]]:
    """Yield the ranges within a range that no loss accounts for."""
    at = start
    for loss in losses:
        if at >= end:
            return
        high = end if loss.end is None else min(loss.end, end)
        low = max(loss.start, at)
        if loss.left is not None:
            high = min(high, low + loss.left)
        if high <= low:
            continue
        if loss.left is not None:
            loss.left -= high - low
        if low > at:
            yield at, low
        at = high
    if at < end:
        yield at, end


def _losses(client: Client) -> Iterator[dict[str, Any]]:
    cursor: str | None = None
    while True:
        position = [] if cursor is None else [("cursor", cursor)]
        page = client.get("/kobs/v1/ledger", [("limit", "1000"), *position])
        yield from page["losses"]
        cursor = page["cursor"]
        if cursor is None:
            return


def _key(labels: dict[str, str]) -> tuple[str, ...]:
    names = ("cluster", "node", "kind", "namespace", "pod", "container", "path")
    return tuple(labels.get(name, "") for name in names)


def _name(source: LogSource) -> str:
    if source.path:
        return source.path
    return f"{source.namespace}/{source.pod}/{source.container}"
