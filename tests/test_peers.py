import subprocess
from pathlib import Path

import pytest

from tests.peers import peer


@pytest.mark.parametrize(("name", "release"), [("prometheus", "3.8"), ("promtool", "3.8"), ("node_exporter", "1.12")])
def test_peer_is_the_release_that_tests_compare_with(name: str, release: str) -> None:
    program = peer(name)
    told = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
    assert f"version {release}." in told.stdout + told.stderr


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_missing_peer_skips_the_test_and_fails_it_in_ci(
    ci: str, outcome: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("KOBS_PEERS", str(tmp_path))
    with pytest.raises(outcome, match=f"no program {tmp_path}/bin/prometheus; make peers builds it"):
        peer("prometheus")
