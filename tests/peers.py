"""Programs that tests run kobs against: what `make peers` built, in `$KOBS_PEERS/bin`."""

import os
from pathlib import Path

from tests.parts import require


def peer(name: str) -> Path:
    """Return the path of a program such as `prometheus`; where it is missing the test is skipped, in CI it fails."""
    folder = Path(os.environ.get("KOBS_PEERS") or Path.home() / ".cache" / "kobs-peers")
    program = folder / "bin" / name
    require(os.access(program, os.X_OK), f"no program {program}; make peers builds it")
    return program
