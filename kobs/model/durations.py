"""Durations as people write them: `15s`, `5m`, `1h30m`, `7d` (Prometheus' form)."""

import re

_UNITS_MS = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1000,
    "ms": 1,
}
_DURATION = re.compile(r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?")


def parse_duration_ms(text: str) -> int:
    """Return the milliseconds of a duration such as `1h30m`.

    Raises: ValueError with the text and the expected form.
    """
    found = _DURATION.fullmatch(text)
    if found is None or not text:
        raise ValueError(f"duration {text!r}: expected numbers with units in this order, such as 1h30m or 500ms")
    return sum(int(count) * _UNITS_MS[unit] for count, unit in zip(found.groups(), _UNITS_MS, strict=True) if count)


def format_duration(milliseconds: int) -> str:
    """Return a duration as Prometheus writes it: `1m30s`; years, weeks and days only where nothing is left over."""
    if milliseconds == 0:
        return "0s"
    text, rest = "", milliseconds
    for unit, unit_ms in _UNITS_MS.items():
        if unit in ("y", "w", "d") and rest % unit_ms:
            continue
        if rest >= unit_ms:
            text += f"{rest // unit_ms}{unit}"
            rest %= unit_ms
    return text
