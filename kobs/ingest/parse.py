"""What a line says of itself: its severity and its trace (and its time, from `kobs.ingest.line_time`).

In: the body of an entry, any bytes. Out: a word of `SEVERITIES` or "", a trace id or "". Nothing raises, nothing is
changed, and what is not plainly said is not guessed: a word in the middle of a message is no severity.
"""

import re
from typing import Any

import msgspec

from kobs.ingest.line_time import line_time_ns

__all__ = ["SEVERITIES", "TRACE_LOOKS_BACK", "TRACE_SIGNS", "line_time_ns", "severity", "trace_id"]

SEVERITIES = ("trace", "debug", "info", "warn", "error", "fatal")

_WORDS = {
    "trace": "trace trce trc verbose finest finer silly",
    "debug": "debug dbug dbg fine",
    "info": "info information informational inf notice log config",
    "warn": "warn warning wrn",
    "error": "error err eror severe fail failure",
    "fatal": "fatal critical crit emerg emergency alert panic dpanic ftl crt",
}
SEVERITY_WORDS = {word.encode(): severity for severity, words in _WORDS.items() for word in words.split()}
SEVERITY_WORDS |= {word.upper(): severity for word, severity in SEVERITY_WORDS.items()}
SEVERITY_WORDS |= {b"t": "trace", b"d": "debug", b"i": "info", b"w": "warn", b"e": "error", b"f": "fatal"}
KLOG_SEVERITIES = {b"I": "info", b"W": "warn", b"E": "error", b"F": "fatal"}
_SYSLOG = ("fatal", "fatal", "fatal", "error", "warn", "info", "info", "debug")

SCAN_BYTES = 256
"""How far from its beginning a line that is not JSON may say its severity."""
_DECODE_BYTES = 65_536
"""A longer JSON line is not decoded only to find a key behind other objects."""

_KEYS = (
    *("level", "severity", "lvl", "log.level", "levelname", "severity_text", "SeverityText", "@l", "L"),
    *("Level", "log_level", "loglevel", "Severity", "LogLevel"),
)
_KEY = re.compile(b'"(?:' + b"|".join(re.escape(key.encode()) for key in _KEYS) + rb')"\s*:')
_VALUE = re.compile(rb'\s*:\s*(?:"([A-Za-z]{1,16})"|([1-6]\d)\s*[,}])')

# Words that are severities on a line of text, if all before them is times, places, processes and other such things:
# tokens with a digit in them, in brackets, or known words.
_CAPITALS = (
    rb"TRACE|DEBUG|FINEST|FINER|FINE|INFO|NOTICE|WARNING|WARN|ERROR|SEVERE|CRITICAL|CRIT|FATAL|ALERT|EMERG|PANIC"
)
_ANY_CASE = rb"(?i:" + _CAPITALS + rb"|err|inf|wrn|dbg|information|verbose)"
_TEXT_LEVEL = re.compile(
    rb"(?:(?:\d[^\s\"=]*+|[-|*#]|[\[(<](?:(?=[^A-Za-z])|(?!(?:\w{1,30}:)?" + _ANY_CASE + rb"\s{0,3}[\])>]))[^\s\"=]*+"
    rb"|(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun|Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec|UTC|GMT|CEST|CET|AM|PM)(?=[\s,]),?"
    rb"|(?!(?:" + _CAPITALS + rb")\b)[A-Za-z+](?=[^\s\"=]{0,80}[\d@\]])[^\s\"=]*+)[ \t]++){0,10}+"
    # The first letters of the words, as trying each word takes long.
    rb"(?=[\[(<|-]|[ACDEFINPSTWLacdefinpstw])"
    rb"(?:[|-]?(" + _CAPITALS + rb"|LOG(?=:))(?=[\s:\]|,)>-]|$)"
    rb"|[\[(<](?:\w{1,30}:)?(" + _ANY_CASE + rb")\s{0,3}[\])>]"
    rb"|((?i:" + _CAPITALS + rb"|fail|dbug|trce)):)"
)
_LOGFMT_KEYS = (b"level=", b"lvl=", b"severity=")
_LOGFMT_VALUE = re.compile(rb"\"?([A-Za-z]{1,16})\"?(?:[\s,;]|$)")
_RAISED = re.compile(
    rb"[\w.$]++(?:(?<=Exception)|(?<=Error)|(?<=Throwable))(?=:|\s*(?:\n|$))"
    rb"|Exception in thread |Unhandled exception|Uncaught |Traceback \(most|\s+\+ Exception Group Traceback"
    rb"|\S+\.(?:[cm]?[jt]sx?:\d+\s*\n[^\n]*\n\s*\^+\s*\n|rb:\d+:in )"
)
_GO_FATAL = (b"panic: ", b"fatal error: ")
_SYSLOG_HEAD = re.compile(
    rb"(?:<(\d{1,3})>)?(?:\d{1,2} \S+ \S+ \S+ \S+ \S+ (?:-|(?:\[[^\]]*\])+) ?"
    rb"|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ [^\s:\[]+(?:\[\d+\])?: )"
)
_PRIORITY = re.compile(rb"<(\d{1,3})>")


