"""The parser cases of the OpenMetrics project: the good ones parse, the bad ones are refused with line and reason."""

import re

import pytest

from kobs.wire.exposition.parsing import ExpositionError
from kobs.wire.exposition.strict import StrictCheck
from tests.parts import recorded
from tests.wire.test_exposition import OPENMETRICS, Reading

try:
    CASES = [line.split("\t") for line in (recorded("openmetrics") / "index.tsv").read_text().splitlines()[1:]]
except pytest.skip.Exception:
    CASES = []


def check(body: bytes, *, piece_bytes: int) -> None:
    checked = StrictCheck()
    for start in range(0, len(body), piece_bytes):
        checked.feed(body[start : start + piece_bytes])
    checked.finish()


def test_all_cases_are_there() -> None:
    recorded("openmetrics")
    assert (len(CASES), sum(should_parse == "true" for _, should_parse, _ in CASES)) == (211, 44)


@pytest.mark.parametrize(("name", "should_parse"), [case[:2] for case in CASES], ids=[case[0] for case in CASES])
def test_a_case_of_openmetrics(name: str, should_parse: str) -> None:
    body = (recorded("openmetrics") / "cases" / f"{name}.om").read_bytes()
    for piece_bytes in (5, len(body) + 1):
        if should_parse == "true":
            check(body, piece_bytes=piece_bytes)
            Reading(OPENMETRICS).parse(body, piece_bytes=piece_bytes)
            continue
        with pytest.raises(ExpositionError) as raised:
            check(body, piece_bytes=piece_bytes)
        assert re.match(r"line \d+: [\w#]", str(raised.value))
        assert raised.value.line <= body.count(b"\n") + 1


@pytest.mark.parametrize(
    ("body", "line", "reason"),
    [
        (b"a 1\na 1\n# EOF\n", 2, "there twice"),
        (b'a{b="1"} 1\na{b="2"} 1\na{b="1"} 1 5\n# EOF\n', 3, "one after another"),
        (b'# TYPE a histogram\na_bucket{le="+Inf"} 1.5\n# EOF\n', 2, "no whole number"),
        (b'# TYPE a histogram\na_bucket{le="+Inf"} 2\na_count 3\na_sum 1\n# EOF\n', 4, "differs"),
        (b"# TYPE a counter\na 1\n# EOF\n", 2, "are named a_total, a_created"),
    ],
)
def test_a_breach_beyond_the_cases(body: bytes, line: int, reason: str) -> None:
    with pytest.raises(ExpositionError, match=reason) as raised:
        check(body, piece_bytes=1000)
    assert raised.value.line == line
