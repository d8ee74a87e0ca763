"""What runs a script: kobs on a store of its own, or a real Prometheus that says whether the script is right."""

import asyncio
import datetime as dt
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from kobs.errors import KobsError
from kobs.model.labels import METRIC_NAME, fingerprint
from kobs.model.samples import Sample
from kobs.model.scope import Scope
from kobs.query.metrics import Metrics
from kobs.query.promql.values import Block, Points, Scalar, Text
from kobs.storage.clickhouse import Store
from kobs.storage.metric_writes import SAMPLE_ROWS, SERIES_ROWS, write_samples, write_series
from tests.prometheus import Prometheus, running_prometheus
from tests.promql.answers import Answer

_DAY_MS = 86_400_000


class Engine(Protocol):
    """What a script needs."""

    def write(self, samples: list[Sample]) -> None:
        """Add samples."""

    def clear(self) -> None:
        """Remove all samples."""

    def instant(self, query: str, time_ms: int) -> Answer:
        """Evaluate at one moment."""

    def range(self, query: str, start_ms: int, end_ms: int, step_ms: int) -> Answer:
        """Evaluate at many moments."""


class KobsEngine:
    """kobs's own evaluation on a real store, into which samples of 1970 are put: ingest would refuse their age."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._metrics = Metrics(store)

    def write(self, samples: list[Sample]) -> None:
        """Put samples and their series into the tables."""
        fps = [fingerprint(sample.labels) for sample in samples]
        columns = [
            [sample.labels.get(METRIC_NAME, "") for sample in samples],
            fps,
            [sample.time_ms for sample in samples],
            [sample.value for sample in samples],
        ]
        days: dict[tuple[int, int], list[int]] = {}
        labels = dict(zip(fps, (sample.labels for sample in samples), strict=True))
        for fp, sample in zip(fps, samples, strict=True):
            days.setdefault((fp, sample.time_ms // _DAY_MS), []).append(sample.time_ms)
        rows = [
            {
                "metric": labels[fp].get(METRIC_NAME, ""),
                "fp": fp,
                "labels": [
                    (name, value) for name, value in sorted(labels[fp].items()) if value and name != METRIC_NAME
                ],
                "day": dt.date(1970, 1, 1) + dt.timedelta(days=day),
                "min_ts": min(times),
                "max_ts": max(times),
            }
            for (fp, day), times in days.items()
        ]
        write_series(self._store, pa.Table.from_pylist(rows, schema=SERIES_ROWS))
        table = pa.table(dict(zip(SAMPLE_ROWS.names, columns, strict=True)), schema=SAMPLE_ROWS)
        write_samples(self._store, table)

    def clear(self) -> None:
        """Empty the tables."""
        for table in ("metric_samples", "metric_series"):
            self._store.command(f"TRUNCATE TABLE {self._store.database}.{table}")

    def instant(self, query: str, time_ms: int) -> Answer:
        """Evaluate at one moment."""
        return self._answer(lambda: self._metrics.instant(query, time_ms, Scope.all()), is_instant=True)

    def range(self, query: str, start_ms: int, end_ms: int, step_ms: int) -> Answer:
        """Evaluate at many moments."""
        return self._answer(
            lambda: self._metrics.range(query, start_ms, end_ms, step_ms, Scope.all()), is_instant=False
        )

    def _answer(self, ask: Callable[[], Any], *, is_instant: bool) -> Answer:
        try:
            found = asyncio.run(ask())
        except KobsError as error:
            return Answer(error=str(error))
        notes = {"warnings": list(found.annotations.warnings), "infos": list(found.annotations.infos)}
        value = found.value
        if isinstance(value, Text):
            return Answer("string", string=value.value, **notes)
        if isinstance(value, Points):
            return Answer("matrix", _points(value), **notes)
        times = found.moments.times_ms().tolist()
        if isinstance(value, Scalar):
            points = list(zip(times, value.values.tolist(), strict=True))
            return Answer("scalar" if is_instant else "matrix", [({}, points)], **notes)
        return Answer("vector" if is_instant else "matrix", _block(value, times), **notes)


def _points(points: Points) -> list[tuple[dict[str, str], list[tuple[int, float]]]]:
    times, values = points.times_ms.tolist(), points.values.tolist()
    bounds = points.bounds.tolist()
    return [
        (dict(labels), list(zip(times[start:end], values[start:end], strict=True)))
        for labels, start, end in zip(points.labels, bounds, bounds[1:], strict=False)
        if end > start
    ]


def _block(block: Block, times: list[int]) -> list[tuple[dict[str, str], list[tuple[int, float]]]]:
    found = []
    for labels, values, present in zip(block.labels, block.values.tolist(), block.present.tolist(), strict=True):
        points = [(time, value) for time, value, here in zip(times, values, present, strict=True) if here]
        if points:
            found.append((dict(labels), points))
    return found


class PrometheusEngine:
    """A real Prometheus; as it forgets nothing at once, every clearing starts a new one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running = ExitStack()
        self._server: Prometheus | None = None
        self._count = 0

    def write(self, samples: list[Sample]) -> None:
        """Send samples by remote write."""
        self._started().write(samples)

    def clear(self) -> None:
        """Stop the server, if it has samples."""
        self._running.close()
        self._server = None

    def instant(self, query: str, time_ms: int) -> Answer:
        """Evaluate at one moment."""
        return _of_json(self._started().get("/api/v1/query", query=query, time=time_ms / 1000))

    def range(self, query: str, start_ms: int, end_ms: int, step_ms: int) -> Answer:
        """Evaluate at many moments."""
        times = {"start": start_ms / 1000, "end": end_ms / 1000, "step": step_ms / 1000}
        return _of_json(self._started().get("/api/v1/query_range", query=query, **times))

    def _started(self) -> Prometheus:
        if self._server is None:
            self._count += 1
            folder = self._folder / str(self._count)
            folder.mkdir()
            self._server = self._running.enter_context(running_prometheus(folder))
        return self._server


def _of_json(answer: dict[str, Any]) -> Answer:
    if answer["status"] == "error":
        return Answer(error=answer["error"].removeprefix('invalid parameter "query": '))
    data = answer["data"]
    kind, result = data["resultType"], data["result"]
    notes = {"warnings": answer.get("warnings", []), "infos": answer.get("infos", [])}
    if kind == "string":
        return Answer(kind, string=result[1], **notes)
    if kind == "scalar":
        return Answer(kind, [({}, [_point(result)])], **notes)
    series = [(each["metric"], [_point(p) for p in each.get("values", [each.get("value")])]) for each in result]
    return Answer(kind, series, **notes)


def _point(point: tuple[float, str]) -> tuple[int, float]:
    return round(point[0] * 1000), float(point[1])
