"""A process that writes as containers on a node do: `python -m bench.writing FOLDER`, started by a benchmark.

It makes its lines first, says `ready`, waits for a line on its standard input, writes at the rate that was asked for,
and tells the bytes that it wrote.
"""

import argparse
import sys
import time
from pathlib import Path

from bench.lines import ContainerLines, stamp

_TICK_SECONDS = 0.05


def pod_folder(root: Path, number: int) -> Path:
    """Return the folder of a container's log files."""
    return root / f"shop_web-{number}_0f6d3f0e-5a3b-4b7c-9d65-{number:012x}" / "app"


def main() -> None:
    """Write steadily."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--containers", type=int, default=200)
    parser.add_argument("--bytes-a-second", type=int, default=5 * 2**20)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    ticks = int(options.seconds / _TICK_SECONDS)
    share = options.bytes_a_second * _TICK_SECONDS / options.containers
    made = [ContainerLines(number, seed=options.seed) for number in range(options.containers)]
    files = []
    pieces: list[list[list[str]]] = []
    begin_ns = time.time_ns()
    for number, container in enumerate(made):
        folder = pod_folder(options.folder, number)
        folder.mkdir(parents=True, exist_ok=True)
        files.append((folder / "0.log").open("ab", buffering=0))
        written = number * share / options.containers
        mine = []
        for tick in range(ticks):
            contents = []
            while written < tick * share:
                now_ns = begin_ns + int(tick * _TICK_SECONDS * 1e9)
                contents.append(f"Z {container.stream} F {container.line(now_ns)}\n")
                written += len(contents[-1]) + 29
            mine.append(contents)
        pieces.append(mine)
    print("ready", flush=True)
    sys.stdin.readline()
    total = 0
    began = time.monotonic()
    for tick in range(ticks):
        now_ns = time.time_ns()
        for file, mine in zip(files, pieces, strict=True):
            contents = mine[tick]
            if contents:
                data = "".join([stamp(now_ns + index) + text for index, text in enumerate(contents)]).encode()
                now_ns += len(contents)
                total += file.write(data) or 0
        time.sleep(max(began + (tick + 1) * _TICK_SECONDS - time.monotonic(), 0))
    print(total, flush=True)


if __name__ == "__main__":
    main()
