"""Settings, application, server: one process that serves until it is told to stop."""

import logging
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
    try:
        uvloop.run(serve(cast("ASGIFramework", build(settings)), _config(settings)))
    except LifespanFailureError:
        # The application has logged why.
        sys.exit(1)
    except OSError as error:
        sys.exit(f"session-service: cannot listen on {settings.host}:{settings.port}: {error.strerror}")


def _config(settings: Settings) -> Config:
    config = Config()
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    config.bind = [f"{host}:{settings.port}"]
    config.errorlog = logging.getLogger("hypercorn.error")
    config.include_server_header = False
    # The default of 100 refuses connections in the rush at the start of an exam.
    config.backlog = 1024
    # Longer than any request takes: one that is cut off gets a reply outside the contract.
    config.graceful_timeout = 8
    return config


if __name__ == "__main__":
    main()
