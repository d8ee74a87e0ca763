"""A node whose agent delivers to an ingest in this process, over one store."""

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from kobs.collectors.logs import delivery
from kobs.collectors.logs.agent import LogAgent
from kobs.collectors.logs.state import State
from kobs.collectors.servers import Servers
from kobs.config import Settings, load
from kobs.ingest.logs import LogIngest
from kobs.model.scope import Scope
from kobs.query.verify import Verify
from kobs.storage.clickhouse import Store
from kobs.wire.ship import LogAnswer

WAIT_SECONDS = 60.0


class Node:
    """Folders of one machine, and what runs on it."""

    def __init__(self, root: Path, store: Store, **overrides: Any) -> None:
        self.pods = root / "pods"
        self.files = root / "log"
        self.pods.mkdir()
        self.files.mkdir()
        self.state = root / "state"
        self.store = store
        self.overrides: dict[str, Any] = {
            "agent.pod_logs": self.pods,
            "agent.files": (f"{self.files}/*.log",),
            "agent.journal": "",
            "agent.state": self.state,
            "agent.poll_ms": 10,
            "agent.hold_ms": 100,
            **overrides,
        }
        self.down = False
        self.cut_answers = 0

    @property
    def settings(self) -> Settings:
        """The settings, with what the test changed."""
        return load(None, overrides=self.overrides)

    @asynccontextmanager
    async def server(self) -> AsyncIterator[LogIngest]:
        """Run an ingest as a new server instance."""
        settings = self.settings
        self.ingest = LogIngest(self.store, settings.server, settings.storage, scope=Scope.all())
        task = asyncio.create_task(self.ingest.run())
        try:
            yield self.ingest
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[LogAgent]:
        """Run an agent; leaving the block stops it as SIGTERM does."""
        node = self

        class Direct(Servers):
            # Stands for the HTTP hop only, which the tests with processes have: here faults are put between exactly.
            async def ask(self, path: str, frame: bytes, answer_type: Any, **_: object) -> Any:  # noqa: ARG002 - its signature
                if node.down:
                    raise self._failed("down", pause_seconds=0.02, may_have_acted=False)
                call = node.ingest.accept if path.endswith("logs") else node.ingest.positions
                answer = await call(frame)
                if node.cut_answers > 0 and isinstance(answer, LogAnswer) and answer.batches:
                    node.cut_answers -= 1
                    raise self._failed("cut", pause_seconds=0.02, may_have_acted=True)
                self.problem = ""
                return answer

        settings = self.settings
        state = State(self.state)
        original = delivery.Servers
        delivery.Servers = Direct  # type: ignore[misc]
        try:
            agent = LogAgent(settings.agent, state, cluster="c1", node="n1")
        finally:
            delivery.Servers = original  # type: ignore[misc]
        task = asyncio.create_task(agent.run())
        try:
            yield agent
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            state.close()

    def lose_state(self) -> None:
        """Delete the agent's state folder."""
        shutil.rmtree(self.state)

    async def bodies(self, **labels: str) -> list[bytes]:
        """Return all bodies, segment by segment in the order in which these came, each in the order of its offsets."""
        condition = " AND ".join(f"labels['{name}'] = '{value}'" for name, value in labels.items()) or "1"
        rows = await self.store.run(
            self.store.select,
            "SELECT body, min(received) OVER (PARTITION BY source, segment) AS began FROM logs "
            "WHERE stream IN (SELECT stream FROM log_streams WHERE "
            f"{condition}) ORDER BY source, began, segment, offset, received",
            binary=True,
        )
        return list(rows["body"].to_pylist())

    async def until(self, reached: Callable[[list[bytes]], bool], *, seconds: float = WAIT_SECONDS) -> list[bytes]:
        """Wait until the stored bodies are as wished, and return them."""
        deadline = time.monotonic() + seconds
        while True:
            bodies = await self.bodies()
            if reached(bodies):
                return bodies
            assert time.monotonic() < deadline, f"{len(bodies)} bodies, the last ones {bodies[-3:]}"
            await asyncio.sleep(0.05)

    async def verified(self) -> dict[str, Any]:
        """Return what `kobs verify` says."""
        return json.loads(json.dumps(await Verify(self.store).verify(Scope.all())))