def severity(body: bytes) -> str:
    """Return the severity that a line says it has, a word of `SEVERITIES`; "" if it says none."""
    first = body[:1]
    if first == b"{":
        return _json_severity(body)
    if first in KLOG_SEVERITIES and body[1:5].isdigit() and body[5:6] == b" ":
        return KLOG_SEVERITIES[first]
    return _text_severity(body)


def _json_severity(body: bytes) -> str:
    at = body.find(b'"level"')
    end = at + 7
    if at > 0 and body[end : end + 2] == b':"' and body.find(b"{", 1, at) < 0:
        # By far the most: no pattern is needed to read a known word.
        word = body[end + 2 : body.find(b'"', end + 2)]
        if word in SEVERITY_WORDS:
            return SEVERITY_WORDS[word]
    if at < 0:
        found = _KEY.search(body)
        if found is None:
            # Elastic's schema, with its dots as objects.
            return _decoded_severity(body) if body.find(b'"log"') >= 0 else ""
        at, end = found.start(), found.end() - 1
    if body.find(b"{", 1, at) < 0:
        value = _VALUE.match(body, end)
        if value is not None:
            word, number = value.groups()
            return SEVERITY_WORDS.get(word) or _severity_of(word, number)
    return _decoded_severity(body)


def _decoded_severity(body: bytes) -> str:
    """Return the severity of a JSON object whose own keys cannot be told from those of objects in it at sight."""
    if len(body) > _DECODE_BYTES:
        return ""
    try:
        record: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    if not isinstance(record, dict):
        return ""
    log = record.get("log")
    values = [record.get(key) for key in _KEYS]
    if isinstance(log, dict):
        values.append(log.get("level"))
    for value in values:
        if isinstance(value, str) and len(value) <= 16:
            found = _severity_of(value.encode(), None)
        elif isinstance(value, int) and 10 <= value < 70:
            found = _severity_of(None, b"%d" % value)
        else:
            continue
        if found:
            return found
    return ""


def _severity_of(word: bytes | None, number: bytes | None) -> str:
    """Return the severity of a word, or of a number as pino and bunyan write them: 10 is trace, 60 is fatal."""
    if word is not None:
        return SEVERITY_WORDS.get(word.lower(), "")
    return SEVERITIES[int(number[:1]) - 1] if number else ""


def _text_severity(body: bytes) -> str:
    if body[:1].islower() and body.find(b"=", 0, 16) > 0 and (word := _logfmt_severity(body)):
        return word
    found = _TEXT_LEVEL.match(body, 0, SCAN_BYTES)
    if found is not None:
        return SEVERITY_WORDS.get((found[1] or found[2] or found[3]).lower(), "")
    if (b"l=" in body or b"y=" in body) and (word := _logfmt_severity(body)):
        return word
    if body[:1].isdigit():
        return ""
    if body.startswith(_GO_FATAL):
        return "fatal"
    return "error" if _RAISED.match(body) else _syslog_severity(body)


