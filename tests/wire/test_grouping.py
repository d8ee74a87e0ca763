"""Which lines become one entry, by language. A sample is the list of entries that its lines must give."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kobs.errors import RejectedError
from kobs.wire.entries import split
from kobs.wire.grouping import MAX_GROUP_LINES, compile_start_pattern
from kobs.wire.ship import LineFormat

SAMPLES: dict[str, list[str]] = {
    "java: causes, suppressed, frames left out": [
        "2026-11-22 10:15:03 ERROR request failed",
        (
            "com.example.RepoException: cannot load order-17\n"
            "\tat com.example.App.fetch(App.java:5)\n"
            "\tSuppressed: java.io.IOException: close\n"
            "\t\tat com.example.App.close(App.java:9)\n"
            "\t\t... 1 more\n"
            "Caused by: java.lang.NullPointerException\n"
            "\tat com.example.App.load(App.java:4)\n"
            "\t... 9 more"
        ),
        "",
        "2026-11-22 10:15:04 INFO next",
    ],
    "java: a cause whose frames the machine left out": [
        "java.lang.RuntimeException: x\nCaused by: java.lang.NullPointerException",
        "done",
    ],
    "python: a traceback ends with the exception": [
        "ERROR order failed",
        (
            'Traceback (most recent call last):\n  File "/app/app.py", line 7, in reserve\n    return stock[sku]\n'
            "           ~~~~~^^^^^\nKeyError: 'B7'"
        ),
        "KeyError: 'B8'",
    ],
    "python: without frames": ["Traceback (most recent call last):\nKeyboardInterrupt", "bye now"],
    "python: the log call's own line holds the word": [
        'app: Traceback (most recent call last):\n  File "a.py", line 1\nValueError',
        "INFO next",
    ],
    "python: an indented message goes on": [
        'Traceback (most recent call last):\n  File "a.py", line 1\nValidationError: 1 error\n  field required',
        "next",
    ],
    "python: cut off by a log line": [
        'Traceback (most recent call last):\n  File "a.py", line 1',
        "INFO: started",
    ],
    "python: chained": [
        (
            'Traceback (most recent call last):\n  File "a.py", line 1\nKeyError: 1\n\n'
            "During handling of the above exception, another exception occurred:\n\n"
            'Traceback (most recent call last):\n  File "a.py", line 2\na.f.<locals>.StockError: no such item\n\n'
            "The above exception was the direct cause of the following exception:\n\n"
            'Traceback (most recent call last):\n  File "a.py", line 3\nRuntimeError'
        ),
        "",
        "next",
    ],
    "python: an announced chain that does not come": [
        (
            'Traceback (most recent call last):\n  File "a.py", line 1\nKeyError: 1\n\n'
            "The above exception was the direct cause of the following exception:"
        ),
        "",
        "next",
    ],
    "python: a source line that is blank": [
        'Traceback (most recent call last):\n  File "a.py", line 1\n    f(\n    \n    )\nKeyError: 1',
        "next",
    ],
    "python: exception groups": [
        "before",
        (
            "  + Exception Group Traceback (most recent call last):\n"
            '  |   File "a.py", line 5, in <module>\n'
            "  | ExceptionGroup: eg (2 sub-exceptions)\n"
            "  +-+---------------- 1 ----------------\n"
            "    | ValueError: 1\n"
            "    +---------------- 2 ----------------\n"
            "    | TypeError: 2\n"
            "    +------------------------------------"
        ),
        "after",
    ],
    "python: an exception group out of a traceback": [
        (
            'Traceback (most recent call last):\n  File "a.py", line 1\nKeyError: 1\n\n'
            "During handling of the above exception, another exception occurred:\n\n"
            "  + Exception Group Traceback (most recent call last):\n  | ExceptionGroup: eg (1 sub-exception)\n"
            "  +-+---------------- 1 ----------------\n    +------------------------------------"
        ),
    ],
    "go: panic with goroutines": [
        "starting writer",
        (
            "panic: runtime error: invalid memory address or nil pointer dereference\n"
            "[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x45c]\n\n"
            "goroutine 5 [running]:\nmain.(*cache[...]).put(...)\n\t/app/main.go:4\n"
            "net/http.(*conn).serve(0xc0000b2000, {0x7, 0x8})\n\t/usr/local/go/src/net/http/server.go:1995 +0x612\n"
            "created by main.main in goroutine 1\n\t/app/main.go:12 +0x43b\n\n"
            "goroutine 1 [chan receive]:\npanic(0x45cb40, 0x47ad70)\n\t/app/main.go:9 +0x6f"
        ),
        "exit status 2",
    ],
    "go: fatal error": [
        "fatal error: deadlock!\n\ngoroutine 1 [select (no cases)]:\nmain.main()\n\t/a.go:4 +0x1",
        "",
        "next",
    ],
    "go: runtime stack and registers": [
        (
            "fatal error: stack overflow\n\nruntime stack:\nruntime.throw({0x4, 0x5})\n\t/a.go:1\n"
            "...additional frames elided...\n\n"
            "rax    0x0\nrip    0x45c123"
        ),
        "next",
    ],
    "go: the http server's panic": [
        "2026/11/22 10:15:04 http: panic serving 10.0.0.1:4711: boom\ngoroutine 19 [running]:\nmain.f(...)\n\t/a.go:1",
        "next",
    ],
    "go: a dump by itself": ["SIGQUIT: quit", "goroutine 1 [running]:\nmain.main()\n\t/a.go:4"],
    "go: nothing after the panic": ["panic: boom", "", "next"],
    "node: error with a cause": [
        (
            "Error: bad body\n    at Object.<anonymous> (/app/app.js:3:50)\n    at node:internal/main:28:49 {\n"
            "  [cause]: SyntaxError: Unexpected end\n      at JSON.parse (<anonymous>)\n}"
        ),
        "next",
    ],
    "node: uncaught": [
        (
            "/app/app.js:4\nPromise.reject(new TypeError('x'));\n               ^\n\n"
            "TypeError: x\n    at Object.<anonymous> (/app/app.js:4:16)\n\nNode.js v20.20.2"
        ),
        "next",
    ],
    "node: uncaught in an inner module": [
        (
            "node:internal/process/esm_loader:97\n    internalBinding('errors').triggerUncaughtException(\n"
            "                              ^\n\nError [ERR_MODULE_NOT_FOUND]: Cannot find module\n"
            "    at new NodeError (node:internal/errors:405:5) {\n  code: 'ERR_MODULE_NOT_FOUND'\n}\n\nNode.js v18.1.0"
        ),
    ],
    "node: a thrown text": [
        (
            "/app/x.js:1\nthrow 'boom'\n^\nboom\n"
            "(Use `node --trace-uncaught ...` to show where the exception was thrown)\n"
            "\n"
            "Node.js v20.11.0"
        ),
    ],
    "node: a place in the source alone": ["/app/app.js:4", "const a = 1", "next", "/app/app.js:5", "", "next"],
    "node: a place in the source and an indented line": ["/app/app.js:4\n  const a = 1", "next"],
    "ruby": [
        "/app/routes.rb:6:in `/': divided by 0 (ZeroDivisionError)\n\tfrom /app/routes.rb:6:in `block'\n\tfrom /a.rb:1",
        "next",
    ],
    ".net": [
        (
            "Unhandled exception. System.InvalidOperationException: outer\n"
            " ---> System.ArgumentException: inner\n   at Program.Inner() in /app/Program.cs:line 5\n"
            "   --- End of inner exception stack trace ---\n   at Program.Main() in /app/Program.cs:line 9\n"
            "--- End of stack trace from previous location ---\n   at System.Threading.Tasks.Task.Run()"
        ),
        "next",
    ],
    "klog: a value of several lines": [
        'I1123 01:43:36.287622 1 c.go:11] "Applied" diff=<\n\tone\n\t\ttwo\n >',
        "I1123 next",
    ],
    "brackets: an object over several lines": ['{\n  "a": [\n    1\n  ]\n}', "call(\n  1,\n);", "}", "]"],
    "brackets: not after a block of another kind": ["header:\n  one\n  two", "}"],
    "brackets: not twice": ["a {\n  b\n}", "}"],
    "indented lines continue": ["STATEMENT: INSERT\n\tVALUES (1)\n two", "next"],
    "an indented line after an empty one is its own": ["a", "", "  b\n  c", "   ", "\td"],
    "lines of blanks are entries": ["", "   ", "\t", "a", " "],
    "carriage returns are kept": ["Traceback (most recent call last):\r\n  File\r\nKeyError: 1\r", "\r", "next\r"],
    "bytes that are no text": ["\udcff\udcfe", "a\n \udc80\udcff"],
}

START = "2026-11-22T10:15:00.000000000Z stdout F "


def cri(lines: list[bytes]) -> bytes:
    return b"".join(START.encode() + line + b"\n" for line in lines)


@pytest.mark.parametrize("entries", SAMPLES.values(), ids=SAMPLES.keys())
@pytest.mark.parametrize("format", [LineFormat.PLAIN, LineFormat.CRI])
def test_lines_of_a_sample_become_its_entries(entries: list[str], format: LineFormat) -> None:  # noqa: A002  (Stream's word)
    wanted = [entry.encode("utf-8", "surrogateescape") for entry in entries]
    lines = b"\n".join(wanted).split(b"\n")
    payload = cri(lines) if format is LineFormat.CRI else b"\n".join(lines) + b"\n"
    found = split(payload, format=format, read_ns=1)
    assert found.bodies == wanted
    assert sum(found.sizes) == len(payload)


@pytest.mark.parametrize("case", ["java", "python", "go", "ruby", "cri", "docker_cri_chain", "elastic"])
def test_fluent_bit_cases_give_the_records_they_expect(case: str, recorded: Callable[[str], Path]) -> None:
    cases = json.loads((recorded("logs") / "multiline" / "fluent-bit-multiline-cases.json").read_bytes())
    wanted = next(each for each in cases if each["case"] == case)
    payload = b"".join(line.removesuffix("\n").encode() + b"\n" for line in wanted["input"])
    line_format = LineFormat.CRI if "cri" in case else LineFormat.PLAIN
    found = split(payload, format=line_format, read_ns=1)
    assert found.bodies == [record.removesuffix("\n").encode() for record in wanted["expected"]]


@pytest.mark.parametrize(
    ("name", "first_lines"),
    [
        (
            "python-traceback.log",
            [b"2026-11-23 01:43:34,350 INFO", b"2026-11-23 01:43:34,350 ERROR", b"Traceback", b"2026"],
        ),
        ("node-error.log", [b"server listening", b"Error: bad body", b"/app/app.js:4"]),
        ("go-panic.log", [b"time=", b'{"time"', b"starting writer", b"panic: ", b"exit status 2"]),
    ],
)
def test_recorded_traces_become_one_entry(name: str, first_lines: list[bytes], recorded: Callable[[str], Path]) -> None:
    payload = (recorded("logs") / "raw" / name).read_bytes()
    found = split(payload, format=LineFormat.PLAIN, read_ns=1)
    starts = [body[: len(start)] for body, start in zip(found.bodies, first_lines, strict=False)]
    assert starts == first_lines
    assert len(found.bodies) == len(first_lines) + (1 if name.startswith("python") else 0)
    assert b"\n".join(found.bodies) + b"\n" == payload


def test_a_group_ends_at_its_greatest_number_of_lines() -> None:
    lines = [b"first", *[b" more"] * (2 * MAX_GROUP_LINES)]
    found = split(b"\n".join(lines), format=LineFormat.PLAIN, read_ns=1)
    assert [body.count(b"\n") + 1 for body in found.bodies] == [MAX_GROUP_LINES, MAX_GROUP_LINES, 1]


def test_a_group_ends_before_its_body_is_too_long() -> None:
    found = split(b"first\n" + b" abcd\n" * 5, format=LineFormat.PLAIN, read_ns=1, max_body_bytes=17)
    assert found.bodies == [b"first\n abcd\n abcd", b" abcd\n abcd\n abcd"]
    assert found.cut == {}


def test_a_start_pattern_replaces_the_rules() -> None:
    payload = b"ignored\n[1] a\n b\n\nc\n[2] d\nTraceback\n"
    found = split(payload, format=LineFormat.PLAIN, start_pattern=r"^\[\d+\]", read_ns=1)
    assert found.bodies == [b"ignored", b"[1] a\n b\n\nc", b"[2] d\nTraceback"]


def test_a_start_pattern_has_the_same_limits() -> None:
    found = split(b"x\n" * 2500, format=LineFormat.PLAIN, start_pattern="^y", read_ns=1)
    assert [body.count(b"x") for body in found.bodies] == [1000, 1000, 500]
    found = split(b"y\nab\nab\nab\n", format=LineFormat.PLAIN, start_pattern="^y", read_ns=1, max_body_bytes=4)
    assert found.bodies == [b"y\nab", b"ab", b"ab"]


def test_a_start_pattern_works_on_bytes_that_are_no_text() -> None:
    found = split(b"\xff START\n\xfe\nSTART\n", format=LineFormat.PLAIN, start_pattern="START", read_ns=1)
    assert found.bodies == [b"\xff START\n\xfe", b"START"]


def test_a_pattern_that_re2_refuses_is_rejected() -> None:
    with pytest.raises(RejectedError, match="RE2 refuses it") as caught:
        compile_start_pattern("(?=x)")
    assert caught.value.reason == "start_pattern"


def test_a_start_pattern_is_compiled_once() -> None:
    assert compile_start_pattern("^once$") is compile_start_pattern("^once$")
