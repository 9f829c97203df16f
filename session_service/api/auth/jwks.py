"""Caches the issuer's public keys, a JWK Set (RFC 7517), and refreshes them from a file or over HTTPS.

PyJWT's PyJWK parses each key and decides which algorithms fit it. Its other two classes would break promises:

- PyJWKSet: one malformed entry does no harm (`alg` as a list raises TypeError for the whole set), a key
  without `alg` verifies every pinned algorithm that fits (RSA would verify RS256 only), a key for
  `key_ops` other than `verify` does not count, and two keys with one `kid` are both tried.
- PyJWKClient: a file as the source, the size limit, the background refresh, one refresh for unknown keys in
  10 s (its cooldown starts after a success only), and bounded waiting (it blocks, and the time limit of
  urllib restarts with each chunk).
"""

import asyncio
import concurrent.futures
import json
import logging
import ssl
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Self
from urllib.error import HTTPError, URLError
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
)

import jwt
from attrs import frozen

from session_service.environment import SettingError

MAX_JWKS_BYTES = 1024 * 1024  # size limit of a JWK Set, in bytes
MAX_WAITERS = 32  # requests that wait for a refresh at the same time
START_TIMEOUT = 30.0  # wait for an unreachable issuer at startup, in seconds
START_RETRY_INTERVAL = 0.5  # pause between attempts at startup, in seconds
URL_REFRESH_INTERVAL = 300.0  # pause between refreshes of a URL, in seconds
FILE_REFRESH_INTERVAL = 2.0  # pause between refreshes of a file, in seconds
UNKNOWN_KID_COOLDOWN = 10.0  # shortest time between refreshes for unknown keys, in seconds
UNKNOWN_KID_TIMEOUT = 2.0  # longest wait of a request for a refresh, in seconds
# Timeout of each network operation, and of the body as a whole, in seconds.
FETCH_TIMEOUT = 5.0

Fetch = concurrent.futures.Future["JwkSet"]

_log = logging.getLogger(__name__)


class JwksError(Exception):
    """Unavailable or unusable keys; the text gives the reason, never the source, which may hold a secret."""


@frozen
class JwkSet:
    """A parsed JWK Set: its bytes, and its keys by `kid`.

    There is one PyJWK for each algorithm of a key. The only key of a set is also found without a `kid`.
    """

    content: bytes
    keys: dict[str | None, list[jwt.PyJWK]]

    @classmethod
    def parse(cls, content: bytes, algorithms: tuple[str, ...]) -> "JwkSet":
        """Parse a JWK Set; raise JwksError if it has no public key for any of the algorithms."""
        try:
            entries = list(json.loads(content)["keys"])
        except (ValueError, RecursionError, KeyError, TypeError):
            raise JwksError("it is not a JWK Set") from None
        usable = [found for entry in entries if (found := _parse_entry(entry, algorithms))]
        keys: dict[str | None, list[jwt.PyJWK]] = {}
        for key in (key for found in usable for key in found if key.key_id is not None):
            keys.setdefault(key.key_id, []).append(key)
        if len(usable) == 1:
            keys[None] = usable[0]
        if not keys:
            raise JwksError("there is no key for JWT_ALGORITHMS, or more than one and none with a kid")
        return cls(content, keys)


class JwksCache:
    """Caches the key set of one source, and refreshes it periodically and for unknown keys.

    A failed refresh keeps the last good keys. `changed` is called after each change of the keys.
    """

    def __init__(self, source: str, algorithms: tuple[str, ...], changed: Callable[[], None]) -> None:
        self._source = JwksSource(source, algorithms)
        self._changed = changed
        self._set = JwkSet(b"", {})
        self._refreshed = True
        self._refresh_task: asyncio.Task[None] | None = None
        self._periodic_task: asyncio.Task[None] | None = None
        self._cooldown_ends_at = 0.0
        self._waiters = 0

    async def find(self, kid: str | None, algorithm: object) -> list[jwt.PyJWK]:
        """Return the keys with this `kid` for the algorithm, after a refresh if the `kid` is unknown."""
        if kid not in self._set.keys:
            await self.refresh_for_unknown_kid()
        return [key for key in self._set.keys.get(kid, []) if key.algorithm_name == algorithm]

    async def __aenter__(self) -> Self:
        self._set = await self._first()
        self._periodic_task = asyncio.create_task(self.refresh_periodically())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (self._periodic_task, self._refresh_task):
            if task:
                task.cancel()

    async def refresh_for_unknown_kid(self) -> None:
        """Wait for the running refresh, or for a new one if the cooldown is over.

        A flood of tokens with invented keys causes one refresh in 10 s. At most 32 requests wait for it, each
        for at most 2 s; the others return at once.
        """
        running = self._refresh_task is not None and not self._refresh_task.done()
        if self._waiters >= MAX_WAITERS or not (running or monotonic() >= self._cooldown_ends_at):
            return
        if not running:
            self._cooldown_ends_at = monotonic() + UNKNOWN_KID_COOLDOWN
        self._waiters += 1
        try:
            await asyncio.wait({self._start_refresh()}, timeout=UNKNOWN_KID_TIMEOUT)
        finally:
            self._waiters -= 1

    async def refresh_periodically(self) -> None:
        """Refresh the keys until cancelled: a file every 2 s, a URL every 5 minutes."""
        while True:
            await asyncio.sleep(FILE_REFRESH_INTERVAL if self._source.is_file else URL_REFRESH_INTERVAL)
            await asyncio.wait({self._start_refresh()})

    async def _first(self) -> JwkSet:
        """Fetch the first key set; raise SettingError if a file has none, or if a URL has none after 30 s."""
        end = monotonic() + (0 if self._source.is_file else START_TIMEOUT)
        while True:
            try:
                return await self._source.fetch()
            except JwksError as error:
                if monotonic() >= end:
                    raise SettingError(f"JWT_KEYS: no keys could be read: {error}") from error
            await asyncio.sleep(START_RETRY_INTERVAL)

    def _start_refresh(self) -> asyncio.Task[None]:
        """Return the running refresh, or start one."""
        if self._refresh_task is None or self._refresh_task.done():
            self._refresh_task = asyncio.create_task(self._refresh())
        return self._refresh_task

    async def _refresh(self) -> None:
        try:
            fetched = await self._source.fetch()
        except JwksError as error:
            if self._refreshed:
                _log.warning("JWT_KEYS: the keys could not be renewed, the last ones stay: %s", error)
            self._refreshed = False
            return
        if not self._refreshed:
            _log.warning("JWT_KEYS: the keys are renewed again")
        self._refreshed = True
        if fetched.content != self._set.content:
            self._set = fetched
            self._changed()


