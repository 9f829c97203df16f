"""What bin/serve runs: the servers that the environment does not name, the migrations, then the service."""

import asyncio
import os
import sys
from contextlib import ExitStack

import psycopg

from session_service import keeper, migrations
from session_service.__main__ import arguments, run
from session_service.embedded import EmbeddedError
from session_service.migrations import MigrationError
from session_service.settings import SettingError, Settings


def main() -> None:
    """Serve, with private servers for what is not set; they end with this process."""
    options = arguments()
    with ExitStack() as stack:
        try:
            env = dict(os.environ)
            if not (env.get("DATABASE_URL") and env.get("REDIS_URL")):
                private = stack.enter_context(keeper.servers(keeper.default_base()))
                env = {name: value for name, value in env.items() if value}
                env = private | env
                # Where workers read them.
                os.environ.update(env)
            settings = Settings.read(env)
            asyncio.run(migrations.migrate(settings.database_url))
        except (SettingError, EmbeddedError, MigrationError, psycopg.OperationalError) as error:
            sys.exit(f"session-service: {error}")
        run(settings, options)


if __name__ == "__main__":
    main()