def _logfmt_severity(body: bytes) -> str:
    for key in _LOGFMT_KEYS:
        at = body.find(key, 0, SCAN_BYTES)
        if at < 0:
            continue
        value = _LOGFMT_VALUE.match(body, at + len(key))
        if at == 0 and value is not None:
            return SEVERITY_WORDS.get(value[1].lower(), "")
        before = body[:at]
        # Within quotes or after a plain word it is part of a message, within a URL part of a query.
        if value is None or before.count(b'"') % 2:
            continue
        before = before.removesuffix(b"log.").removesuffix(b"log_").removesuffix(b"log")
        last = (before.split() or [b""])[-1] if before[-1:].isspace() else before
        if not last or (last is not before and (b"=" in last or last[-1:].isdigit() or last[-1:] in b"]:\"'Z")):
            return SEVERITY_WORDS.get(value[1].lower(), "")
    return ""


def _syslog_severity(body: bytes) -> str:
    """Return the severity of what follows a syslog head, else that of the head's priority."""
    head = _SYSLOG_HEAD.match(body, 0, SCAN_BYTES)
    if head is not None and head.end() < len(body):
        rest = body[head.end() : head.end() + SCAN_BYTES]
        found = "" if _SYSLOG_HEAD.match(rest) else severity(rest)
        if found:
            return found
    priority = _PRIORITY.match(body)
    if priority is None or int(priority[1]) > 191:
        return ""
    return _SYSLOG[int(priority[1]) & 7]


# It begins with the letters that all spellings share: looking for them is ten times as fast as looking for a class.
_TRACE_KEY = re.compile(
    rb"race(?<=[tT]race)(?<![A-Za-z0-9_].race)(?="
    rb"(?:[_.-]?[iI][dD]|parent|(?<=logging\.googleapis\.com/trace))"
    rb"(?:\\?\")?\s{0,8}[:=]\s{0,8}(?:\\?\")?(?:projects/[^\s\"/]{1,64}/traces/|00-)?"
    rb"([0-9A-Fa-f]{32}|[0-9A-Fa-f]{16})(?![0-9A-Za-z]))",
    re.DOTALL,
)
_NO_TRACE = frozenset((b"0" * 16, b"0" * 32))
_TRACEPARENT = re.compile(rb"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?![0-9a-f-])")


def trace_id(body: bytes) -> str:
    """Return the trace id that a line names, 32 or 16 hex digits in lower case; "" if it names none.

    Source: W3C Trace Context, section 3.2 "Traceparent Header"; Zipkin B3 propagation.
    """
    for sign, id_at in TRACE_SIGNS.items():
        at = body.find(sign)
        while at >= 0:
            found = id_at(body, at, len(body))
            if found:
                return found
            at = body.find(sign, at + 1)
    return ""


def _id_of_key(text: bytes | memoryview, at: int, end: int) -> str:
    """Return the trace id of a key whose `race` is at a place of a text that ends early."""
    found = _TRACE_KEY.match(text, at, end)
    return "" if found is None or found[1] in _NO_TRACE else found[1].lower().decode("ascii")


def _id_of_parent(text: bytes | memoryview, at: int, end: int) -> str:
    """Return the trace id of a traceparent that begins at a place of a text that ends early."""
    found = _TRACEPARENT.match(text, at, end)
    if found is None or found[1] in _NO_TRACE or bytes(text[max(at - 1, 0) : at]).isalnum():
        return ""
    return found[1].decode("ascii")


TRACE_SIGNS = {b"race": _id_of_key, b"00-": _id_of_parent}
"""What every line has that names a trace, and what reads the id there; of the first sign that gives one, it counts."""
TRACE_LOOKS_BACK = 2
"""Bytes before a sign that are looked at."""
