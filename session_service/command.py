"""The command `session-service` of the installed package: serves, or runs a command for operators."""

import sys
from importlib import import_module

# Imported when they run: each of them takes a part of a second to load.
COMMANDS = {
    "serve": "session_service.__main__",
    "migrate": "session_service.storage.migrations",
    "fence": "session_service.storage.fence_command",
    "erase": "session_service.storage.erase_command",
    "export": "session_service.export",
    "webhooks": "session_service.webhooks.__main__",
}


def main() -> None:
    """Run the command that the first argument names with the arguments after it; serve if it names none."""
    name = sys.argv.pop(1) if len(sys.argv) > 1 and sys.argv[1] in COMMANDS else "serve"
    import_module(COMMANDS[name]).main()
