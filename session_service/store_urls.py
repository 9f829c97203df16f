"""Validates the URLs of PostgreSQL and Redis without connecting; errors name the option, never a value."""

import os
import re
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import psycopg
from attrs import frozen
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo, PGconn

_NOWHERE = "/nowhere"  # a directory without a socket: a connection attempt fails without network access
_ENCODE = "percent-encode what is no letter or digit in its user and its password"
_ANY = ".*"
_FILE = "a file that can be read"
_YES_OR_NO = "true|false|yes|no|1|0"

# Allowed options of a Redis URL, each with a regular expression for its value. Other options of redis-py
# would change timeouts, retries or decoding.
_REDIS_OPTIONS = {
    "db": "[0-9]{1,9}",
    "username": _ANY,
    "password": _ANY,
    "client_name": "[!-~]+",
    "health_check_interval": "[0-9]{1,9}",
}
_REDIS_TLS_OPTIONS = {
    "ssl_cert_reqs": "none|optional|required",
    "ssl_check_hostname": _YES_OR_NO,
    "ssl_ca_certs": _FILE,
    "ssl_certfile": _FILE,
    "ssl_keyfile": _FILE,
    "ssl_password": _ANY,
}
_SENTINEL_OPTIONS = ("sentinel_username=", "sentinel_password=")
# Variables that libpq sends to the server, which are no default of an option.
_SERVER_VARIABLES = ("PGDATESTYLE", "PGTZ", "PGGEQO")
_VERIFIED = ("verify-ca", "verify-full")


class UrlError(ValueError):
    """An invalid URL; the text continues a sentence that starts with the name of the setting."""


def check_postgresql(url: str) -> None:
    """Raise UrlError if libpq or psycopg would reject the URL for every server."""
    _check_characters(url)
    try:
        given = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    except psycopg.ProgrammingError:
        raise UrlError(_why_unreadable(url)) from None
    _check_hosts(given.pop("host", "").split(","))
    _check_addresses(given.pop("hostaddr", ""))
    if not all(_is_port(port) for port in given.pop("port", "").split(",")):
        raise UrlError(f"has no valid port: {_ENCODE}")
    if not _is_accepted(**given):
        for name, value in given.items():
            if not _is_accepted(**{name: value}):
                raise UrlError(f'has a wrong value for the option "{name}"')
        raise UrlError("has options that libpq does not take together")
    for name in given.keys() & {"sslrootcert", "sslcert", "sslkey", "sslcrl"}:
        if given[name] != "system":
            _check_file(name, given[name])


def check_redis(url: str) -> None:
    """Raise UrlError if redis-py would reject the URL, or silently ignore or reinterpret a part of it."""
    _check_characters(url)
    sentinels = split_sentinels(url)
    _check_server(sentinels.url if sentinels else url)


def _check_server(url: str) -> None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UrlError(f"has no valid host and port: {_ENCODE}") from None
    options = _REDIS_OPTIONS | (_REDIS_TLS_OPTIONS if parts.scheme == "rediss" else {})
    if parts.scheme == "unix":
        _check_socket(parts.hostname, unquote(parts.path))
    else:
        _check_hosts([parts.hostname or ""])
        if port == 0 or not re.fullmatch("/?|/[0-9]{1,9}", parts.path):
            raise UrlError("must have a port from 1 to 65535 and a number as its database")
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in options:
            raise UrlError(_unknown(name, url))
        if options[name] == _FILE:
            _check_file(name, value)
        elif not re.fullmatch(options[name], value, re.IGNORECASE | re.DOTALL):
            raise UrlError(f'has a wrong value for the option "{name}"')


@frozen
class SentinelUrl:
    """The parts of a URL of Redis Sentinels.

    `sentinels` are their addresses, `name` is that of the primary, `url` the URL of one with another host and
    port. The credentials are those of the Sentinels.
    """

    sentinels: tuple[tuple[str, int], ...]
    name: str
    url: str
    credentials: dict[str, str]


def split_sentinels(url: str) -> SentinelUrl | None:
    """Return the parts of a URL of Redis Sentinels, or None; raise UrlError if it is invalid."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise UrlError(f"has no valid host and port: {_ENCODE}") from None
    if not parts.scheme.endswith("+sentinel"):
        return None
    user, at, hosts = parts.netloc.rpartition("@")
    name, _, database = parts.path.removeprefix("/").partition("/")
    if not re.fullmatch("[A-Za-z0-9._-]+", name):
        raise UrlError("must have the name of the primary after its hosts, as in redis+sentinel://a,b,c/name")
    pairs = parts.query.split("&")
    own = dict(parse_qsl("&".join(pair for pair in pairs if pair.startswith(_SENTINEL_OPTIONS))))
    options = "&".join(pair for pair in pairs if pair and not pair.startswith(_SENTINEL_OPTIONS))
    primary = f"{parts.scheme.removesuffix('+sentinel')}://{user}{at}{hosts.partition(',')[0]}/{database}"
    return SentinelUrl(
        tuple(map(_address, hosts.split(","))),
        name,
        f"{primary}?{options}" if options else primary,
        {option.removeprefix("sentinel_"): value for option, value in own.items()},
    )


def _address(text: str) -> tuple[str, int]:
    """Return the host and the port of a Sentinel."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, 0
    if not host or not _is_host(host) or port == 0:
        raise UrlError(f"has no valid host and port: {_ENCODE}")
    return host, port or 26379


def is_text(value: str) -> bool:
    """Return whether a value of os.environ is UTF-8: other bytes are represented as surrogates."""
    return re.search("[\ud800-\udfff]", value) is None


