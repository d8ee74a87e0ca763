"""Records of the journal as entries."""

import pytest

from kobs.wire.journal import JournalEntry, parse

CURSOR = b'"__CURSOR":"s=36fc58f0;i=1f;b=07;m=3e8;t=66;x=2a"'
TIME = b'"__REALTIME_TIMESTAMP":"1795348800000001"'
TIME_NS = 1_795_348_800_000_001_000


def entry(*fields: bytes) -> JournalEntry:
    entries, malformed = parse(b"{" + b",".join([*fields, CURSOR, TIME]) + b"}\n", read_ns=7)
    assert malformed == 0
    return entries[0]


@pytest.mark.parametrize(
    ("message", "body"),
    [
        (b'"a \\u65e5\\n  b"', "a 日\n  b".encode()),
        (b"null", b""),
        (b'""', b""),
        (b"[104,105,255,0]", b"hi\xff\x00"),
        (b'["a","b"]', b"a\nb"),
        (b'["a",[255,10]]', b"a\n\xff\n"),
        (b"[]", b""),
    ],
)
def test_messages_are_taken_out_byte_for_byte(message: bytes, body: bytes) -> None:
    assert entry(b'"MESSAGE":' + message) == JournalEntry(31, TIME_NS, "", "", body)


def test_a_record_without_message_is_an_empty_entry() -> None:
    assert entry(b'"PRIORITY":"6"') == JournalEntry(31, TIME_NS, "", "info", b"")


@pytest.mark.parametrize(
    ("priority", "severity"),
    [(b'"0"', "fatal"), (b'"3"', "error"), (b'"4"', "warn"), (b'"7"', "debug"), (b'"8"', ""), (b'["2","6"]', "fatal")],
)
def test_the_priority_is_the_severity(priority: bytes, severity: str) -> None:
    assert entry(b'"PRIORITY":' + priority).severity == severity


@pytest.mark.parametrize(
    ("fields", "unit"),
    [
        (b'"_SYSTEMD_UNIT":"a.service","SYSLOG_IDENTIFIER":"x"', "a.service"),
        (b'"SYSLOG_IDENTIFIER":"kernel"', "kernel"),
        (b'"SYSLOG_IDENTIFIER":["cron","anacron"]', "cron"),
        (b'"SYSLOG_IDENTIFIER":[99,255]', "c\ufffd"),
        (b'"_PID":"1"', ""),
    ],
)
def test_the_unit_is_the_service_or_else_the_identifier(fields: bytes, unit: str) -> None:
    assert entry(fields).unit == unit


@pytest.mark.parametrize(
    "field", [b'"MESSAGE":[300]', b'"MESSAGE":[{}]', b'"MESSAGE":"\xff"', b'"MESSAGE":' + b"[" * 5000]
)
def test_a_line_with_a_number_that_is_no_record_is_kept_whole(field: bytes) -> None:
    line = b"{" + CURSOR + b"," + field + b"}"
    assert parse(line + b"\n", read_ns=7) == ([JournalEntry(31, 7, "", "", line)], 1)


@pytest.mark.parametrize("line", [b"{", b"[1]", b'{"MESSAGE":"a"}', b'{"MESSAGE":"\\"__CURSOR\\":\\"s=1;i=2"}'])
def test_a_line_without_a_number_is_counted_and_left_out(line: bytes) -> None:
    assert parse(line + b"\n", read_ns=7) == ([], 1)


@pytest.mark.parametrize("time", [b"", b"x", b"9" * 30], ids=["empty", "no number", "too long"])
def test_a_record_without_a_time_has_that_of_its_reading(time: bytes) -> None:
    line = b'{"__REALTIME_TIMESTAMP":"' + time + b'",' + CURSOR + b"}\n"
    assert [each.time_ns for each in parse(line, read_ns=7)[0]] == [7]
