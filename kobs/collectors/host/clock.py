"""The machine's clock: what it says, what it runs on, and how the kernel steers it.

Source: adjtimex(2), Linux `Documentation/ABI/testing/sysfs-devices-system-cpu`; node_exporter 1.12 (names and units).
"""

import ctypes
import math
import time

from kobs.collectors.host.points import Point, labelled
from kobs.collectors.host.roots import AbsentError, Roots, names, text

_TIME_ERROR = 5
"""What adjtimex answers while nothing keeps the clock right."""
_STA_NANO = 0x2000
_PPM = 65536.0 * 1_000_000.0
_MICROSECOND = 1e-6


class Timex(ctypes.Structure):
    """The kernel's struct timex."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("time_seconds", ctypes.c_long),
        ("time_rest", ctypes.c_long),
        ("tick", ctypes.c_long),
        ("ppsfreq", ctypes.c_long),
        ("jitter", ctypes.c_long),
        ("shift", ctypes.c_int),
        ("stabil", ctypes.c_long),
        ("jitcnt", ctypes.c_long),
        ("calcnt", ctypes.c_long),
        ("errcnt", ctypes.c_long),
        ("stbcnt", ctypes.c_long),
        ("tai", ctypes.c_int),
        ("reserved", ctypes.c_int * 11),
    )


def time_points(now_seconds: float) -> list[Point]:
    """Return the point of the machine's own clock."""
    if not math.isfinite(now_seconds):
        raise ValueError(f"time {now_seconds}: expected a finite number")
    return [Point("node_time_seconds", now_seconds)]


def collect_time(roots: Roots) -> list[Point]:
    """Return the points of the clock, its zone and its source."""
    now = time.time()
    local = time.localtime(now)
    points = time_points(now)
    points.append(Point("node_time_zone_offset_seconds", float(local.tm_gmtoff), (("time_zone", local.tm_zone),)))
    folder = f"{roots.sys}/devices/system/clocksource"
    for index, source in enumerate(names(folder, r"clocksource\d+")):
        device = str(index)
        for each in text(f"{folder}/{source}/available_clocksource").split():
            points.append(Point("node_time_clocksource_available_info", 1.0, labelled(device=device, clocksource=each)))
        current = text(f"{folder}/{source}/current_clocksource")
        points.append(Point("node_time_clocksource_current_info", 1.0, labelled(device=device, clocksource=current)))
    return points


def timex_points(timex: Timex, answer: int) -> list[Point]:
    """Return the points of what adjtimex filled in and answered."""
    piece = 1e-9 if timex.status & _STA_NANO else _MICROSECOND
    values = {
        "sync_status": float(answer != _TIME_ERROR),
        "offset_seconds": timex.offset * piece,
        "frequency_adjustment_ratio": 1 + timex.freq / _PPM,
        "maxerror_seconds": timex.maxerror * _MICROSECOND,
        "estimated_error_seconds": timex.esterror * _MICROSECOND,
        "status": timex.status,
        "loop_time_constant": timex.constant,
        "tick_seconds": timex.tick * _MICROSECOND,
        "pps_frequency_hertz": timex.ppsfreq / _PPM,
        "pps_jitter_seconds": timex.jitter * piece,
        "pps_shift_seconds": timex.shift,
        "pps_stability_hertz": timex.stabil / _PPM,
        "pps_jitter_total": timex.jitcnt,
        "pps_calibration_total": timex.calcnt,
        "pps_error_total": timex.errcnt,
        "pps_stability_exceeded_total": timex.stbcnt,
        "tai_offset_seconds": timex.tai,
    }
    return [Point(f"node_timex_{name}", float(value)) for name, value in values.items()]


class TimexCollector:
    """Asks the kernel, without changing anything, how it steers the clock."""

    def __init__(self) -> None:
        self._adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex

    def collect(self, _: Roots) -> list[Point]:
        """Return the points of the clock's steering.

        Raises: AbsentError where asking is forbidden; OSError.
        """
        timex = Timex()
        answer = self._adjtimex(ctypes.byref(timex))
        if answer < 0:
            try:
                raise OSError(ctypes.get_errno(), "adjtimex failed")
            except PermissionError as error:
                raise AbsentError("adjtimex is forbidden") from error
        return timex_points(timex, answer)
