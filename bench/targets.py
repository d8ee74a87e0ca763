"""A process that answers scrapes: `python -m bench.targets SERIES`. One port, which it prints; every path is a target.

Series look like those of a program in use: histograms with several labels, counters and gauges; one value in three is
another one at each scrape.
"""

import asyncio
import random
import sys

_BODIES = 6
_BUCKETS = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf")


def exposition(series: int, *, seed: int) -> bytes:
    """Return a text of so many series."""
    labels = random.Random(1)
    values = random.Random(seed)
    lines: list[str] = []
    count = 0
    family = 0
    while count < series:
        name = f"app_{labels.choice(['http', 'grpc', 'queue', 'cache', 'db'])}_{family:04}"
        is_histogram = family % 3 == 0
        kind = "histogram" if is_histogram else "counter" if family % 3 == 1 else "gauge"
        lines += [f"# HELP {name} What the program does, number {family}.", f"# TYPE {name} {kind}"]
        for number in range(8):
            common = f'handler="/api/v1/things/{number}",method="GET",code="{200 + number % 3}",zone="z-{number % 2}"'
            if is_histogram:
                total = 0
                for bound in _BUCKETS:
                    total += values.randrange(50) if values.random() < 0.3 else 10
                    lines.append(f'{name}_bucket{{{common},le="{bound}"}} {total}')
                lines += [f"{name}_sum{{{common}}} {total * 0.0371:.6f}", f"{name}_count{{{common}}} {total}"]
                count += len(_BUCKETS) + 2
            else:
                value = values.random() * 1e6 if values.random() < 0.3 else 12345.0
                lines.append(f"{name}{{{common}}} {value:.3f}")
                count += 1
        family += 1
    return "\n".join([*lines, ""]).encode()


class Target(asyncio.Protocol):
    """One connection, which stays open."""

    bodies: list[bytes]
    answered = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._head = b""

    def data_received(self, data: bytes) -> None:
        """Answer each request with the next text."""
        self._head += data
        while b"\r\n\r\n" in self._head:
            _, _, self._head = self._head.partition(b"\r\n\r\n")
            body = self.bodies[Target.answered % len(self.bodies)]
            Target.answered += 1
            head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {len(body)}\r\n\r\n"
            self._transport.write(head.encode() + body)


async def _serve(series: int) -> None:
    Target.bodies = [exposition(series, seed=seed) for seed in range(_BODIES)]
    server = await asyncio.get_running_loop().create_server(Target, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
