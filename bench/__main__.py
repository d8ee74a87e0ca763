"""The command: run benchmarks, print their table. Exit code 0 also where a budget is missed: figures are no test."""

import argparse
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from bench import agent, idle, ingest, promql, samples, scrape, search
from bench.results import Options, Result, as_json, table

BENCHMARKS: dict[str, Callable[[Options], list[Result]]] = {
    "agent": agent.steady,
    "backlog": agent.backlog,
    "server": ingest.measure,
    "samples": samples.measure,
    "search": search.measure,
    "promql": promql.measure,
    "scrape": scrape.parse,
    "scraping": scrape.whole,
    "idle": idle.everything,
    "files": idle.many_files,
}


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Speed and size of kobs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; without any, all")
    parser.add_argument(
        "--full", action="store_true", help="as much data as the budgets say: 8 million lines to search"
    )
    parser.add_argument("--repeat", type=int, default=1, help="measure so often and take the best of each figure")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no benchmark is named {', '.join(sorted(unknown))}: expected {', '.join(BENCHMARKS)}")
    results: list[Result] = []
    for name in arguments.names or BENCHMARKS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        best = BENCHMARKS[name](Options(full=arguments.full))
        for _ in range(arguments.repeat - 1):
            again = BENCHMARKS[name](Options(full=arguments.full))
            best = [one.better(other) for one, other in zip(best, again, strict=True)]
        results += best
    if arguments.json:
        print(as_json(results))
        return
    print(table(results))
    print(f"\n{_machine()}")


def _machine() -> str:
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")), "")
    memory = psutil.virtual_memory().total / 2**30
    cores = f"{psutil.cpu_count()} cores {model or platform.machine()}"
    speed = min(_loop_seconds() for _ in range(3))
    return f"{cores}, {memory:.0f} GiB, Python {platform.python_version()}; its speed: a loop of {speed:.2f} CPU s"


def _loop_seconds() -> float:
    """Return the CPU seconds of a fixed loop, by which figures of one machine's fast and slow days can be compared."""
    began = time.process_time()
    total = 0
    for number in range(5_000_000):
        total += number * number
    return time.process_time() - began


if __name__ == "__main__":
    main()
