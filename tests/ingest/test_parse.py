"""What lines say of themselves: severity, trace and time."""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kobs.ingest.parse import SEVERITIES, line_time_ns, severity, trace_id

SECOND = 1_000_000_000
READ_NS = int(datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp()) * SECOND


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        # JSON
        (b'{"level": "info", "msg": "x"}', "info"),
        (b'{"L":"DEBUG"}', "debug"),
        (b'{"level":"warning"}', "warn"),
        (b'{"severity":"WARNING","httpRequest":{"status":503}}', "warn"),
        (b'{"a":{"b":1},"level":"ERROR"}', "error"),
        (b'{"log.level":"INFO"}', "info"),
        (b'{"log":{"level":"fatal"}}', "fatal"),
        (b'{"levelname":"CRITICAL"}', "fatal"),
        (b'{"severity_text":"TRACE"}', "trace"),
        (b'{"@l":"Verbose"}', "trace"),
        (b'{"lvl" : "eror"}', "error"),
        (b'{"level":10}', "trace"),
        (b'{"level":30,"msg":"pino"}', "info"),
        (b'{"a":{},"level":50}', "error"),
        (b'{"level":60}', "fatal"),
        (b'{"level":"info","msg":"cut off', "info"),
        # klog, text
        (b"I1123 01:43:36.287473   1 c.go:5] x", "info"),
        (b"W1123 01:43:36.287473   1 c.go:5] x", "warn"),
        (b"E1123 01:43:36.287473   1 c.go:5] x", "error"),
        (b"F1123 01:43:36.287473   1 c.go:5] x", "fatal"),
        (b"2026/11/22 10:15:04 [error] 29#29: *12 connect() failed", "error"),
        (b"[Sun Dec 04 04:47:44 2005] [notice] workerEnv.init() ok", "info"),
        (b"[Sun Dec 04 04:47:44.123 2005] [core:error] [pid 7] x", "error"),
        (b"2026-11-23 01:43:34,350 ERROR orders.worker: order failed", "error"),
        (b"10:15:03.123 [main] WARN  c.e.App - x", "warn"),
        (b"2015-07-29 17:41:44,747 - INFO  [QuorumPeer[myid=1]] - x", "info"),
        (b"1:M 22 Nov 2026 10:15:03.123 # WARNING overcommit_memory is set to 0!", "warn"),
        (b"[2026-11-22T10:15:03Z DEBUG my_crate] x", "debug"),
        (b"SEVERE: request failed", "error"),
        (b"WARNING: queue is 90% full", "warn"),
        (b"ERROR:root:x", "error"),
        (b'INFO:     127.0.0.1:5000 - "GET / HTTP/1.1" 200 OK', "info"),
        (b"info: Microsoft.Hosting.Lifetime[0]", "info"),
        (b"fail: Microsoft.AspNetCore[1]", "error"),
        (b"error: could not open", "error"),
        (b"2026-11-22 10:15:03.123 UTC [77] LOG:  database system is ready", "info"),
        (b"2026-11-22 10:15:04.001 UTC [91] app@orders FATAL:  no such role", "fatal"),
        # logfmt
        (b"level=info ts=2026-11-22T10:15:03.123Z msg=x", "info"),
        (b'ts=2026-11-22T10:15:03.123Z caller=a.go:1 level=warn msg="x y"', "warn"),
        (b'time="2026-11-22T10:15:03Z" level=error msg=x', "error"),
        (b'msg="a b" lvl="dbug"', "debug"),
        (b"a=1 severity=critical", "fatal"),
        (b"  level=info msg=x", "info"),
        (b"a=1 log.level=warn", "warn"),
        # exceptions
        (b"Traceback (most recent call last):\n  File", "error"),
        (b"java.lang.IllegalStateException: x\n\tat a.b(C.java:1)", "error"),
        (b"App$RepoException: cannot load", "error"),
        (b'Exception in thread "main" java.lang.Error', "error"),
        (b"KeyError: 'B7'", "error"),
        (b"/app/app.js:4\nthrow x\n^\n\nTypeError: x", "error"),
        (b"/app/routes.rb:6:in `/': divided by 0 (ZeroDivisionError)", "error"),
        (b"panic: boom\n\ngoroutine 1 [running]:", "fatal"),
        # syslog
        (b"<34>Nov 22 10:15:03 worker-1 sshd[1]: Failed password", "fatal"),
        (b"<13>Nov  2 01:05:09 worker-1 kubelet: E1102 01:05:09.000001    1 kubelet.go:1] x", "error"),
        (b'Nov 22 10:15:04 worker-1 containerd[77]: time="2026-11-22T10:15:04.001Z" level=debug msg=x', "debug"),
        (b'<165>1 2026-11-22T10:15:03.003Z h evntslog - ID47 [a@1 b="c"] text', "info"),
    ],
)
def test_a_line_says_its_severity(body: bytes, wanted: str) -> None:
    assert severity(body) == wanted


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{}",
        b"null",
        b"starting writer",
        b"no ERROR was found in the last run",
        b"the request failed with an error: none",
        b"disk check took long: ERROR count is 0",
        b'{"msg":"level is error"}',
        b'{"msg":"level","x":"error"}',
        b'{"msg":"{\\"level\\":\\"error\\"}"}',
        b'{"user":{"level":"error"}}',
        b'{"level":"gold"}',
        b'{"level":7}',
        b'{"level":300}',
        b'{"level":null}',
        b'{"level":{"severity":"error"}}',
        b'{"error":"context deadline exceeded"}',
        b"GET /search?level=error&x=1 HTTP/1.1",
        b"url=http://x/?a=1&level=error msg=x",
        b'msg="set level=error now"',
        b"changed level=error for all",
        b'10.0.0.1 - - [22/Nov/2026:10:15:03 +0000] "GET /ERROR HTTP/1.1" 500 12',
        b"INFORMATION_SCHEMA is read",
        b"Errors: none",
        b"I have 1234 items",
        b"exit status 2",
        b"panicked once",
        b"<999>x",
        b"\xff\xfe\x00",
        b"Level=ERROR_CODE",
    ],
)
def test_a_line_that_says_no_severity_has_none(body: bytes) -> None:
    assert severity(body) == ""


