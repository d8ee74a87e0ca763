"""When a plain line says it was written.

In: the body of an entry, any bytes; when it was read; the zone of the machine that wrote it. Out: ns UTC, or None where
the line says no time at its start, none that exists, or one that is absurd. Nothing raises. A year that is not written
is the one that brings the time nearest before the reading.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation

import msgspec

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_1971_NS = 31_536_000_000_000_000
_DAY_NS = 86_400_000_000_000
_SCAN_BYTES = 512

_MONTHS = {
    month: number for number, month in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), start=1)
}
_ISO = re.compile(
    rb"\[?(\d{4})([-/])(\d\d)\2(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9})\d*)?"
    rb"(?:[Zz](?![A-Za-z])| ?(?:UTC|GMT)\b|([+-])(\d\d)(?::?(\d\d))?(?!\d)| ([+-])(\d\d):?(\d\d)(?![\d.]))?(?!\d)"
)
_SYSLOG = re.compile(rb"(?:<\d{1,3}>)?([A-Z][a-z]{2}) ([ \d]?\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?(?=[\s:]|$)")
_SYSLOG_5424 = re.compile(rb"<\d{1,3}>\d{1,2} ")
_KLOG = re.compile(rb"[IWEF](\d\d)(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?\s")
_CLF = re.compile(
    rb"[^\"]{0,200}?\[(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))? ([+-])(\d\d)(\d\d)\]"
)
_ASCTIME = re.compile(
    rb"\[?[A-Z][a-z]{2} ([A-Z][a-z]{2}) ([ \d]?\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)? (\d{4})(?!\d)"
)
_LOGFMT = re.compile(
    rb"(?:[\w.@-]{1,64}=(?:\"(?:[^\"\\]|\\.)*+\"|[^\s\"]*+)\s++){0,8}?(?:ts|time|timestamp|@timestamp|t)=(?:\"([^\"]{1,48})\"|([^\s\"]{1,48}))"
)
_NUMBER = re.compile(rb"\d{9,20}(?:\.\d{0,20})?(?:[eE]\+?\d{1,2})?|\d(?:\.\d{1,20})?[eE]\+?\d{1,2}")


class _Record(msgspec.Struct):
    """The usual keys of a JSON line that hold its time, their values undecoded."""

    ts: msgspec.Raw = msgspec.Raw()
    time: msgspec.Raw = msgspec.Raw()
    timestamp: msgspec.Raw = msgspec.Raw()
    at_timestamp: msgspec.Raw = msgspec.field(name="@timestamp", default=msgspec.Raw())
    at_t: msgspec.Raw = msgspec.field(name="@t", default=msgspec.Raw())
    capital_t: msgspec.Raw = msgspec.field(name="T", default=msgspec.Raw())
    datetime: msgspec.Raw = msgspec.Raw()

    def values(self) -> tuple[msgspec.Raw, ...]:
        return (self.ts, self.time, self.timestamp, self.at_timestamp, self.at_t, self.capital_t, self.datetime)


_DECODER = msgspec.json.Decoder(_Record)


def line_time_ns(body: bytes, *, read_ns: int, utc_offset_s: int) -> int | None:
    """Return the time at the start of a plain line (or in its usual JSON or logfmt keys) as ns UTC; None without one.

    A time without a zone is `utc_offset_s` ahead of UTC. One before 1971 or later than a day after `read_ns` counts as
    none.

    Source: RFC 3339, RFC 3164 section 4.1.2, RFC 5424 section 6.2.3, Apache's common and error log formats, klog's
    header.
    """
    found = _time_ns(body, read_ns=read_ns, offset_s=utc_offset_s)
    if found is None or not _YEAR_1971_NS <= found <= read_ns + _DAY_NS:
        return None
    return found


def _time_ns(body: bytes, *, read_ns: int, offset_s: int) -> int | None:
    first = body[:1]
    if first == b"{":
        return _json_time_ns(body, offset_s=offset_s)
    if first.isdigit() or first == b"[":
        return _iso_ns(body, offset_s=offset_s) or _asctime_ns(body, offset_s=offset_s) or _clf_ns(body)
    if first == b"<" and (head := _SYSLOG_5424.match(body)):
        return _iso_ns(body[head.end() : head.end() + 64], offset_s=offset_s)
    if found := _KLOG.match(body) or _SYSLOG.match(body):
        month, day, *clock = found.groups()
        number = int(month) if month.isdigit() else _MONTHS.get(month, 0)
        return _yearless_ns(number, int(day), tuple(clock), read_ns=read_ns, offset_s=offset_s)
    if pair := _LOGFMT.match(body, 0, _SCAN_BYTES):
        return _value_ns(pair[1] or pair[2], offset_s=offset_s)
    return _clf_ns(body)


def _iso_ns(text: bytes, *, offset_s: int) -> int | None:
    found = _ISO.match(text)
    if found is None:
        return None
    year, _, month, day, hour, minute, second, fraction, sign, hours, minutes, sign_2, hours_2, minutes_2 = (
        found.groups()
    )
    if sign or sign_2:
        shift = int(hours or hours_2) * 3600 + int(minutes or minutes_2 or 0) * 60
        offset_s = -shift if (sign or sign_2) == b"-" else shift
    elif found[0][-1:] in b"ZzCT":
        offset_s = 0
    return _moment_ns(int(year), int(month), int(day), (hour, minute, second, fraction), offset_s=offset_s)


def _clf_ns(body: bytes) -> int | None:
    found = _CLF.match(body, 0, _SCAN_BYTES)
    if found is None:
        return None
    day, month, year, hour, minute, second, fraction, sign, hours, minutes = found.groups()
    shift = int(hours) * 3600 + int(minutes) * 60
    offset_s = -shift if sign == b"-" else shift
    clock = (hour, minute, second, fraction)
    return _moment_ns(int(year), _MONTHS.get(month, 0), int(day), clock, offset_s=offset_s)


def _asctime_ns(body: bytes, *, offset_s: int) -> int | None:
    found = _ASCTIME.match(body)
    if found is None:
        return None
    month, day, hour, minute, second, fraction, year = found.groups()
    clock = (hour, minute, second, fraction)
    return _moment_ns(int(year), _MONTHS.get(month, 0), int(day), clock, offset_s=offset_s)


def _json_time_ns(body: bytes, *, offset_s: int) -> int | None:
    try:
        record = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    for raw in record.values():
        value = bytes(raw)
        if value:
            found = _value_ns(value.strip(b'"'), offset_s=offset_s)
            if found is not None:
                return found
    return None


def _value_ns(text: bytes, *, offset_s: int) -> int | None:
    """Return the time of a key's value: a date, or a number of s, ms, us or ns since 1970, told by its size."""
    if _NUMBER.fullmatch(text) is None:
        return _iso_ns(text, offset_s=offset_s)
    try:
        number = Decimal(text.decode("ascii"))
    except InvalidOperation:
        return None
    for limit, unit_ns in ((10**11, 10**9), (10**14, 10**6), (10**17, 10**3), (10**19, 1)):
        if number < limit:
            return int(number * unit_ns)
    return None


def _yearless_ns(month: int, day: int, clock: tuple[bytes | None, ...], *, read_ns: int, offset_s: int) -> int | None:
    latest_ns = read_ns + _DAY_NS
    latest = _EPOCH + timedelta(seconds=min(max(latest_ns // 1_000_000_000 + offset_s, 0), 250_000_000_000))
    # A 29th of February may be eight years back.
    for year in range(latest.year, latest.year - 9, -1):
        found = _moment_ns(year, month, day, clock, offset_s=offset_s)
        if found is not None and found <= latest_ns:
            return found
    return None


def _moment_ns(year: int, month: int, day: int, clock: tuple[bytes | None, ...], *, offset_s: int) -> int | None:
    """Return a moment of a zone as ns UTC; None if no calendar has it. `clock`: hour, minute, second, fraction."""
    hour, minute, second, fraction = clock
    try:
        since = datetime(year, month, day, int(hour or 0), int(minute or 0), int(second or 0), tzinfo=UTC) - _EPOCH
    except ValueError:
        return None
    seconds = since.days * 86_400 + since.seconds - offset_s
    return seconds * 1_000_000_000 + int((fraction or b"").ljust(9, b"0"))
