"""Settings, application, server: one process that serves until it is told to stop."""

import logging
import socket
import sys
from typing import cast

import uvloop
from hypercorn.asyncio import serve
from hypercorn.config import Config
from hypercorn.typing import ASGIFramework
from hypercorn.utils import LifespanFailureError

from session_service.app import build
from session_service.settings import SettingError, Settings


def main() -> None:
    """Serve with the settings of the environment."""
    try:
        run(Settings.read())
    except SettingError as error:
        sys.exit(f"session-service: {error}")


def run(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM, then end what is under way; exit with 1 if the start fails."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    app = build(settings)
    try:
        uvloop.run(serve(cast("ASGIFramework", app), _config(_listen(settings))))
    except LifespanFailureError:
        # The application has logged why.
        sys.exit(1)


def _listen(settings: Settings) -> socket.socket:
    """Return a socket that is bound, but does not take connections before the service is ready."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        sys.exit(f"session-service: cannot listen on {settings.host}:{settings.port}: {error.strerror}")
    return listener


def _config(listener: socket.socket) -> Config:
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.errorlog = logging.getLogger("hypercorn.error")
    config.include_server_header = False
    # The default of 100 refuses connections in the rush at the start of an exam.
    config.backlog = 1024
    # Longer than any request takes: one that is cut off gets a reply outside the contract.
    config.graceful_timeout = 8
    return config


if __name__ == "__main__":
    main()
