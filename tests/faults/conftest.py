"""What the tests of faults share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import processes
from tests.faults.processes import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine; after the test no program of it runs, and none may have failed."""
    with processes.machine(tmp_path) as made:
        yield made
