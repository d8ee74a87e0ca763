"""Containers that write in the background, at random but with a seed: lines, partial lines, stack traces, rotations."""

import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.writing import ContainerLog, compress

_LINES_A_FILE = 300


class Writers:
    """Some containers of one namespace. Rotated files stay, some of them compressed, until a test deletes them."""

    def __init__(self, pods: Path, *, seed: int, count: int = 3, pause_seconds: float = 0.05) -> None:
        self._random = random.Random(seed)
        self._pause_seconds = pause_seconds
        self.logs = {
            f"web-{index}": ContainerLog(pods, pod=f"web-{index}", seed=seed + index) for index in range(count)
        }
        self._rotated: dict[str, list[tuple[Path, int]]] = {pod: [] for pod in self.logs}
        self._lock = threading.Lock()
        self._in_file = dict.fromkeys(self.logs, 0)
        self._ends = threading.Event()
        self._ended_well = False

    @property
    def written(self) -> dict[str, int]:
        """How many numbers each Pod has written."""
        return {pod: log.written for pod, log in self.logs.items()}

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write until the block is left."""
        thread = threading.Thread(target=self._run, name="writers")
        self._ends.clear()
        thread.start()
        try:
            yield
        finally:
            self._ends.set()
            thread.join()
        assert self._ended_well, "the writers failed"

    def delete_rotated(self, stored: Mapping[str, int]) -> int:
        """Delete rotated files whose successors have begun to be stored, and return how many.

        `stored` holds the highest number of each Pod in the store: a container's files are delivered one by one.
        """
        deleted = 0
        with self._lock:
            for pod, rotated in self._rotated.items():
                for path, next_number in list(rotated):
                    if next_number < stored.get(pod, 0):
                        path.unlink()
                        rotated.remove((path, next_number))
                        deleted += 1
        return deleted

    def step(self) -> None:
        """Let one container write something."""
        with self._lock:
            self._step()

    def rotate_all(self) -> None:
        """Let every container go on in a new file."""
        with self._lock:
            for pod in self.logs:
                self._rotate(pod)

    def _step(self) -> None:
        pod, log = self._random.choice(list(self.logs.items()))
        before = log.written
        kind = self._random.random()
        if kind < 0.8:
            log.numbered(self._random.randrange(1, 60))
        elif kind < 0.9:
            self._partial_line(log, rotate_between=self._random.random() < 0.3)
        else:
            self._stack_trace(log)
        self._in_file[pod] += log.written - before
        if self._in_file[pod] >= _LINES_A_FILE:
            self._rotate(pod)

    def _run(self) -> None:
        while not self._ends.is_set():
            self.step()
            time.sleep(self._random.random() * 2 * self._pause_seconds)
        self._ended_well = True

    def _partial_line(self, log: ContainerLog, *, rotate_between: bool) -> None:
        log.line(f"number={log.written} begin ".encode(), tag="P")
        log.written += 1
        if rotate_between:
            self._rotate(next(pod for pod, each in self.logs.items() if each is log))
        log.line(b"end")

    def _stack_trace(self, log: ContainerLog) -> None:
        log.line(f"number={log.written} Exception in thread main java.lang.IllegalStateException: x".encode())
        log.written += 1
        for _ in range(self._random.randrange(1, 6)):
            log.line(b"\tat com.example.Main.main(Main.java:1)")

    def _rotate(self, pod: str) -> None:
        self._in_file[pod] = 0
        log = self.logs[pod]
        self._rotated[pod].append((log.rotate(), log.written))
        if len(self._rotated[pod]) > 1 and self._random.random() < 0.5:
            path, next_number = self._rotated[pod][-2]
            if path.suffix != ".gz":
                self._rotated[pod][-2] = compress(path), next_number