HEX = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (f'{{"trace_id":"{HEX}"}}', HEX),
        (f'{{"msg":"x","traceId" : "{HEX.upper()}"}}', HEX),
        (f'{{"trace.id":"{HEX}"}}', HEX),
        (f'{{"a":{{"traceid":"{HEX}"}}}}', HEX),
        (f'{{"logging.googleapis.com/trace":"projects/my-p/traces/{HEX}"}}', HEX),
        (f"level=info traceID={HEX} msg=x", HEX),
        (f'trace_id="{HEX}"', HEX),
        ("X-B3-TraceId: a3ce929d0e0e4736", "a3ce929d0e0e4736"),
        (f'{{"traceparent":"00-{HEX}-00f067aa0ba902b7-01"}}', HEX),
        (f"got 00-{HEX}-00f067aa0ba902b7-01 from upstream", HEX),
        (f"trace_id={'0' * 32} trace_id={HEX}", HEX),
        (f'{{"msg":"{{\\"trace_id\\":\\"{HEX}\\"}}"}}', HEX),
        # none
        ("", ""),
        ("trace_id=", ""),
        (f"trace_id={'0' * 32}", ""),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", ""),
        (f"trace_id={HEX}00", ""),
        (f"trace_id={HEX[:-1]}", ""),
        (f"trace_id={HEX[:-1]}g", ""),
        (f"parent_trace_id={HEX}", ""),
        (f"span_id={HEX[:16]}", ""),
        (f"request {HEX} done", ""),
        (f"/trace: {HEX}", ""),
        ("Traceback (most recent call last):", ""),
        ("race", ""),
        (f"a00-{HEX}-00f067aa0ba902b7-01", ""),
    ],
)
def test_a_line_names_its_trace(body: str, wanted: str) -> None:
    assert trace_id(body.encode()) == wanted


