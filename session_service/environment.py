"""Reads a value of one kind from an environment variable, and validates it."""

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path

from session_service import store_urls
from session_service.store_urls import UrlError

# Any scheme, for the pages in mobile apps: capacitor://localhost, ionic://localhost.
_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://([A-Za-z0-9._-]+|\[[0-9a-f:]+\])(:(?P<port>[1-9][0-9]{0,4}))?"
)
_ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")
MAX_SECRET_BYTES = 16 * 1024  # bytes of a file with a secret


class SettingError(Exception):
    """A missing or invalid setting; the text starts with its name and repeats no value."""


def read_text(env: Mapping[str, str], name: str) -> str:
    """Return the value, empty if the variable is not set."""
    value = env.get(name, "")
    if not store_urls.is_text(value):
        raise SettingError(f"{name} has a byte that is no UTF-8")
    return value


def read_secret(env: Mapping[str, str], name: str) -> str:
    """Return the value, or that of the file which NAME_FILE names; empty if neither variable is set."""
    value, path = read_text(env, name), read_text(env, f"{name}_FILE")
    if value and path:
        raise SettingError(f"{name} and {name}_FILE are both set: set one of them")
    return _read_file(f"{name}_FILE", path) if path else value


def is_loopback(host: str) -> bool:
    """Return whether a host is a loopback address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_postgresql_url(env: Mapping[str, str], name: str) -> str:
    """Return the URL of a PostgreSQL database."""
    # libpq takes options that the URL lacks from its PG* variables.
    if variable := store_urls.find_wrong_variable():
        raise SettingError(f"{variable} has a value that libpq cannot use")
    return read_url(env, name, ("postgresql://", "postgres://"), store_urls.check_postgresql)


def read_url(
    env: Mapping[str, str], name: str, schemes: tuple[str, ...], check: Callable[[str], None]
) -> str:
    """Return a URL with one of the schemes, which `check` accepts."""
    value = read_secret(env, name)
    if not value.startswith(schemes):
        raise SettingError(f"{name} must be set to a URL that starts with {' or '.join(schemes)}")
    try:
        check(value)
    except UrlError as error:
        raise SettingError(f"{name} {error}") from None
    return value


def read_host(env: Mapping[str, str], name: str, default: str) -> str:
    """Return an IP address or a host name."""
    value = read_text(env, name) or default
    if not re.fullmatch("[!-~]{1,253}", value):
        raise SettingError(f"{name} must be an IP address or a host name")
    return value


def read_whole(env: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    """Return a whole number from `low` to `high`."""
    text = read_text(env, name) or str(default)
    # int() raises ValueError for more than 4300 digits.
    if not (re.fullmatch("[0-9]{1,20}", text) and low <= int(text) <= high):
        raise SettingError(f"{name} must be a whole number from {low} to {high}")
    return int(text)


def read_choice(env: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    """Return one of the choices, the first one by default."""
    value = read_text(env, name) or choices[0]
    if value not in choices:
        raise SettingError(f"{name} must be {' or '.join(choices)}")
    return value


def read_key(env: Mapping[str, str], name: str, shortest: int) -> str | None:
    """Return a secret key of at least `shortest` characters; None if the variable is not set."""
    value = read_secret(env, name) or None
    if value is not None and len(value) < shortest:
        raise SettingError(f"{name} must have at least {shortest} characters")
    return value


def read_root_path(env: Mapping[str, str], name: str) -> str:
    """Return a path prefix without a slash at the end."""
    value = read_text(env, name).rstrip("/")
    if not _ROOT_PATH.fullmatch(value) or not {".", ".."}.isdisjoint(value.split("/")):
        raise SettingError(f"{name} must be a path prefix like /quiz, of letters, digits and . _ ~ -")
    return value


def read_required(env: Mapping[str, str], name: str) -> str:
    """Return a value that must be set while AUTH is jwt."""
    value = read_text(env, name)
    if not value:
        raise SettingError(f"{name} must be set while AUTH is jwt")
    return value


def read_some(env: Mapping[str, str], name: str, default: str, choices: tuple[str, ...]) -> tuple[str, ...]:
    """Return some of the choices, which commas separate."""
    values = tuple(value.strip() for value in (read_text(env, name) or default).split(","))
    if not set(values) <= set(choices):
        raise SettingError(f"{name} must be some of {', '.join(choices)}, with commas between them")
    return values


def read_origins(env: Mapping[str, str], name: str) -> frozenset[str]:
    """Return the origins of pages (RFC 6454), which commas separate."""
    values = frozenset(value.strip() for value in read_text(env, name).split(",") if value.strip())
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


def _read_file(name: str, path: str) -> str:
    """Return the text of a file without the line feeds at its end; raise SettingError if it has none."""
    # A pipe would block the start, and could be read only once.
    if not (path.startswith("/") and Path(path).is_file()):
        raise SettingError(f"{name} must be the absolute path of a file")
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
        text = content.decode().rstrip("\r\n")
    except OSError:
        raise SettingError(f"{name} has the path of a file that cannot be read") from None
    except UnicodeDecodeError:
        raise SettingError(f"{name} has the path of a file that is no UTF-8") from None
    if not text or len(content) > MAX_SECRET_BYTES:
        raise SettingError(f"{name} has the path of a file that is empty, or over {MAX_SECRET_BYTES} bytes")
    return text
