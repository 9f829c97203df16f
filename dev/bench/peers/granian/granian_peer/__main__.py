"""Starts Granian, one worker, on PORT: python -m granian_peer bare|service, the repository on PYTHONPATH."""

import os
import sys

from granian.constants import HTTPModes, Interfaces, Loops
from granian.server import Server


def main() -> None:
    """Serve the application until SIGTERM."""
    bare = sys.argv[1] == "bare"
    server = Server(
        "dev.bench.bare:app" if bare else "granian_peer.service:app",
        port=int(os.environ["PORT"]),
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        workers=1,
        backlog=1024,
        log_access=False,
        factory=not bare,
    )
    server.serve()


if __name__ == "__main__":
    main()