def ns(text: str) -> int:
    seconds, _, fraction = text.partition(".")
    return int(datetime.fromisoformat(seconds + "+00:00").timestamp()) * SECOND + int(fraction.ljust(9, "0"))


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        # with a zone
        (b"2026-11-22T10:15:03.123456789Z x", "2026-11-22T10:15:03.123456789"),
        (b"2026-11-22T10:15:03+02:00 x", "2026-11-22T08:15:03"),
        (b"2026-11-22T10:15:03-0330 x", "2026-11-22T13:45:03"),
        (b"2026-11-22 10:15:03.123 UTC [77] LOG:  x", "2026-11-22T10:15:03.123"),
        (b"2026-11-22 10:15:03 -0500 x", "2026-11-22T15:15:03"),
        (b'[2026-11-22T10:15:03.123Z] "GET /"', "2026-11-22T10:15:03.123"),
        (b'1.2.3.4 - - [22/Nov/2026:10:15:03 +0100] "GET / HTTP/1.1" 200', "2026-11-22T09:15:03"),
        (b'- - a [22/Nov/2026:10:15:03 -0100] "\\x16"', "2026-11-22T11:15:03"),
        (b"<165>1 2026-11-22T10:15:03.003Z h app - - - x", "2026-11-22T10:15:03.003"),
        (b'{"ts":1795342503.123456789,"msg":"x"}', "2026-11-22T10:15:03.123456789"),
        (b'{"time":1795342503}', "2026-11-22T10:15:03"),
        (b'{"time":1795342503123}', "2026-11-22T10:15:03.123"),
        (b'{"timestamp":1795342503123456}', "2026-11-22T10:15:03.123456"),
        (b'{"ts":1795342503123456789}', "2026-11-22T10:15:03.123456789"),
        (b'{"ts":1.795342503123e9}', "2026-11-22T10:15:03.123"),
        (b'{"ts":"1795342503.5"}', "2026-11-22T10:15:03.5"),
        (b'{"a":{"time":1},"@timestamp":"2026-11-22T10:15:03.123Z"}', "2026-11-22T10:15:03.123"),
        (b'{"time":"soon","timestamp":"2026-11-22T10:15:03Z"}', "2026-11-22T10:15:03"),
        (b"level=info ts=2026-11-22T10:15:03.123Z caller=a.go:1", "2026-11-22T10:15:03.123"),
        (b'time="2026-11-22T10:15:03Z" level=info', "2026-11-22T10:15:03"),
        (b'msg="time=x y" time=1795342503', "2026-11-22T10:15:03"),
        # without, in a zone an hour ahead
        (b"2026-11-22 10:15:03,123 ERROR x", "2026-11-22T09:15:03.123"),
        (b"2026-11-22 10:15:03 -10 degrees", "2026-11-22T09:15:03"),
        (b"2026/11/22 10:15:04 [error] 29#29: x", "2026-11-22T09:15:04"),
        (b"Nov 22 10:15:03 h sshd[1]: x", "2026-11-22T09:15:03"),
        (b"<13>Nov  2 01:05:09 h kubelet: x", "2026-11-02T00:05:09"),
        (b"Nov 26 10:00:00 h x: within a day", "2026-11-26T09:00:00"),
        (b"Nov 27 10:00:00 h x: last year's", "2025-11-27T09:00:00"),
        (b"Feb 29 10:00:00 h x: of a leap year", "2024-02-29T09:00:00"),
        (b"I1123 01:43:36.287473   1 c.go:5] x", "2026-11-23T00:43:36.287473"),
        (b"E1224 01:43:36.287473   1 c.go:5] x", "2025-12-24T00:43:36.287473"),
        (b"[Sun Dec 04 04:47:44 2005] [notice] x", "2005-12-04T03:47:44"),
    ],
)
def test_a_line_says_its_time(body: bytes, wanted: str) -> None:
    assert line_time_ns(body, read_ns=READ_NS, utc_offset_s=3600) == ns(wanted)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"2026-13-22T10:15:03Z",
        b"2026-11-31T10:15:03Z",
        b"2026-11-22T25:15:03Z",
        b"2026-11-22",
        b"Feb 30 10:00:00 h x: y",
        b"Foo 22 10:00:00 h x: y",
        b"I1323 01:43:36.287473   1 c.go:5] x",
        b"1970-12-31T23:59:59Z before 1971",
        b"2026-11-26T12:00:01Z later than in a day",
        b"9999-12-31T23:59:59Z",
        b"at 2026-11-22T10:15:03Z it broke",
        b'{"time":null}',
        b'{"time":12}',
        b'{"time":1e99}',
        b'{"time":123456789012345678901}',
        b'{"msg":"2026-11-22T10:15:03Z"}',
        b'{"time":"2026-11-22T10:15:03Z"',
        b'{"time":{"time":"2026-11-22T10:15:03Z"}}',
        b"<13>1 - - - - - - x",
        b"x [22/Foo/2026:10:15:03 +0100]",
        b'msg="time=2026-11-22T10:15:03Z"',
        b"drive time=2026-11-22T10:15:03Z",
        b"uptime=1795342503",
    ],
)
def test_a_line_that_says_no_possible_time_has_none(body: bytes) -> None:
    assert line_time_ns(body, read_ns=READ_NS, utc_offset_s=0) is None


