"""Log lines as containers write them, seeded: web server access, JSON, klog, Java with stack traces.

Each container has one format; of 20 containers 8 write access logs, 6 JSON, 4 klog, 2 Java. Contents have 180 to 190
bytes on average, with digits, ids and words that vary as they do in real logs, so that compression is not flattered.
"""

import random
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

_FORMATS = "njnknjnjknnjnkjnjnkj"
"""The formats of 20 containers in turn: access (n), JSON (j), klog (k); two of the positions are Java."""
_JAVA = (3, 17)

_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) Mobile/15E148",
    "kube-probe/1.33",
    "Go-http-client/2.0",
    "python-httpx/0.28.1",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/140.0.0.0",
)
_METHODS = ("GET", "GET", "GET", "GET", "POST", "PUT", "DELETE")
_PATHS = ("api/v1/orders", "api/v1/customers", "api/v2/carts", "static/app", "catalogue/items", "internal/stock")
_STATUSES = (200, 200, 200, 200, 200, 201, 204, 301, 304, 400, 404, 499, 500, 502)
_LEVELS = ("info", "info", "info", "info", "debug", "warn", "error")
_MESSAGES = (
    "order accepted",
    "payment authorised",
    "cache miss, reading from the database",
    "stock reserved",
    "retrying after a timeout",
    "customer updated",
    "message published",
)
_FILES = ("controller.go", "reflector.go", "kubelet_pods.go", "status_manager.go", "scheduler.go", "leaderelection.go")
_ACTIONS = (
    "Reconciled object",
    "Updated status of pod",
    "Successfully bound pod to node",
    "Observed pod startup duration",
    "Watch closed, starting again",
)
_CLASSES = ("OrderService", "PaymentClient", "StockRepository", "CartController", "MailSender")
_EXCEPTIONS = (
    "java.lang.IllegalStateException: connection pool is exhausted after {} ms",
    "java.net.SocketTimeoutException: Read timed out after {} ms",
    "org.postgresql.util.PSQLException: ERROR: deadlock detected, process {} waits",
)


class ContainerLines:
    """The endless output of one container. Times are the caller's (ns UTC), never going back."""

    def __init__(self, number: int, *, seed: int) -> None:
        generator = random.Random(seed * 1_000_003 + number)
        self._random = generator.random
        self._bits = generator.getrandbits
        place = number % len(_FORMATS)
        kind = "J" if place in _JAVA else _FORMATS[place]
        formats: dict[str, Callable[[str], list[str]]] = {
            "n": self._access,
            "j": self._json,
            "k": self._klog,
            "J": self._java,
        }
        self._next = formats[kind]
        self.stream = "stderr" if kind == "k" else "stdout"
        self._waiting: list[str] = []
        self._count = 100_000 + self._number(800_000)

    def line(self, time_ns: int) -> str:
        """Return the content of the next line."""
        if not self._waiting:
            self._count += 1
            self._waiting = self._next(stamp(time_ns))
            self._waiting.reverse()
        return self._waiting.pop()

    def framed(self, *, start_ns: int, step_ns: int, size: int) -> tuple[bytes, int]:
        """Return whole lines of about `size` bytes as a container runtime writes them, and how many they are."""
        pieces: list[str] = []
        length = 0
        time_ns = start_ns
        tag = f"Z {self.stream} F "
        while length < size:
            piece = f"{stamp(time_ns)}{tag}{self.line(time_ns)}\n"
            pieces.append(piece)
            length += len(piece)
            time_ns += step_ns
        return "".join(pieces).encode(), len(pieces)

    def _number(self, below: int) -> int:
        return int(self._random() * below)

    def _pick(self, words: Sequence[T]) -> T:
        return words[int(self._random() * len(words))]

    def _address(self) -> str:
        bits = self._bits(14)
        return f"10.244.{bits >> 8}.{bits & 255}"

    def _access(self, now: str) -> list[str]:
        pick, number = self._pick, self._number
        return [
            (
                f'{self._address()} - - [23/Nov/2026:{now[11:19]} +0000] "{pick(_METHODS)} /{pick(_PATHS)}/'
                f'{number(1_000_000)}?page={number(50)}&session={self._bits(40):010x} HTTP/1.1" {pick(_STATUSES)} '
                f'{number(90_000)} "-" "{pick(_AGENTS)}" 0.{number(1000):03d} {self._address()}:8080'
            )
        ]

    def _json(self, now: str) -> list[str]:
        pick, number = self._pick, self._number
        trace = f',"trace_id":"{self._bits(128):032x}"' if number(2) else ""
        return [
            (
                f'{{"ts":"{now[:23]}Z","level":"{pick(_LEVELS)}","logger":"shop.orders","msg":"{pick(_MESSAGES)}",'
                f'"order_id":{self._count},"customer":"c{number(100_000)}","duration_ms":{number(10_000) / 10}{trace}}}'
            )
        ]

    def _klog(self, now: str) -> list[str]:
        pick, number = self._pick, self._number
        return [
            (
                f"{pick('IIIIIIWE')}{now[5:7]}{now[8:10]} {now[11:26]}       1 "
                f'{pick(_FILES)}:{number(900)}] "{pick(_ACTIONS)}" namespace="shop" '
                f'pod="web-{self._bits(36):09x}-{self._bits(20):05x}" node="node-{number(40)}" '
                f'resourceVersion="{self._count}" duration="{number(100_000) / 1000}ms"'
            )
        ]

    def _java(self, now: str) -> list[str]:
        pick, number = self._pick, self._number
        head = f"{now[:10]} {now[11:23]} "
        where = f"1 --- [nio-8080-exec-{number(20)}] com.example.shop.{pick(_CLASSES)} : "
        if number(40):
            return [
                (
                    f"{head} INFO {where}handled request {self._count} of customer c-{number(100_000)} session "
                    f"{self._bits(40):010x} in {number(2000)} ms, {number(300)} rows, {number(90_000)} bytes"
                )
            ]
        frames = [
            f"\tat com.example.shop.{pick(_CLASSES)}.step{number(30)}({pick(_CLASSES)}.java:{number(700)})"
            f" ~[shop-orders-2.{number(40)}.jar:na]"
            for _ in range(8 + number(17))
        ]
        return [f"{head}ERROR {where}request {self._count} failed", pick(_EXCEPTIONS).format(number(60_000)), *frames]


_SECONDS: dict[int, str] = {}


def stamp(time_ns: int) -> str:
    """Return a time as container runtimes write it, without the zone."""
    second, fraction = divmod(time_ns, 1_000_000_000)
    text = _SECONDS.get(second)
    if text is None:
        if len(_SECONDS) > 100_000:
            _SECONDS.clear()
        text = _SECONDS[second] = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
    return f"{text}{fraction:09d}"
