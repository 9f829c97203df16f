"""Starts Granian with one worker on PORT, from the root of the repository, whose applications it serves.

python -m dev.bench.peers.granian.granian_peer bare|service
"""

import os
import sys

from granian.constants import HTTPModes, Interfaces, Loops
from granian.server import Server


def main() -> None:
    """Serve the application until SIGTERM."""
    bare = sys.argv[1] == "bare"
    server = Server(
        "dev.bench.bare:app" if bare else f"{__package__}.service:app",
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
