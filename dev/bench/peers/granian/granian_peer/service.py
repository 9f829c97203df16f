"""The service's application, built in the worker's process with the settings of the environment."""

import logging

from starlette.types import ASGIApp

from session_service.app import build
from session_service.server.logging import NonBlockingStdout
from session_service.settings import Settings


def app() -> ASGIApp:
    """Return the application."""
    log = NonBlockingStdout()
    log.start()
    logging.basicConfig(stream=log, level=logging.INFO, format="%(message)s")
    return build(Settings.read(), log.add, processes=0)
