"""Reads and validates the settings of the service from environment variables."""

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from session_service import store_urls
from session_service.environment import (
    SettingError,
    is_loopback,
    read_choice,
    read_host,
    read_key,
    read_origins,
    read_postgresql_url,
    read_required,
    read_root_path,
    read_secret,
    read_some,
    read_text,
    read_url,
    read_whole,
)

# Scopes with fixed names (docs/access.md).
LESSER_SCOPES = ("sessions:read", "sessions:proctor", "sessions:erase")

# Signature algorithms with public keys only: with a shared secret (HS256) the service could issue tokens.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


@frozen
class TokenSettings:
    """Settings of token verification; `keys` is the path or the URL of the issuer's JWK Set (RFC 7517)."""

    keys: str
    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    service_scope: str

    @classmethod
    def read(cls, env: Mapping[str, str]) -> "TokenSettings":
        """Read the settings of AUTH=jwt."""
        return cls(
            keys=_keys(env, "JWT_KEYS"),
            issuer=read_required(env, "JWT_ISSUER"),
            audience=read_required(env, "JWT_AUDIENCE"),
            algorithms=read_some(env, "JWT_ALGORITHMS", "RS256,ES256,EdDSA", ALGORITHMS),
            service_scope=_scope(env, "JWT_SERVICE_SCOPE"),
        )


@frozen
class ErasingSettings:
    """The database for erasing, and the days after which it erases an ended session; 0: never."""

    database_url: str
    retention_days: int

    @classmethod
    def read(cls, env: Mapping[str, str]) -> "ErasingSettings | None":
        """Read the settings; None if erasing is off."""
        days = read_whole(env, "RETENTION_DAYS", 0, 0, 36_500)
        url = erase_database_url(env)
        if days and url is None:
            raise SettingError("RETENTION_DAYS needs ERASE_DATABASE_URL, whose role may delete sessions")
        return cls(url, days) if url else None


@frozen
class RateLimits:
    """Requests per minute of a learner, and of a service or a proctor; 0: no limit."""

    learner: int
    service: int

    @classmethod
    def read(cls, env: Mapping[str, str]) -> "RateLimits":
        """Read both limits."""
        return cls(*(read_whole(env, name, 0, 0, 1_000_000) for name in ("RATE_LIMIT", "SERVICE_RATE_LIMIT")))


@frozen
class LogSettings:
    """The level and the form of the log, and the requests in it."""

    level: int
    is_json: bool
    requests: str

    @classmethod
    def read(cls, env: Mapping[str, str] = os.environ) -> "LogSettings":
        """Read the settings of the log."""
        level = read_choice(env, "LOG_LEVEL", ("info", "debug", "warning", "error"))
        return cls(
            logging.getLevelNamesMapping()[level.upper()],
            read_choice(env, "LOG_FORMAT", ("text", "json")) == "json",
            read_choice(env, "LOG_REQUESTS", ("all", "errors", "none")),
        )


@frozen
class AdminSettings:
    """The address of the page with the metrics."""

    host: str
    port: int

    @classmethod
    def read(cls, env: Mapping[str, str]) -> "AdminSettings | None":
        """Read the address; None if the page is off."""
        host = read_host(env, "ADMIN_HOST", "127.0.0.1")
        port = read_whole(env, "ADMIN_PORT", 0, 0, 65535)
        return cls(host, port) if port else None


@frozen
class Settings:
    """The settings of the service; docs/settings.md describes each environment variable."""

    database_url: str
    erasing: ErasingSettings | None
    redis_url: str
    host: str
    port: int
    session_timeout_seconds: int
    grace_seconds: int
    cache_seconds: int
    events_days: int
    database_pool_size: int
    batch_size: int
    server: str
    root_path: str
    keep_alive_seconds: int
    tokens: TokenSettings | None
    learner_starts: bool
    digest_key: str | None
    rate_limits: RateLimits
    cors_origins: frozenset[str]
    monitor_origins: frozenset[str]
    log: LogSettings
    traces: bool
    admin: AdminSettings | None
    revision: str | None

    @property
    def erases_without_tokens(self) -> bool:
        """Whether a request without a token may erase sessions: on loopback only, also if others may read."""
        return self.erasing is not None and self.tokens is None and is_loopback(self.host)

    @classmethod
    def read(cls, env: Mapping[str, str] = os.environ) -> "Settings":
        """Read all settings; raise SettingError for the first one that is missing or invalid."""
        host = read_host(env, "HOST", "127.0.0.1")
        return cls(
            database_url=database_url(env),
            erasing=ErasingSettings.read(env),
            redis_url=redis_url(env),
            host=host,
            port=read_whole(env, "PORT", 3005, 1, 65535),
            session_timeout_seconds=read_whole(env, "SESSION_TIMEOUT_SECONDS", 1800, 0, 31_536_000),
            grace_seconds=read_whole(env, "GRACE_SECONDS", 0, 0, 3600),
            cache_seconds=cache_seconds(env),
            events_days=read_whole(env, "EVENTS_DAYS", 30, 1, 3650),
            database_pool_size=read_whole(env, "DATABASE_POOL_SIZE", 10, 1, 100),
            batch_size=read_whole(env, "BATCH_SIZE", 64, 1, 256),
            server=read_choice(env, "SERVER", ("hypercorn", "uvicorn")),
            root_path=read_root_path(env, "ROOT_PATH"),
            keep_alive_seconds=read_whole(env, "KEEP_ALIVE_SECONDS", 75, 1, 3600),
            tokens=_tokens(env, host),
            learner_starts=read_choice(env, "LEARNER_STARTS", ("yes", "no")) == "yes",
            digest_key=read_key(env, "DIGEST_KEY", 32),
            rate_limits=RateLimits.read(env),
            cors_origins=read_origins(env, "CORS_ORIGINS"),
            monitor_origins=read_origins(env, "MONITOR_ORIGINS"),
            log=LogSettings.read(env),
            traces=read_choice(env, "TRACES", ("no", "yes")) == "yes",
            admin=AdminSettings.read(env),
            revision=_revision(env, "REVISION"),
        )


