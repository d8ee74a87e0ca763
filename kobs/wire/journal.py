"""Records of the systemd journal as `journalctl --output=json --all` writes them: one JSON object a line.

In: the lines of a batch. Out: an entry for each record, in their order, with the message byte for byte. A line with a
number that is no record else is kept whole; one without a number has no position, and is counted and left out.
"""

import re
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

_Value: TypeAlias = str | list[object] | None
"""Text; the values of bytes where it is not UTF-8; a list of both where the field occurs more than once."""

_SEVERITIES = {
    b"0": "fatal",
    b"1": "fatal",
    b"2": "fatal",
    b"3": "error",
    b"4": "warn",
    b"5": "info",
    b"6": "info",
    b"7": "debug",
}
_NUMBER = re.compile(rb'"__CURSOR"\s*:\s*"s=[0-9a-f]+;i=([0-9a-f]{1,16})')


class _Record(msgspec.Struct):
    realtime: str = msgspec.field(name="__REALTIME_TIMESTAMP", default="")
    message: _Value = msgspec.field(name="MESSAGE", default=None)
    priority: _Value = msgspec.field(name="PRIORITY", default=None)
    unit: _Value = msgspec.field(name="_SYSTEMD_UNIT", default=None)
    identifier: _Value = msgspec.field(name="SYSLOG_IDENTIFIER", default=None)


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One record. `number` counts those of a sequence, with gaps; `severity` is empty where it has no priority."""

    number: int
    time_ns: int
    unit: str
    severity: str
    body: bytes


_decode = msgspec.json.Decoder(_Record).decode


def parse(payload: bytes, *, read_ns: int) -> tuple[list[JournalEntry], int]:
    """Return the entries of a batch, and how many of its lines were no records. `read_ns` is for those without a time.

    Source: systemd "Journal Export Formats", section "Journal JSON Format".
    """
    entries: list[JournalEntry] = []
    malformed = 0
    for line in payload.split(b"\n"):
        if not line:
            continue
        found = _NUMBER.search(line)
        if found is None:
            malformed += 1
            continue
        number = int(found[1], 16)
        try:
            entries.append(_entry(number, _decode(line), read_ns=read_ns))
        except (msgspec.DecodeError, RecursionError, TypeError, ValueError):
            malformed += 1
            entries.append(JournalEntry(number, read_ns, "", "", line))
    return entries, malformed


def _entry(number: int, record: _Record, *, read_ns: int) -> JournalEntry:
    realtime = record.realtime
    is_time = realtime.isascii() and realtime.isdigit() and len(realtime) < 17
    unit = _first(record.unit) or _first(record.identifier)
    return JournalEntry(
        number,
        int(realtime) * 1000 if is_time else read_ns,
        unit.decode("utf-8", "replace"),
        _SEVERITIES.get(_first(record.priority), ""),
        b"\n".join(_values(record.message)),
    )


def _first(value: _Value) -> bytes:
    return next(iter(_values(value)), b"")


def _values(value: object) -> list[bytes]:
    """Return the values of a field. Raises: TypeError, ValueError if it is none."""
    if value is None:
        return []
    if isinstance(value, str):
        return [value.encode()]
    if not isinstance(value, list):
        raise TypeError("neither text nor a list")
    if all(isinstance(byte, int) for byte in value):
        return [bytes(value)]
    return [each for part in value for each in _values(part)]
