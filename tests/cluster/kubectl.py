"""kubectl, and waiting for what a cluster does in its own time."""

import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

_Answer = TypeVar("_Answer")


def kubectl(*arguments: str, manifest: str | None = None) -> str:
    """Return what `kubectl ARGUMENTS` prints; `manifest` is its standard input, for `apply -f -`."""
    command = ["kubectl", *arguments]
    done = subprocess.run(command, check=False, input=manifest, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def wait_for(what: str, ask: Callable[[], _Answer], *, seconds: float) -> _Answer:
    """Return the first answer that is true."""
    end = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.2)
    return answer
