"""What is said of many bodies at once is what is said of each."""

import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kobs.ingest.enrichment import WORDS, Bodies, severity_codes, trace_ids
from kobs.ingest.parse import severity, trace_id

_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
_PIECES = (
    *(
        "trace",
        "Trace",
        "trace_id",
        "traceId=",
        "race",
        '"trace_id":"',
        "traceparent",
        ": ",
        "=",
        '"',
        "\\",
        " ",
        "\n",
        "\0",
    ),
    *(
        _ID,
        _ID.upper(),
        _ID[:16],
        "0" * 32,
        "0" * 16,
        "00-",
        f"00-{_ID}-{_ID[:16]}-01",
        "-",
        "a",
        "_",
        "projects/p/traces/",
    ),
    *(
        "projects/",
        "/traces/",
        "logging.googleapis.com/trace",
        '{"level":"info"',
        '"level"',
        ":",
        "{",
        "}",
        "INFO",
        "error",
    ),
    *(
        "2026-11-22T10:15:00Z",
        "10.0.0.1",
        "[",
        "]",
        "WARN:",
        "level=",
        "lvl=debug",
        "severity=warn",
        "<11>",
        "I1122 ",
        "é",
    ),
    *(
        "LOG:",
        "2026-11-22 10:15:00,123",
        "|",
        "Error:",
        "fail:",
        "\t",
        "7",
        "Exception",
        "(err)",
        "[main]",
        "\u017fevere",
        "K",
    ),
)
_texts = st.lists(st.sampled_from(_PIECES), max_size=9).map("".join).map(str.encode)
_bodies = st.lists(st.one_of(_texts, _texts, st.binary(max_size=40)), max_size=8)


@settings(max_examples=600, deadline=None)
@given(_bodies)
@example([b"trace_id:", _ID.encode()])
@example([b"projects trace=projects/", b"x/traces/" + _ID.encode()])
@example([b"7 " + b"x" * 252 + b" INFO", b"7 " + b"x" * 250 + b" INFO "])
def test_many_bodies_say_what_each_says(bodies: list[bytes]) -> None:
    """No trace of one is found because of what the next begins with."""
    column = pa.array(bodies, pa.binary())
    sliced = pa.array([b"INFO trace_id=", *bodies, b"7"], pa.binary()).slice(1, len(bodies))
    for each in (column, sliced):
        found = Bodies.of(each)
        assert [WORDS[code] for code in severity_codes(found)] == [severity(body) for body in bodies]
        assert trace_ids(found).to_pylist() == [trace_id(body) for body in bodies]
