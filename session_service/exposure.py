"""What others could read or change on the way to the stores: said at the start, while somebody looks."""

import os
from ipaddress import ip_address
from urllib.parse import parse_qs, urlsplit

from psycopg.conninfo import conninfo_to_dict

_VERIFIED = ("verify-ca", "verify-full")


def find(database_url: str, redis_url: str) -> list[str]:
    """Return a sentence for each way to a store that is open to others; none repeats a URL."""
    return _find_postgresql(database_url) + _find_redis(redis_url)


def _find_postgresql(url: str) -> list[str]:
    given = conninfo_to_dict(url)
    hosts = str(given.get("hostaddr") or given.get("host") or "").split(",")
    mode = given.get("sslmode") or os.environ.get("PGSSLMODE")
    if mode in _VERIFIED or all(_is_here(host) for host in hosts):
        return []
    return [
        "PostgreSQL is on another host, and anybody on the way may answer for it: set sslmode=verify-full"
    ]


def _find_redis(url: str) -> list[str]:
    parts = urlsplit(url)
    if parts.scheme == "unix" or _is_here(parts.hostname or ""):
        return []
    found = []
    if not (parts.password or "password" in parse_qs(parts.query)):
        found.append("Redis is on another host, and the service gives it no password")
    if parts.scheme != "rediss":
        found.append("Redis is on another host, and anybody on the way may read along: set rediss://")
    return found


def _is_here(host: str) -> bool:
    """Whether the host is this machine: a loopback address, a socket's folder, or libpq's default."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host in {"", "localhost"} or host.startswith(("/", "@"))