def database_url(env: Mapping[str, str] = os.environ) -> str:
    """Read the URL of the database for the service."""
    return read_postgresql_url(env, "DATABASE_URL")


def migration_database_url(env: Mapping[str, str] = os.environ) -> str:
    """Read the URL of the database for migrations, whose user owns the tables."""
    name = "MIGRATION_DATABASE_URL" if read_secret(env, "MIGRATION_DATABASE_URL") else "DATABASE_URL"
    return read_postgresql_url(env, name)


def erase_database_url(env: Mapping[str, str] = os.environ) -> str | None:
    """Read the URL of the database for erasing, whose role may delete sessions; None if erasing is off."""
    if not read_secret(env, "ERASE_DATABASE_URL"):
        return None
    url = read_postgresql_url(env, "ERASE_DATABASE_URL")
    if store_urls.user_of(url) == store_urls.user_of(database_url(env)):
        raise SettingError("ERASE_DATABASE_URL must have another user than DATABASE_URL")
    return url


def redis_url(env: Mapping[str, str] = os.environ) -> str:
    """Read the URL of Redis."""
    return read_url(env, "REDIS_URL", ("redis://", "rediss://", "unix://"), store_urls.check_redis)


def cache_seconds(env: Mapping[str, str] = os.environ) -> int:
    """Read the maximum age of a cache entry, in seconds."""
    return read_whole(env, "CACHE_SECONDS", 30, 1, 3600)


def cache_settings(env: Mapping[str, str] = os.environ) -> tuple[str, int] | None:
    """Read the URL of Redis and the maximum age of a cache entry, in seconds; None without REDIS_URL."""
    return (redis_url(env), cache_seconds(env)) if read_secret(env, "REDIS_URL") else None


def webhooks_file(env: Mapping[str, str] = os.environ) -> Path:
    """Read the path of the file that lists the endpoints of webhooks."""
    value = read_text(env, "WEBHOOKS_FILE")
    if not value.startswith("/") or "\0" in value:
        raise SettingError("WEBHOOKS_FILE must be set to the absolute path of a file")
    return Path(value)


def _tokens(env: Mapping[str, str], host: str) -> TokenSettings | None:
    if read_choice(env, "AUTH", ("none", "jwt")) == "jwt":
        return TokenSettings.read(env)
    # Like Redis's protected mode: without authentication, listen on loopback only.
    allowed = read_choice(env, "ALLOW_UNAUTHENTICATED", ("no", "yes")) == "yes"
    if not allowed and not is_loopback(host):
        raise SettingError(
            "HOST must be a loopback address while AUTH is none: anyone who reaches the service can read and "
            "write every session. Set AUTH=jwt, or ALLOW_UNAUTHENTICATED=yes if callers are checked before it"
        )
    return None


def _scope(env: Mapping[str, str], name: str) -> str:
    value = read_text(env, name) or "sessions:any"
    # Otherwise each token with the lesser scope would reach all sessions.
    if value in LESSER_SCOPES or not re.fullmatch("[!-~]+", value):
        raise SettingError(f"{name} must be one scope, and none of {', '.join(LESSER_SCOPES)}")
    return value


def _revision(env: Mapping[str, str], name: str) -> str | None:
    value = read_text(env, name) or None
    if value is not None and not re.fullmatch("[!-~]{1,64}", value):
        raise SettingError(f"{name} must be up to 64 characters of ASCII without spaces")
    return value


def _keys(env: Mapping[str, str], name: str) -> str:
    value = read_required(env, name)
    # Over plain HTTP an attacker could substitute the keys.
    if not value.startswith(("https://", "/")):
        raise SettingError(f"{name} must be an https:// URL or the absolute path of a file")
    return value