def find_wrong_variable() -> str | None:
    """Return the name of a PG* environment variable with a value that libpq cannot use, or None."""
    for variable in (*_libpq_variables(), *_SERVER_VARIABLES):
        if not is_text(os.environ.get(variable, "")):
            return variable
    for variable, is_valid in (("PGHOST", _is_host), ("PGHOSTADDR", _is_address)):
        if not all(map(is_valid, os.environ.get(variable, "").split(","))):
            return variable
    if _is_accepted():
        return None
    given = {name: os.environ.pop(name) for name in _libpq_variables() if name in os.environ}
    try:
        return next((name for name in given if not _is_accepted_with(name, given[name])), None)
    finally:
        os.environ.update(given)


def user_of(url: str) -> str:
    """Return the user of a PostgreSQL URL that `check_postgresql` accepts; "" if libpq chooses it."""
    return str(conninfo_to_dict(url).get("user") or "")


def insecure_transports(database_url: str, redis_url: str) -> list[str]:
    """Return warnings for unencrypted or unauthenticated connections to stores, without any part of a URL."""
    return _insecure_postgresql(database_url) + _insecure_redis(redis_url)


def _libpq_variables() -> list[str]:
    return [option.envvar.decode() for option in Conninfo.get_defaults() if option.envvar]


def _check_characters(url: str) -> None:
    if re.search(r"[\0-\x1f\x7f]", url) or not is_text(url):
        raise UrlError("has a control character, or a byte that is no UTF-8")
    try:
        unquote(url, errors="strict")
    except UnicodeDecodeError:
        raise UrlError("has an escape (%) of a byte that is no UTF-8: percent-encode it as UTF-8") from None


def _why_unreadable(url: str) -> str:
    known = {option.keyword.decode() for option in Conninfo.get_defaults()} | {"ssl"}
    for name, _ in parse_qsl(url.partition("?")[2], keep_blank_values=True):
        if name not in known:
            return _unknown(name, url)
    return f"must be a URL that libpq can read: {_ENCODE}"


def _unknown(name: str, url: str) -> str:
    # An unencoded `?` in a password starts the query too early: the name may then be a part of the password.
    if "@" in url.partition("?")[2] or not re.fullmatch("[A-Za-z0-9_.-]{1,64}", name):
        return f"has an unknown option: {_ENCODE}"
    return f'has the unknown option "{name}"'


def _check_hosts(hosts: list[str]) -> None:
    if not all(map(_is_host, hosts)):
        raise UrlError(f"has no valid host: {_ENCODE}")


def _is_host(text: str) -> bool:
    if text.startswith(("/", "@")):
        return True
    try:
        # Python's resolver uses this codec, which raises UnicodeError for an empty or overlong label.
        text.encode("idna")
    except UnicodeError:
        return False
    return re.fullmatch(r"[^\s@?#/\\]*", text) is not None


def _check_addresses(addresses: str) -> None:
    if not all(map(_is_address, addresses.split(","))):
        raise UrlError('has a wrong value for the option "hostaddr"')


def _is_address(text: str) -> bool:
    try:
        return not text or bool(ip_address(text))
    except ValueError:
        return False


def _is_port(text: str) -> bool:
    return not text or (re.fullmatch("[0-9]{1,5}", text) is not None and 1 <= int(text) <= 65535)


def _is_accepted(**options: str) -> bool:
    """Return whether libpq accepts these options.

    libpq itself decides, because the accepted values differ between versions. It checks them before it
    connects. The error message may be in any language, but it contains the socket directory only if libpq
    tried to connect.
    """
    conninfo = make_conninfo("", host=_NOWHERE, hostaddr="", **options)
    attempt = PGconn.connect_start(conninfo.encode())
    message = attempt.error_message
    attempt.finish()
    return _NOWHERE.encode() in message


def _is_accepted_with(variable: str, value: str) -> bool:
    """Return whether libpq accepts the variable in addition to those of the environment; add it to them."""
    os.environ[variable] = value
    return _is_accepted()


def _check_file(option: str, path: str) -> None:
    if not (Path(path).is_file() and os.access(path, os.R_OK)):
        raise UrlError(f'must have {_FILE} as its option "{option}"')


def _check_socket(host: str | None, path: str) -> None:
    """Raise UrlError unless the path is a socket or does not exist: Redis may start later."""
    if host or not path or (Path(path).exists() and not Path(path).is_socket()):
        raise UrlError("must have the absolute path of a socket, as in unix:///run/redis.sock")


def _insecure_postgresql(url: str) -> list[str]:
    given = conninfo_to_dict(url)
    hosts = str(given.get("hostaddr") or given.get("host") or "").split(",")
    mode = given.get("sslmode") or os.environ.get("PGSSLMODE")
    if mode in _VERIFIED or all(_is_local(host) for host in hosts):
        return []
    advice = "set sslmode=verify-full, and sslrootcert=system or the file of its authority"
    return [f"PostgreSQL is on another host, and its certificate is not verified: {advice}"]


def _insecure_redis(url: str) -> list[str]:
    sentinels = split_sentinels(url)
    parts = urlsplit(sentinels.url if sentinels else url)
    hosts = [host for host, _ in sentinels.sentinels] if sentinels else [parts.hostname or ""]
    if parts.scheme == "unix" or all(map(_is_local, hosts)):
        return []
    found = []
    if not (parts.password or "password" in dict(parse_qsl(parts.query))):
        found.append("Redis is on another host, and the service gives it no password")
    if parts.scheme != "rediss":
        found.append("Redis is on another host, and the connection is not encrypted: set rediss://")
    return found


def _is_local(host: str) -> bool:
    """Return whether the host is local: loopback, a socket path, or empty (the default of libpq)."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host in {"", "localhost"} or host.startswith(("/", "@"))
