"""bin/serve: starts private servers for the stores without a setting, migrates, then serves."""

import asyncio
import os
import sys
from contextlib import ExitStack

from dev import reaper
from dev.servers import EmbeddedError
from session_service.__main__ import arguments, run
from session_service.environment import SettingError
from session_service.settings import Settings
from session_service.storage import migrations
from session_service.storage.migrations import MigrationError


def main() -> None:
    """Serve, with private servers for the stores that are not set; they end with this process."""
    options = arguments()
    with ExitStack() as stack:
        try:
            if not (_is_set("DATABASE_URL") and _is_set("REDIS_URL")):
                # In the environment, where workers read them, too.
                os.environ.update(_missing(stack.enter_context(reaper.servers(reaper.default_base()))))
            settings = Settings.read()
            asyncio.run(migrations.run())
            # The service and its workers must not have the owner's rights.
            for name in ("MIGRATION_DATABASE_URL", "MIGRATION_DATABASE_URL_FILE"):
                os.environ.pop(name, None)
        except (SettingError, EmbeddedError, MigrationError) as error:
            sys.exit(f"session-service: {error}")
        run(settings, options)


def _missing(private: dict[str, str]) -> dict[str, str]:
    """Return the private servers' settings for the stores that the environment does not set."""
    pairs = [("DATABASE_URL", "MIGRATION_DATABASE_URL", "ERASE_DATABASE_URL"), ("REDIS_URL",)]
    return {name: private[name] for pair in pairs if not _is_set(pair[0]) for name in pair}


def _is_set(name: str) -> bool:
    return bool(os.environ.get(name) or os.environ.get(f"{name}_FILE"))


if __name__ == "__main__":
    main()
