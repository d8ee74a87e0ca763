"""What the server takes for logs from agents until they are stored and merged, and how large they are then."""

import subprocess
import sys
import tempfile
from pathlib import Path

from bench.loading import make_frames, send
from bench.processes import serving, until_quiet
from bench.results import Options, Result

_SHAPES = (
    ("many lines a batch, as when catching up", 256 * 1024),
    ("few lines a batch, as when 200 containers write", 10 * 1024),
)
_SPAN_SECONDS = 1800.0


def measure(options: Options) -> list[Result]:
    """Feed a server with ready-made frames, one client, as fast as it takes them."""
    lines = 2_000_000 if options.full else 600_000
    results: list[Result] = []
    sizes: list[Result] = []
    for number, (shape, batch_bytes) in enumerate(_SHAPES):
        with tempfile.TemporaryDirectory(prefix="kobs-bench-") as name:
            folder = Path(name)
            # Written down before the server starts: making lines takes as much CPU as storing them.
            made = list(make_frames(lines=lines, batch_bytes=batch_bytes, span_seconds=_SPAN_SECONDS, seed=3 + number))
            count = sum(each.lines for each in made)
            with serving(folder) as server:
                before = until_quiet(server)
                for each in made:
                    send(server, each)
                used = until_quiet(server) - before
                resident = server.resident_mib()
            if not sizes:
                size = merged_bytes(folder / "data" / "store")
                content = sum(each.log_bytes for each in made) / count - 41
                sizes.append(
                    Result(
                        name="server",
                        work="storage, bytes a line",
                        measured=size / count,
                        unit="bytes",
                        budget=55,
                        data=f"{count:,} lines of {content:.0f} bytes, all columns and indexes, merged",
                    )
                )
        data = f"{count:,} lines, {shape}, merges included"
        results.append(
            Result(
                name="server",
                work="server, logs from agents",
                measured=count / used,
                unit="lines/s a core",
                budget=150_000,
                more_is_better=True,
                data=data,
            )
        )
        results.append(Result(name="server", work="server, resident memory", measured=resident, unit="MiB", data=data))
    return [*results, *sizes]


def merged_bytes(store: Path) -> int:
    """Return what the table of logs takes once it is merged. The engine runs in a process of its own."""
    found = subprocess.run(
        [sys.executable, "-m", "bench.merging", str(store)], check=True, capture_output=True, text=True
    )
    return int(found.stdout.split()[0])
