"""The service's settings, read once from the environment."""

import os
from collections.abc import Mapping

from attrs import frozen


class SettingError(Exception):
    """A setting that is missing or wrong; the text names it."""


@frozen
class Settings:
    """What an operator can choose; README.md has the table."""

    database_url: str
    redis_url: str
    host: str
    port: int
    session_timeout_seconds: int
    cache_seconds: int
    database_pool_size: int
    batch_size: int
    server: str

    @classmethod
    def read(cls, env: Mapping[str, str] = os.environ) -> "Settings":
        """Read the settings; raise SettingError for the first that is missing or out of its range."""
        return cls(
            database_url=database_url(env),
            redis_url=_url(env, "REDIS_URL", ("redis://", "rediss://", "unix://")),
            host=env.get("HOST") or "127.0.0.1",
            port=_whole(env, "PORT", 3005, 1, 65535),
            session_timeout_seconds=_whole(env, "SESSION_TIMEOUT_SECONDS", 1800, 1, 2_592_000),
            cache_seconds=_whole(env, "CACHE_SECONDS", 30, 1, 3600),
            database_pool_size=_whole(env, "DATABASE_POOL_SIZE", 10, 1, 100),
            batch_size=_whole(env, "BATCH_SIZE", 64, 1, 256),
            server=_choice(env, "SERVER", ("hypercorn", "uvicorn")),
        )


def database_url(env: Mapping[str, str] = os.environ) -> str:
    """Read the one setting that a migration needs."""
    return _url(env, "DATABASE_URL", ("postgresql://", "postgres://"))


def _url(env: Mapping[str, str], name: str, schemes: tuple[str, ...]) -> str:
    value = env.get(name, "")
    if not value.startswith(schemes):
        raise SettingError(f"{name} has to be set to a URL that starts with {' or '.join(schemes)}")
    return value


def _whole(env: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = env.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
        raise SettingError(f"{name} has to be a whole number from {low} to {high}")
    return int(text)


def _choice(env: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = env.get(name) or choices[0]
    if value not in choices:
        raise SettingError(f"{name} has to be {' or '.join(choices)}")
    return value
