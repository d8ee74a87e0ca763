"""The state folder keeps what must outlive a crash, and is held by one process."""

import subprocess
import sys
from pathlib import Path

import pytest

from kobs.collectors.logs.state import Boundaries, Changes, KnownLoss, KnownSegment, State
from kobs.errors import ConfigError
from kobs.model.logs import LogSource, LossReason, SourceKind
from kobs.wire.ship import LineFormat, Stream

STREAM = Stream(source=LogSource(kind=SourceKind.FILE, node="n", path="/var/log/\udcff.log"), format=LineFormat.PLAIN)
SEGMENT = KnownSegment(
    source=2**64 - 1,
    segment=2**63 - 1,
    stream=Stream(source=LogSource(kind=SourceKind.FILE, node="n", path="/x"), format=LineFormat.PLAIN),
    head=2**63,
    path="/var/log/\udcff.log",
    inode=2**64 - 2,
    generation=1,
    acked=5,
    size=9,
    closed=True,
    last_ns=7,
)
BATCH = Boundaries(2**64 - 1, 2**63 - 1, 5, 9, 1, -3600, 1, 0, 0)
LOSS = KnownLoss(2**64 - 1, 1, 5, LossReason.ROTATED_AWAY, 0, 1, 2, "why", SEGMENT.stream)


def test_what_was_committed_is_there_after_it_was_opened_again(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.commit(Changes(segments=[SEGMENT], opened=[BATCH], losses=[LOSS]))
    agent = state.agent
    state.close()

    state = State(tmp_path)
    assert state.agent == agent
    assert state.segments() == [SEGMENT]
    assert state.batches() == [BATCH]
    assert state.losses() == [LOSS]
    state.commit(Changes(forgotten=[(SEGMENT.source, SEGMENT.segment)], settled=[BATCH], reported=[LOSS]))
    assert (state.segments(), state.batches(), state.losses()) == ([], [], [])
    state.close()


def test_a_state_is_fresh_until_its_positions_were_asked(tmp_path: Path) -> None:
    state = State(tmp_path)
    assert state.fresh
    state.placed()
    state.close()

    state = State(tmp_path)
    assert not state.fresh
    state.close()


def test_moves_are_counted_durably(tmp_path: Path) -> None:
    state = State(tmp_path)
    assert [state.attempt(), state.moved(), state.moved()] == [0, 1, 2]
    state.answered_by("s1")
    state.close()

    state = State(tmp_path)
    assert state.attempt() == 2
    assert state.last_server() == "s1"
    state.close()


def test_another_process_cannot_open_the_same_folder(tmp_path: Path) -> None:
    state = State(tmp_path)
    code = f"from pathlib import Path; from kobs.collectors.logs.state import State; State(Path({str(tmp_path)!r}))"

    second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    state.close()
    assert "another kobs agent uses it" in second.stderr


def test_a_folder_that_cannot_be_made_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    with pytest.raises(ConfigError, match="choose another folder with --state"):
        State(tmp_path / "file" / "state")


def test_a_damaged_state_is_told_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "agent.db").write_bytes(b"no database at all" * 100)

    with pytest.raises(ConfigError, match="move it away to start anew"):
        State(tmp_path)