SEEDS = [
    b'{"level":"info","ts":1795342503.5,"a":{"level":1},"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}',
    b'<165>1 2026-11-22T10:15:03.003+01:00 h evntslog - ID47 [a@1 b="c"] level=info time=1e9',
    b"I1123 01:43:36.287473   1 c.go:5] 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    b'1.2.3.4 - - [22/Nov/2026:10:15:03 +0100] "GET / HTTP/1.1" 200',
    b" level=info x",
    b"<13>Feb 29 01:05:09 h kubelet: ERROR x",
    b'time="2026-11-22T10:15:03Z" severity=error msg="a \\" b"',
]


@pytest.mark.parametrize("seed", range(5))
def test_no_bytes_raise(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(1000):
        body = bytearray(rng.choice(SEEDS) * rng.choice([1, 1, 1, 3]))
        for _ in range(rng.randrange(8)):
            at = rng.randrange(len(body))
            body[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(3)) if rng.random() < 0.5 else b'"{} =0'
        line = bytes(body)
        read_ns = rng.choice([READ_NS, 0, -(10**18), 2**63, 10**30])
        assert severity(line) in ("", *SEVERITIES)
        assert len(trace_id(line)) in (0, 16, 32)
        found = line_time_ns(line, read_ns=read_ns, utc_offset_s=rng.choice([0, 50_400, -43_200, 10**12]))
        assert found is None or found <= read_ns + 86_400 * SECOND


@pytest.mark.parametrize(
    "piece", [b"a", b" ", b"[", b"{", b'{"a":', b"1 ", b'="', b"a.", b"time=", b"trace_id ", b"00-", b"\n"]
)
def test_a_long_line_of_one_piece_is_answered(piece: bytes) -> None:
    """Each pattern takes a time in proportion to the line: a backtracking one would not end within the day."""
    body = piece * (1 << 18)
    assert severity(body) == ""
    assert trace_id(body) == ""
    assert line_time_ns(body, read_ns=READ_NS, utc_offset_s=0) is None


def test_recorded_lines_say_what_their_writers_meant(recorded: Callable[[str], Path]) -> None:
    raw = recorded("logs") / "raw"
    found = [severity(line) for line in (raw / "json-mixed.log").read_bytes().splitlines()[:8]]
    assert found == ["info", "debug", "error", "warn", "error", "info", "info", "warn"]
    for line in (raw / "nginx-access.log").read_bytes().splitlines():
        assert severity(line) == ""
        assert line_time_ns(line, read_ns=READ_NS, utc_offset_s=0) is not None
    for line in (raw / "klog.log").read_bytes().splitlines()[:7]:
        assert severity(line) == {"I": "info", "W": "warn", "E": "error"}[chr(line[0])]
        assert line_time_ns(line, read_ns=READ_NS, utc_offset_s=0) is not None
