"""Metrics have one form; log lines are one line each and hold no passwords."""

import json
import logging
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

import kobs
from kobs import telemetry
from kobs.config import LogSettings


@pytest.fixture(autouse=True)
def _logging_put_back() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("kobs")
    former = root.handlers[:], root.level, own.level
    yield
    root.handlers[:] = former[0]
    root.setLevel(former[1])
    own.setLevel(former[2])
    logging.captureWarnings(capture=False)


def value(name: str, **labels: str) -> float:
    found = telemetry.REGISTRY.get_sample_value(name, labels)
    return 0.0 if found is None else found


def test_discarded_items_are_counted_by_signal_and_reason() -> None:
    before = value("kobs_discarded_total", signal="logs", reason="malformed")
    telemetry.discarded("logs", "malformed")
    telemetry.discarded("logs", "malformed", 41)
    assert value("kobs_discarded_total", signal="logs", reason="malformed") - before == 42


@pytest.mark.parametrize(
    ("accept", "content_type", "parse"),
    [
        pytest.param("", "text/plain; version=0.0.4", parse_text, id="text"),
        pytest.param(
            "application/openmetrics-text; version=1.0.0",
            "application/openmetrics-text",
            parse_openmetrics,
            id="openmetrics",
        ),
    ],
)
def test_an_exposition_is_what_the_scraper_asks_for(accept, content_type, parse) -> None:
    telemetry.discarded("logs", "malformed")
    body, told_type = telemetry.exposition(accept)
    samples = {sample.name: sample for family in parse(body.decode()) for sample in family.samples}
    assert told_type.startswith(content_type)
    assert samples["kobs_build_info"].labels == {"version": kobs.__version__}
    assert samples["process_resident_memory_bytes"].value > 0
    assert "python_info" in samples
    assert "kobs_discarded_total" in samples
    assert not [name for name in samples if name.endswith("_created")]


@pytest.mark.parametrize(
    ("create", "name"),
    [
        pytest.param(telemetry.counter, "kobs_test_rows", id="counter without total"),
        pytest.param(telemetry.counter, "test_rows_total", id="no prefix"),
        pytest.param(telemetry.gauge, "kobs_test_rows_total", id="gauge with total"),
        pytest.param(telemetry.gauge, "kobs_rows", id="no stage"),
        pytest.param(telemetry.histogram, "kobs_Test_seconds", id="capital"),
        pytest.param(telemetry.gauge, "kobs_build_info", id="twice"),
    ],
)
def test_a_metric_of_another_form_is_refused(create, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        create(name, "Rows.")


def test_metrics_move() -> None:
    gauge = telemetry.gauge("kobs_test_queue_rows", "Rows.", ("queue",))
    gauge.labels("a").set(0)
    telemetry.histogram("kobs_test_wait_seconds", "Wait.", buckets=(1.0, 2.0)).observe(1.5)
    assert value("kobs_test_queue_rows", queue="a") == 0
    assert value("kobs_test_wait_seconds_bucket", le="1.0") == 0
    assert value("kobs_test_wait_seconds_bucket", le="2.0") == 1


def test_text_is_one_line_with_quoted_values(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure_logging(LogSettings())
    telemetry.get_logger("kobs.test").warning(
        "A batch was refused.", rows=0, path="/var/log/a b", error=ValueError("bad\n2026 error A lie."), reason=None
    )
    expected = (
        r'A batch was refused\. rows=0 path="/var/log/a b" error="ValueError: bad\\n2026 error A lie\." reason=None'
    )
    assert re.fullmatch(rf"\d{{4}}-\d\d-\d\dT[\d:]{{8}}\.\d{{3}}Z warning {expected}\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("no_colour", "expected"),
    [
        pytest.param("", r"\d\d:\d\d:\d\d \x1b\[31merror  \x1b\[0m Broken\.", id="colour"),
        pytest.param("1", r"\d\d:\d\d:\d\d error   Broken\.", id="NO_COLOR"),
    ],
)
def test_text_on_a_terminal_is_short_and_in_colour_unless_refused(no_colour: str, expected: str) -> None:
    program = (
        "from kobs import telemetry; from kobs.config import LogSettings\n"
        "telemetry.configure_logging(LogSettings()); telemetry.get_logger('kobs.test').error('Broken.')"
    )
    ours, theirs = os.openpty()
    try:
        environment = os.environ | {"NO_COLOR": no_colour}
        subprocess.run([sys.executable, "-c", program], stderr=theirs, env=environment, timeout=60, check=True)
        told = os.read(ours, 1000).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert re.fullmatch(expected, told.rstrip())


def test_json_is_one_object_a_line_and_keeps_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure_logging(LogSettings(format="json"))
    log = telemetry.get_logger("kobs.test")
    log.info("Stored.", rows=3, seconds=0.5, time="a\nb", path="\udcff")
    try:
        raise KeyError("x")
    except KeyError as error:
        log.exception("A defect.", error=error)
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    first.pop("time")
    assert first == {
        "level": "info",
        "logger": "kobs.test",
        "message": "Stored.",
        "rows": 3,
        "seconds": 0.5,
        "time_": "a\nb",
        "path": "\udcff",
    }
    assert second["error"] == "KeyError: 'x'"
    assert second["traceback"].endswith("KeyError: 'x'")


def test_passwords_in_urls_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure_logging(LogSettings())
    error = OSError("https://kobs:hunter2@clickhouse:8443 refuses")
    telemetry.get_logger("kobs.test").error("No store.", url="http://kobs:hunter2@clickhouse:8123/", error=error)
    told = capsys.readouterr().err
    assert "hunter2" not in told
    assert "url=http://kobs:***@clickhouse:8123/" in told


def test_the_level_is_kobs_own_and_other_packages_are_heard_from_warning_on(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure_logging(LogSettings(level="debug"))
    telemetry.get_logger("kobs.test").debug("Seen.")
    logging.getLogger("other").info("authorization: hunter2")
    logging.getLogger("other").warning("line\nbreak")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", stacklevel=1)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" ", 1)[1].strip() for line in lines[:2]] == ["debug   Seen.", 'warning "line\\nbreak"']
    assert "UserWarning: old" in lines[2]
    telemetry.configure_logging(LogSettings(level="error"))
    telemetry.get_logger("kobs.test").warning("Not seen.")
    assert "Not seen" not in capsys.readouterr().err