class JwksSource:
    """Fetches a key set from a file or over HTTPS, in a thread, one fetch at a time."""

    def __init__(self, source: str, algorithms: tuple[str, ...]) -> None:
        self.is_file = source.startswith("/")
        self._source = source
        self._algorithms = algorithms
        self._fetch: Fetch | None = None

    async def fetch(self) -> JwkSet:
        """Fetch the key set; raise JwksError if that fails, or takes more than 10 s."""
        if self._fetch and not self._fetch.done():
            raise JwksError("a request is still pending")
        self._fetch = concurrent.futures.Future()
        # Makes the future immune to a cancelled caller, so that no second thread starts beside this one.
        self._fetch.set_running_or_notify_cancel()
        # A daemon thread: a DNS server or a disk that hangs delays neither requests nor the shutdown.
        Thread(target=self._run, args=(self._fetch,), name="jwks", daemon=True).start()
        try:
            # Not wait_for, which in Python 3.11 ignores a cancellation at the moment of the answer.
            async with asyncio.timeout(2 * FETCH_TIMEOUT):
                return await asyncio.wrap_future(self._fetch)
        except TimeoutError:
            raise JwksError("there was no answer in time") from None

    def _run(self, fetch: Fetch) -> None:
        failure = JwksError("the service failed")
        try:
            content = _read_file(self._source) if self.is_file else _read_url(self._source)
            fetch.set_result(JwkSet.parse(content, self._algorithms))
        except JwksError as error:
            failure = error
        except (OSError, HTTPException, ValueError) as error:
            failure = JwksError(_reason(error))
        finally:
            if not fetch.done():
                fetch.set_exception(failure)


def _parse_entry(entry: object, algorithms: tuple[str, ...]) -> list[jwt.PyJWK]:
    """Return a PyJWK for each algorithm that the entry verifies; none if it is no public signature key.

    Restricting the algorithms to those of public keys excludes shared secrets (`oct`): with one, a service
    that verifies tokens could also issue them.
    """
    if not isinstance(entry, dict) or "d" in entry or not isinstance(entry.get("kid"), str | None):
        return []
    try:
        if entry.get("use", "sig") != "sig" or "verify" not in entry.get("key_ops", ["verify"]):
            return []
    except TypeError:
        return []
    found = [_parse_key(entry, name) for name in algorithms if entry.get("alg", name) == name]
    return [key for key in found if key]


def _parse_key(entry: dict[str, object], algorithm: str) -> jwt.PyJWK | None:
    """Return the entry as a key for the algorithm, or None if its type, curve or length does not fit."""
    try:
        key = jwt.PyJWK(entry, algorithm)
        # PyJWK itself does not compare the curve with the algorithm.
        key.Algorithm.prepare_key(key.key)
    except (TypeError, ValueError, jwt.PyJWTError):
        return None
    # PyJWT only warns of short keys, unless enforce_minimum_key_length rejects the token that uses one.
    return key if key.Algorithm.check_key_length(key.key) is None else None


def _read_file(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return _check_size(file.read(MAX_JWKS_BYTES + 1))


def _read_url(url: str) -> bytes:
    opener = OpenerDirector()
    # No handler for redirects: they could lead to keys of another origin. The certificate authorities are
    # loaded each time, because they change; SSL_CERT_FILE names private ones.
    https = HTTPSHandler(context=ssl.create_default_context())
    for handler in (ProxyHandler(), https, HTTPErrorProcessor(), HTTPDefaultErrorHandler()):
        opener.add_handler(handler)
    content = b""
    with opener.open(url, timeout=FETCH_TIMEOUT) as response:
        end = monotonic() + FETCH_TIMEOUT
        while chunk := response.read1(MAX_JWKS_BYTES):
            content = _check_size(content + chunk)
            if monotonic() > end:
                raise JwksError("the answer comes too slowly")
    return content


def _reason(error: Exception) -> str:
    """Return the status of an HTTP error, or the type of another one: its text may hold the URL."""
    if isinstance(error, HTTPError):
        error.close()
        return f"the answer was {error.code}"
    reason = error.reason if isinstance(error, URLError) else error
    return type(reason).__name__


def _check_size(content: bytes) -> bytes:
    if len(content) > MAX_JWKS_BYTES:
        raise JwksError("it is larger than a megabyte")
    return content
