"""Real parts that a test needs, such as a peer's program or recorded data.

Without them a test is skipped; in CI (`CI=true`) it fails, so that a part cannot go missing unseen.
"""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def require(condition: object, reason: str) -> None:
    """Skip the running test if `condition` is false; in CI fail it."""
    if condition:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"in CI every part must be there: {reason}")
    pytest.skip(reason)


def recorded(name: str) -> Path:
    """Return the path of a recorded data set, such as `logs`, below KOBS_RECORDED or `../shared/data`."""
    folder = Path(os.environ.get("KOBS_RECORDED") or ROOT.parent / "shared" / "data")
    require((folder / name).exists(), f"no recorded data {name} in {folder}; KOBS_RECORDED names its folder")
    return folder / name
