"""Reads and validates the file of endpoints (WEBHOOKS_FILE); errors repeat no URL and no secret."""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

from attrs import field, frozen

from session_service.environment import SettingError
from session_service.sessions import codec
from session_service.sessions.events import EventType
from session_service.sessions.models import ExternalId

MAX_FILE_BYTES = 1024 * 1024
MAX_ENDPOINTS = 50  # each has a task and its own connections
SECRET_BYTES = range(24, 65)  # the length of a key in Standard Webhooks

_FIELDS = ("url", "secrets", "types", "quiz_ids", "private")
_NAME = re.compile("[a-z0-9][a-z0-9-]{0,62}")
_PREFIX = "whsec_"
_TYPES: tuple[str, ...] = get_args(EventType)
_URL = (
    "url must be https://host/path, or http:// with private: true, in ASCII, without user, password and "
    "fragment"
)
_SECRETS = "secrets must be one, or two while rotating: each whsec_ and 24 to 64 bytes in base64"
_QUIZ_IDS = "quiz_ids must be whole numbers from 1 to 9007199254740991, or texts of 1 to 128 characters"


@frozen
class Endpoint:
    """A receiver of events.

    `keys` are those of its secrets. `private`: its address may be a private one, and its URL may be http.
    Without `types` or `quiz_ids` it gets the events of all.
    """

    name: str
    scheme: str
    host: str
    port: int
    target: str = field(repr=False)
    keys: tuple[bytes, ...] = field(repr=False)
    types: list[str] | None
    quiz_ids: list[ExternalId] | None
    private: bool

    @property
    def authority(self) -> str:
        """The value of the header Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = {"https": 443, "http": 80}[self.scheme]
        return host if self.port == default else f"{host}:{self.port}"

    @property
    def digest(self) -> str:
        """The SHA-256 of the URL, in hexadecimal."""
        return hashlib.sha256(f"{self.scheme}://{self.authority}{self.target}".encode()).hexdigest()


def read(path: Path) -> tuple[Endpoint, ...]:
    """Read the endpoints; raise SettingError with a line for each mistake."""
    mistakes: list[str] = []
    given = _load(path)
    endpoints = [_endpoint(name, fields, mistakes.append) for name, fields in given.items()]
    if mistakes:
        raise SettingError("\n".join(f"WEBHOOKS_FILE: {mistake}" for mistake in mistakes))
    return tuple(endpoint for endpoint in endpoints if endpoint)


def _load(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise SettingError(f"WEBHOOKS_FILE cannot be read: {error.strerror}") from None
    if len(text) > MAX_FILE_BYTES:
        raise SettingError("WEBHOOKS_FILE is larger than 1 MiB")
    try:
        given = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        # A message of the parser has the place, and no part of the text.
        why = f": {error}" if isinstance(error, json.JSONDecodeError) else ""
        raise SettingError(f"WEBHOOKS_FILE must be JSON in UTF-8, with each name once{why}") from None
    if not isinstance(given, dict) or not 1 <= len(given) <= MAX_ENDPOINTS:
        raise SettingError(
            f"WEBHOOKS_FILE must be an object of 1 to {MAX_ENDPOINTS} endpoints by their names"
        )
    return given


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError
    return dict(pairs)


def _endpoint(name: str, given: object, report: Callable[[str], None]) -> Endpoint | None:
    """Return the endpoint, or report each mistake in it."""
    if not _NAME.fullmatch(name):
        report("a name of an endpoint must be 1 to 63 lower-case letters, digits and hyphens")
        return None
    if not isinstance(given, dict):
        report(f"{name} must be an object with url and secrets")
        return None
    mistakes = _mistakes(given)
    for mistake in mistakes:
        report(f"{name}: {mistake}")
    private = given.get("private") is True
    place, keys = _place(given.get("url"), private=private), _keys(given.get("secrets"))
    if mistakes or not place or not keys:
        return None
    types, quiz_ids = given.get("types"), given.get("quiz_ids")
    quizzes = [codec.external_id(quiz_id) for quiz_id in quiz_ids] if quiz_ids else None
    return Endpoint(name, *place, keys, types, quizzes, private)


def _mistakes(given: dict[str, object]) -> list[str]:
    """Return the rules that an endpoint breaks."""
    private = given.get("private", False)
    types, quiz_ids = given.get("types"), given.get("quiz_ids")
    rules = (
        (f"it may have only {', '.join(_FIELDS)}", given.keys() <= set(_FIELDS)),
        ("private must be true or false", isinstance(private, bool)),
        (_URL, _place(given.get("url"), private=private is True)),
        (_SECRETS, _keys(given.get("secrets"))),
        (f"types must be some of {', '.join(_TYPES)}", "types" not in given or _are(types, _is_type)),
        (_QUIZ_IDS, "quiz_ids" not in given or _are(quiz_ids, _is_quiz_id)),
    )
    return [text for text, is_kept in rules if not is_kept]


def _place(url: object, *, private: bool) -> tuple[str, str, int, str] | None:
    """Return the scheme, host, port and target of a valid URL, else None."""
    if not isinstance(url, str) or not re.fullmatch("[!-~]{1,2048}", url) or "#" in url or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname or ""
    except ValueError:
        return None
    allowed = ("https", "http") if private else ("https",)
    if parts.scheme not in allowed or "@" in parts.netloc or port == 0:
        return None
    if not re.fullmatch(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?|[0-9a-f:.]*:[0-9a-f:.]*", host):
        return None
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parts.scheme, host, port or {"https": 443, "http": 80}[parts.scheme], target


def _keys(secrets: object) -> tuple[bytes, ...] | None:
    """Return the keys of one or two different secrets, else None."""
    if not isinstance(secrets, list) or not 1 <= len(secrets) <= 2:
        return None
    keys = [_key(secret) for secret in secrets]
    if None in keys or len(set(keys)) < len(keys):
        return None
    return tuple(key for key in keys if key)


def _key(secret: object) -> bytes | None:
    if not isinstance(secret, str) or not secret.startswith(_PREFIX):
        return None
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) in SECRET_BYTES else None


def _are(values: object, is_valid: Callable[[object], bool]) -> bool:
    return isinstance(values, list) and bool(values) and all(map(is_valid, values))


def _is_type(value: object) -> bool:
    return value in _TYPES


def _is_quiz_id(value: object) -> bool:
    if isinstance(value, str):
        return re.fullmatch("[^\0-\x1f\x7f-\x9f\ud800-\udfff]{1,128}", value) is not None
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= codec.MAX_EXTERNAL_INTEGER
