"""Reads and validates the settings of the service from environment variables."""

import logging
import os
import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path

from attrs import frozen

from session_service import store_urls
from session_service.store_urls import UrlError

# Scopes with fixed names (docs/access.md).
LESSER_SCOPES = ("sessions:read", "sessions:proctor", "sessions:erase")

# Signature algorithms with public keys only: with a shared secret (HS256) the service could issue tokens.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")

LOG_FORMATS = ("text", "json")

# Any scheme, for the pages in mobile apps: capacitor://localhost, ionic://localhost.
_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://([A-Za-z0-9._-]+|\[[0-9a-f:]+\])(:(?P<port>[1-9][0-9]{0,4}))?"
)
_ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")


class SettingError(Exception):
    """A missing or invalid setting; the text starts with its name and repeats no value."""


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
            issuer=_text(env, "JWT_ISSUER"),
            audience=_text(env, "JWT_AUDIENCE"),
            algorithms=_some(env, "JWT_ALGORITHMS", "RS256,ES256,EdDSA", ALGORITHMS),
            service_scope=_scope(env, "JWT_SERVICE_SCOPE"),
        )


@frozen
class Settings:
    """The settings of the service; docs/settings.md describes each environment variable."""

    database_url: str
    erase_database_url: str | None
    redis_url: str
    host: str
    port: int
    session_timeout_seconds: int
    grace_seconds: int
    cache_seconds: int
    events_days: int
    retention_days: int
    database_pool_size: int
    batch_size: int
    server: str
    root_path: str
    keep_alive_seconds: int
    tokens: TokenSettings | None
    learner_starts: bool
    digest_key: str | None
    rate_limit: int
    service_rate_limit: int
    cors_origins: frozenset[str]
    monitor_origins: frozenset[str]
    log_level: int
    log_format: str
    log_requests: str
    admin_host: str
    admin_port: int

    @property
    def erases_without_tokens(self) -> bool:
        """Whether a request without a token may erase sessions: on loopback only, also if others may read."""
        return self.erase_database_url is not None and self.tokens is None and _is_loopback(self.host)

    @classmethod
    def read(cls, env: Mapping[str, str] = os.environ) -> "Settings":
        """Read all settings; raise SettingError for the first one that is missing or invalid."""
        host = _host(env, "HOST", "127.0.0.1")
        return cls(
            database_url=database_url(env),
            erase_database_url=erase_database_url(env),
            redis_url=redis_url(env),
            host=host,
            port=_whole(env, "PORT", 3005, 1, 65535),
            session_timeout_seconds=_whole(env, "SESSION_TIMEOUT_SECONDS", 1800, 0, 31_536_000),
            grace_seconds=_whole(env, "GRACE_SECONDS", 0, 0, 3600),
            cache_seconds=cache_seconds(env),
            events_days=_whole(env, "EVENTS_DAYS", 30, 1, 3650),
            retention_days=_retention_days(env),
            database_pool_size=_whole(env, "DATABASE_POOL_SIZE", 10, 1, 100),
            batch_size=_whole(env, "BATCH_SIZE", 64, 1, 256),
            server=_choice(env, "SERVER", ("hypercorn", "uvicorn")),
            root_path=_root_path(env, "ROOT_PATH"),
            keep_alive_seconds=_whole(env, "KEEP_ALIVE_SECONDS", 75, 1, 3600),
            tokens=_tokens(env, host),
            learner_starts=_choice(env, "LEARNER_STARTS", ("yes", "no")) == "yes",
            digest_key=_secret(env, "DIGEST_KEY", 32),
            rate_limit=_whole(env, "RATE_LIMIT", 0, 0, 1_000_000),
            service_rate_limit=_whole(env, "SERVICE_RATE_LIMIT", 0, 0, 1_000_000),
            cors_origins=_origins(env, "CORS_ORIGINS"),
            monitor_origins=_origins(env, "MONITOR_ORIGINS"),
            log_level=log_level(env),
            log_format=_choice(env, "LOG_FORMAT", LOG_FORMATS),
            log_requests=_choice(env, "LOG_REQUESTS", ("all", "errors", "none")),
            admin_host=_host(env, "ADMIN_HOST", "127.0.0.1"),
            admin_port=_whole(env, "ADMIN_PORT", 0, 0, 65535),
        )


