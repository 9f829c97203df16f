"""The service on granian: one worker, with the settings of the environment."""

import logging
import os

from granian.constants import HTTPModes, Interfaces, Loops
from granian.server import Server
from starlette.types import ASGIApp


def app() -> ASGIApp:
    """Return the service's application, in the worker's process."""
    # Here, so that the bare application is served without it.
    from session_service.app import build  # noqa: PLC0415
    from session_service.server.logging import NonBlockingStdout  # noqa: PLC0415
    from session_service.settings import Settings  # noqa: PLC0415

    log = NonBlockingStdout()
    log.start()
    logging.basicConfig(stream=log, level=logging.INFO, format="%(message)s")
    return build(Settings.read(), log.add)


def serve(target: str, port: int, *, factory: bool) -> None:
    """Serve an application until SIGTERM."""
    server = Server(
        target,
        port=port,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        workers=1,
        backlog=1024,
        log_access=False,
        factory=factory,
    )
    server.serve()


if __name__ == "__main__":
    serve("bench.granian_app:app", int(os.environ["PORT"]), factory=True)
