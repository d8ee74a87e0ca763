"""`python -m tests.clickhouse_server --path DIR --port N`: serve until SIGTERM, or until standard input closes."""

import argparse
import os
import socket
import sys
import threading

import uvicorn

from tests.clickhouse_server.app import application
from tests.clickhouse_server.engine import Engine


def main() -> None:
    """Open the engine, say on which port it listens, serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.clickhouse_server", description=__doc__)
    parser.add_argument("--path", required=True, help="the engine's folder")
    parser.add_argument("--port", type=int, required=True, help="on loopback; 0 for a free one")
    parser.add_argument("--with-parent", action="store_true", help="exit when standard input closes")
    arguments = parser.parse_args()
    if arguments.with_parent:
        threading.Thread(target=_exit_with_input, daemon=True).start()
    listener = socket.create_server(("127.0.0.1", arguments.port))
    engine = Engine(arguments.path)
    sys.stdout.write(f"listening on http://127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    # the statements run in starlette's threads: the engine is never called from here, where signals arrive
    config = uvicorn.Config(application(engine), log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


def _exit_with_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