def database_url(env: Mapping[str, str] = os.environ) -> str:
    """Read the URL of the database for the service."""
    return _postgresql_url(env, "DATABASE_URL")


def migration_database_url(env: Mapping[str, str] = os.environ) -> str:
    """Read the URL of the database for migrations, whose user owns the tables."""
    name = "MIGRATION_DATABASE_URL" if _get(env, "MIGRATION_DATABASE_URL") else "DATABASE_URL"
    return _postgresql_url(env, name)


def erase_database_url(env: Mapping[str, str] = os.environ) -> str | None:
    """Read the URL of the database for erasing, whose role may delete sessions; None if erasing is off."""
    if not _get(env, "ERASE_DATABASE_URL"):
        return None
    url = _postgresql_url(env, "ERASE_DATABASE_URL")
    if store_urls.user_of(url) == store_urls.user_of(database_url(env)):
        raise SettingError("ERASE_DATABASE_URL must have another user than DATABASE_URL")
    return url


def redis_url(env: Mapping[str, str] = os.environ) -> str:
    """Read the URL of Redis."""
    return _url(env, "REDIS_URL", ("redis://", "rediss://", "unix://"), store_urls.check_redis)


def cache_seconds(env: Mapping[str, str] = os.environ) -> int:
    """Read the maximum age of a cache entry, in seconds."""
    return _whole(env, "CACHE_SECONDS", 30, 1, 3600)


def cache_settings(env: Mapping[str, str] = os.environ) -> tuple[str, int] | None:
    """Read the URL of Redis and the maximum age of a cache entry, in seconds; None without REDIS_URL."""
    return (redis_url(env), cache_seconds(env)) if _get(env, "REDIS_URL") else None


def _retention_days(env: Mapping[str, str]) -> int:
    days = _whole(env, "RETENTION_DAYS", 0, 0, 36_500)
    if days and not _get(env, "ERASE_DATABASE_URL"):
        raise SettingError("RETENTION_DAYS needs ERASE_DATABASE_URL, whose role may delete sessions")
    return days


def log_level(env: Mapping[str, str] = os.environ) -> int:
    """Read the level of the log."""
    level = _choice(env, "LOG_LEVEL", ("info", "debug", "warning", "error"))
    return logging.getLevelNamesMapping()[level.upper()]


def webhooks_file(env: Mapping[str, str] = os.environ) -> Path:
    """Read the path of the file that lists the endpoints of webhooks."""
    value = _get(env, "WEBHOOKS_FILE")
    if not value.startswith("/") or "\0" in value:
        raise SettingError("WEBHOOKS_FILE must be set to the absolute path of a file")
    return Path(value)


def _get(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, "")
    if not store_urls.is_text(value):
        raise SettingError(f"{name} has a byte that is no UTF-8")
    return value


def _tokens(env: Mapping[str, str], host: str) -> TokenSettings | None:
    if _choice(env, "AUTH", ("none", "jwt")) == "jwt":
        return TokenSettings.read(env)
    # Like Redis's protected mode: without authentication, listen on loopback only.
    allowed = _choice(env, "ALLOW_UNAUTHENTICATED", ("no", "yes")) == "yes"
    if not allowed and not _is_loopback(host):
        raise SettingError(
            "HOST must be a loopback address while AUTH is none: anyone who reaches the service can read and "
            "write every session. Set AUTH=jwt, or ALLOW_UNAUTHENTICATED=yes if callers are checked before it"
        )
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _postgresql_url(env: Mapping[str, str], name: str) -> str:
    # libpq takes options that the URL lacks from its PG* variables.
    if variable := store_urls.find_wrong_variable():
        raise SettingError(f"{variable} has a value that libpq cannot use")
    return _url(env, name, ("postgresql://", "postgres://"), store_urls.check_postgresql)


