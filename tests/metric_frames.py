"""Samples as frames, and samples in a store by the way that agents' samples take."""

import asyncio
import time
from array import array
from collections.abc import Sequence
from typing import Self

from kobs.config import ServerSettings, StorageSettings
from kobs.ingest.samples import SampleIngest
from kobs.model.labels import canonical
from kobs.model.samples import Sample
from kobs.storage.clickhouse import Store
from kobs.wire.samples import JobFamily, SampleAnswer, SampleRequest, encode

NOW_MS = time.time_ns() // 1_000_000
BASE_MS = NOW_MS // 3_600_000 * 3_600_000 - 6 * 3_600_000
"""A whole hour, some hours ago: what is stored from there on does not expire."""


def frame(
    samples: Sequence[Sample],
    *,
    session: str = "session",
    series: Sequence[dict[str, str]] | None = None,
    told: int = 0,
    families: Sequence[JobFamily] = (),
    numbers: Sequence[int] | None = None,
) -> bytes:
    """Return a frame that tells the samples' series (or those given) and holds the samples.

    The series' numbers follow those of the series that were `told` before.
    """
    known: list[dict[str, str]] = []
    for sample in samples:
        if sample.labels not in known:
            known.append(sample.labels)
    telling = [canonical(labels) for labels in (known if series is None else series)]
    request = SampleRequest(
        session=session,
        node="worker-1",
        told=told,
        series=telling,
        numbers=list(range(told, told + len(telling))),
        families=list(families),
        count=len(samples),
    )
    return encode(
        request,
        times_ms=array("q", [sample.time_ms for sample in samples]),
        values=array("d", [sample.value for sample in samples]),
        numbers=array("I", [known.index(sample.labels) for sample in samples] if numbers is None else numbers),
    )


class Accepting:
    """An ingest that runs while the block lasts; its frames are accepted in turns."""

    def __init__(
        self, store: Store, settings: ServerSettings | None = None, storage: StorageSettings | None = None
    ) -> None:
        self._runner = asyncio.Runner()
        self._ingest = SampleIngest(store, settings or ServerSettings(sample_delay_ms=0), storage or StorageSettings())

    def __enter__(self) -> Self:
        self._runner.__enter__()
        self._running = self._runner.get_loop().create_task(self._ingest.run())
        return self

    def __exit__(self, *_: object) -> None:
        self._running.cancel()
        self._runner.close()

    def __call__(self, *frames: bytes) -> list[SampleAnswer]:
        """Hand frames to the ingest all at once and return its answers."""

        async def accept() -> list[SampleAnswer]:
            accepting = asyncio.gather(*(self._ingest.accept(each) for each in frames))
            await asyncio.wait({accepting, self._running}, return_when=asyncio.FIRST_COMPLETED)
            assert not self._running.done(), "the ingest ended"
            return await accepting

        return self._runner.run(accept())


def store_samples(store: Store, samples: Sequence[Sample]) -> None:
    """Store samples."""
    with Accepting(store) as accept:
        assert [answer.rejected for answer in accept(frame(samples))] == [{}]
