"""Missing parts are skipped on a developer's machine and fail in CI."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.parts import require


def test_a_part_that_is_there_lets_the_test_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")

    require("/usr/bin/prometheus", "no prometheus")


def test_a_missing_part_skips_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)

    with pytest.raises(pytest.skip.Exception, match="no prometheus"):
        require(None, "no prometheus")


def test_a_missing_part_fails_the_test_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")

    with pytest.raises(pytest.fail.Exception, match="no prometheus"):
        require(None, "no prometheus")


def test_recorded_data_is_found_in_its_folder(
    recorded: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KOBS_RECORDED", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    (tmp_path / "logs").mkdir()

    assert recorded("logs") == tmp_path / "logs"
    with pytest.raises(pytest.skip.Exception, match="KOBS_RECORDED"):
        recorded("nothing")