def _url(env: Mapping[str, str], name: str, schemes: tuple[str, ...], check: Callable[[str], None]) -> str:
    value = _get(env, name)
    if not value.startswith(schemes):
        raise SettingError(f"{name} must be set to a URL that starts with {' or '.join(schemes)}")
    try:
        check(value)
    except UrlError as error:
        raise SettingError(f"{name} {error}") from None
    return value


def _host(env: Mapping[str, str], name: str, default: str) -> str:
    value = _get(env, name) or default
    if not re.fullmatch("[!-~]{1,253}", value):
        raise SettingError(f"{name} must be an IP address or a host name")
    return value


def _whole(env: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = _get(env, name) or str(default)
    # int() raises ValueError for more than 4300 digits.
    if not (re.fullmatch("[0-9]{1,20}", text) and low <= int(text) <= high):
        raise SettingError(f"{name} must be a whole number from {low} to {high}")
    return int(text)


def _choice(env: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = _get(env, name) or choices[0]
    if value not in choices:
        raise SettingError(f"{name} must be {' or '.join(choices)}")
    return value


def _secret(env: Mapping[str, str], name: str, shortest: int) -> str | None:
    value = _get(env, name) or None
    if value is not None and len(value) < shortest:
        raise SettingError(f"{name} must have at least {shortest} characters")
    return value


def _root_path(env: Mapping[str, str], name: str) -> str:
    value = _get(env, name).rstrip("/")
    if not _ROOT_PATH.fullmatch(value) or not {".", ".."}.isdisjoint(value.split("/")):
        raise SettingError(f"{name} must be a path prefix like /quiz, of letters, digits and . _ ~ -")
    return value


def _text(env: Mapping[str, str], name: str) -> str:
    value = _get(env, name)
    if not value:
        raise SettingError(f"{name} must be set while AUTH is jwt")
    return value


def _scope(env: Mapping[str, str], name: str) -> str:
    value = _get(env, name) or "sessions:any"
    # Otherwise each token with the lesser scope would reach all sessions.
    if value in LESSER_SCOPES or not re.fullmatch("[!-~]+", value):
        raise SettingError(f"{name} must be one scope, and none of {', '.join(LESSER_SCOPES)}")
    return value


def _keys(env: Mapping[str, str], name: str) -> str:
    value = _text(env, name)
    # Over plain HTTP an attacker could substitute the keys.
    if not value.startswith(("https://", "/")):
        raise SettingError(f"{name} must be an https:// URL or the absolute path of a file")
    return value


def _some(env: Mapping[str, str], name: str, default: str, choices: tuple[str, ...]) -> tuple[str, ...]:
    values = tuple(value.strip() for value in (_get(env, name) or default).split(","))
    if not set(values) <= set(choices):
        raise SettingError(f"{name} must be some of {', '.join(choices)}, with commas between them")
    return values


def _origins(env: Mapping[str, str], name: str) -> frozenset[str]:
    values = frozenset(value.strip() for value in _get(env, name).split(",") if value.strip())
    if not all(map(_is_origin, values)):
        raise SettingError(
            f"{name} must be origins like https://quiz.example or capacitor://localhost, "
            "with commas between them, without a path and without the default port"
        )
    return values


def _is_origin(text: str) -> bool:
    """Return whether a browser could send this origin: it omits the default port of its scheme."""
    found = _ORIGIN.fullmatch(text)
    if found is None or int(found["port"] or 1) > 65535:
        return False
    return (found["scheme"], found["port"]) not in {("http", "80"), ("https", "443")}
