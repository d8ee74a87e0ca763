"""Lines of the systemd journal as `journalctl -o json` writes them: one JSON object a line.

In: the lines. Out: the message of each, byte for byte, and when the journal received it. A line that is not such an
object is kept whole, at the time of reading.
"""

import msgspec


class _Record(msgspec.Struct):
    message: str | list[object] | None = msgspec.field(name="MESSAGE", default=None)
    realtime: str = msgspec.field(name="__REALTIME_TIMESTAMP", default="")


_DECODER = msgspec.json.Decoder(_Record)


def parse(line: bytes, *, read_ns: int) -> tuple[int, bytes] | None:
    """Return time (ns UTC) and message of a line; None if it is not an object of the journal.

    A message that is not UTF-8 comes as an array of byte values, one that is there several times as an array of
    messages, which are then joined by newlines.

    Source: systemd "Journal Export Formats", section "Journal JSON Format".
    """
    try:
        record = _DECODER.decode(line)
        message = _message_bytes(record.message)
    except (msgspec.DecodeError, RecursionError, ValueError, TypeError):
        return None
    realtime = record.realtime
    is_time = realtime.isascii() and realtime.isdigit() and len(realtime) < 20
    return int(realtime) * 1000 if is_time else read_ns, message


def _message_bytes(message: object) -> bytes:
    """Return the bytes of a message's value. Raises: ValueError, TypeError if it is not one."""
    if isinstance(message, str):
        return message.encode()
    if message is None:
        return b""
    if not isinstance(message, list):
        raise TypeError("message is neither text nor an array")
    if all(isinstance(value, int) for value in message):
        return bytes(message)
    return b"\n".join([_message_bytes(value) for value in message])
