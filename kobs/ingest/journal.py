"""Records of the systemd journal, as `journalctl --output=json` writes them, one JSON object a line.

Source: systemd's journal export formats (a field is text, null where it is too large to show, or a list of bytes).
"""

import re
from dataclasses import dataclass

import msgspec

_SEVERITIES = ("fatal", "fatal", "fatal", "error", "warn", "info", "info", "debug")
_SEQUENCE = re.compile(r"(?:^|;)i=([0-9a-f]+)")


class _Record(
    msgspec.Struct,
    frozen=True,
    rename={
        "cursor": "__CURSOR",
        "realtime": "__REALTIME_TIMESTAMP",
        "message": "MESSAGE",
        "priority": "PRIORITY",
        "unit": "_SYSTEMD_UNIT",
        "identifier": "SYSLOG_IDENTIFIER",
    },
):
    cursor: str
    realtime: str
    message: str | list[int | str] | None = None
    priority: str | list[int | str] | None = None
    unit: str | list[int | str] | None = None
    identifier: str | list[int | str] | None = None


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One record. `sequence` numbers the records of a journal, with gaps."""

    sequence: int
    time_ns: int
    unit: str
    severity: str
    message: bytes


@dataclass(frozen=True, slots=True)
class JournalEntries:
    """The records of a payload in their order, and how many lines were none."""

    entries: list[JournalEntry]
    malformed: int


_decode = msgspec.json.Decoder(_Record).decode


def journal_entries(payload: bytes) -> JournalEntries:
    """Return the records of `journalctl`'s lines. Lines that are no record are counted and left out."""
    entries: list[JournalEntry] = []
    malformed = 0
    for line in bytes(payload).splitlines():
        try:
            record = _decode(line)
            found = _SEQUENCE.search(record.cursor)
            if found is None:
                raise ValueError(record.cursor)
            entries.append(
                JournalEntry(
                    sequence=int(found[1], 16),
                    time_ns=int(record.realtime) * 1000,
                    unit=_first(record.unit) or _first(record.identifier),
                    severity=_severity(record.priority),
                    message=_message(record.message),
                )
            )
        except (msgspec.DecodeError, ValueError):
            malformed += 1
    return JournalEntries(entries, malformed)


def sequence_of(cursor: str) -> int | None:
    """Return the number of the record that a cursor points to."""
    found = _SEQUENCE.search(cursor)
    return None if found is None else int(found[1], 16)


def _severity(priority: str | list[int | str] | None) -> str:
    text = _first(priority)
    return _SEVERITIES[int(text)] if text in {"0", "1", "2", "3", "4", "5", "6", "7"} else ""


def _first(value: str | list[int | str] | None) -> str:
    # A field that occurs several times in a record comes as a list of its values; one that is not UTF-8 as bytes.
    if isinstance(value, list):
        if value and isinstance(value[0], int):
            return bytes(byte for byte in value if isinstance(byte, int) and 0 <= byte < 256).decode("utf-8", "replace")
        return str(value[0]) if value else ""
    return value or ""


def _message(value: str | list[int | str] | None) -> bytes:
    if isinstance(value, list) and all(isinstance(byte, int) and 0 <= byte < 256 for byte in value):
        return bytes(byte for byte in value if isinstance(byte, int))
    return _first(value).encode()
