"""The command line: `python -m session_service [--workers N]` serves until SIGINT or SIGTERM."""

import socket
import sys
from argparse import SUPPRESS, ArgumentParser, Namespace

from session_service.api import contract
from session_service.app import build
from session_service.environment import SettingError
from session_service.server.logging import NonBlockingStdout, exits_in_log_format, log_to_stdout
from session_service.server.serve import serve
from session_service.server.supervisor import supervise
from session_service.settings import Settings

_DESCRIPTION = "Serve on HOST:PORT until SIGINT or SIGTERM, with the settings of the environment."
_EPILOG = (
    "If the package is installed: session-service migrate, fence, erase, export or webhooks runs that "
    "command instead, and each has --help."
)


def main() -> None:
    """Serve with the settings of the environment."""
    with exits_in_log_format():
        options = arguments()
        try:
            settings = Settings.read()
        except SettingError as error:
            sys.exit(f"session-service: {error}")
        run(settings, options)


def arguments() -> Namespace:
    """Parse the command line."""
    parser = ArgumentParser("session-service", description=_DESCRIPTION, epilog=_EPILOG)
    count = "processes that share the port, 1 to 64; SIGHUP renews them without a gap"
    parser.add_argument("--workers", type=int, choices=range(1, 65), default=1, metavar="N", help=count)
    # Of a supervisor: the descriptors of the listening socket and of the metrics, and the number of processes
    # for which the worker checks the connections of PostgreSQL.
    parser.add_argument("--worker", type=int, nargs=3, help=SUPPRESS)
    parser.add_argument("--version", action="store_true", help="print the version, which /version shows, too")
    options = parser.parse_args()
    if options.version:
        sys.stdout.write(f"session-service {contract.version()}\n")
        sys.exit()
    return options


def run(settings: Settings, options: Namespace) -> None:
    """Serve until SIGINT or SIGTERM, then shut down gracefully; exit with 1 if the start fails."""
    log = log_to_stdout(level=settings.log.level, is_json=settings.log.is_json)
    log.start()
    try:
        _serve(settings, options, log)
    finally:
        log.stop()


def _serve(settings: Settings, options: Namespace, log: NonBlockingStdout) -> None:
    if options.worker is not None:
        listener, metrics, processes = options.worker
        app = build(settings, log.add, processes=processes)
        serve(settings, app, socket.socket(fileno=listener), metrics_fd=metrics)
    elif options.workers > 1:
        supervise(settings, _listen(settings), options.workers)
    else:
        # Build first, so that a broken configuration fails before the port is bound.
        app = build(settings, log.add, processes=1)
        serve(settings, app, _listen(settings))


def _listen(settings: Settings) -> socket.socket:
    """Return a socket that is bound, but does not take connections before the service is ready."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((settings.host, settings.port))
    except (OSError, UnicodeError) as error:
        # UnicodeError: the host name has an empty or overlong label.
        why = getattr(error, "strerror", None) or "no host name"
        sys.exit(f"session-service: cannot listen on HOST and PORT: {why}")
    return listener


if __name__ == "__main__":
    main()
