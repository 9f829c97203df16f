"""The issuer's public keys: read from a file or over https, renewed, and kept while they cannot be."""

import asyncio
import concurrent.futures
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

from session_service.api.auth.keyset import Key, KeysError, KeySet
from session_service.settings import SettingError

SIZE_LIMIT = 1024 * 1024  # bytes of a key set
START_PATIENCE = 30.0  # seconds for which a start waits for an issuer
_URL_PERIOD = 300.0  # seconds between renewals
_FILE_PERIOD = 2.0
_ASK_PERIOD = 10.0  # seconds in which unknown keys cause one renewal
_ASK_PATIENCE = 2.0  # seconds that a request waits for it
_ASKING = 32  # requests that may wait for it
_PATIENCE = 5.0  # seconds for a step of the network, and for the whole answer after the first one
_PAUSE = 0.5  # seconds between attempts at the start

Answer = concurrent.futures.Future[KeySet]

_log = logging.getLogger(__name__)


class Keys:
    """The keys that tokens are checked with, from the one file or URL that the settings name.

    They are renewed every few minutes, a file every two seconds. What is no key set changes nothing: the
    last good one stays for as long as the issuer is out of reach. `changed` is called when there are others.
    """

    def __init__(self, place: str, algorithms: tuple[str, ...], changed: Callable[[], None]) -> None:
        self._source = Source(place, algorithms)
        self._changed = changed
        self._set = KeySet(b"", {})
        self._renewed = True
        self._renewal: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._may_ask_at = 0.0
        self._asking = 0

    async def find(self, name: str | None, algorithm: object) -> list[Key]:
        """Return the keys of the name that check the algorithm; one that is not known is asked for.

        However many ask for whatever names: in ten seconds that is one look, and few wait for it.
        """
        if name not in self._set.keys:
            await self._look_again()
        return [key for key in self._set.keys.get(name, []) if algorithm in key.algorithms]

    async def __aenter__(self) -> Self:
        self._set = await self._first()
        self._watch = asyncio.create_task(self._keep_fresh())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (self._watch, self._renewal):
            if task:
                task.cancel()

    async def _first(self) -> KeySet:
        """Return the first key set; raise SettingError if there is none in a file, or not in time."""
        end = monotonic() + (0 if self._source.is_file else START_PATIENCE)
        while True:
            try:
                return await self._source.read()
            except KeysError as error:
                if monotonic() >= end:
                    raise SettingError(f"JWT_KEYS: no keys could be read: {error}") from error
            await asyncio.sleep(_PAUSE)

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(_FILE_PERIOD if self._source.is_file else _URL_PERIOD)
            await asyncio.wait({self._begin()})

    async def _look_again(self) -> None:
        """Wait for the renewal that is under way, or for a new one where it is time for one."""
        under_way = self._renewal is not None and not self._renewal.done()
        if self._asking >= _ASKING or not (under_way or monotonic() >= self._may_ask_at):
            return
        if not under_way:
            self._may_ask_at = monotonic() + _ASK_PERIOD
        self._asking += 1
        try:
            await asyncio.wait({self._begin()}, timeout=_ASK_PATIENCE)
        finally:
            self._asking -= 1

    def _begin(self) -> asyncio.Task[None]:
        """Return the renewal that is under way, or a new one."""
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._renew())
        return self._renewal

    async def _renew(self) -> None:
        try:
            fresh = await self._source.read()
        except KeysError as error:
            if self._renewed:
                _log.warning("JWT_KEYS: the keys could not be renewed, the last ones stay: %s", error)
            self._renewed = False
            return
        if not self._renewed:
            _log.warning("JWT_KEYS: the keys are renewed again")
        self._renewed = True
        if fresh.content != self._set.content:
            self._set = fresh
            self._changed()


class Source:
    """Where the keys are."""

    def __init__(self, place: str, algorithms: tuple[str, ...]) -> None:
        self.is_file = place.startswith("/")
        self._place = place
        self._algorithms = algorithms
        self._answer: Answer | None = None

    async def read(self) -> KeySet:
        """Return the keys as they are there now; raise KeysError if there are none in time."""
        if self._answer and not self._answer.done():
            raise KeysError("an answer is still waited for")
        self._answer = concurrent.futures.Future()
        # It cannot be cancelled: who no longer waits for it does not start another one beside it.
        self._answer.set_running_or_notify_cancel()
        # A daemon: a name server or a disk that hangs holds up neither requests nor the end.
        Thread(target=self._read, args=(self._answer,), daemon=True).start()
        try:
            return await asyncio.wait_for(asyncio.wrap_future(self._answer), 2 * _PATIENCE)
        except TimeoutError:
            raise KeysError("there was no answer in time") from None

    def _read(self, answer: Answer) -> None:
        fault = KeysError("the service failed")
        try:
            content = _from_file(self._place) if self.is_file else _from_url(self._place)
            answer.set_result(KeySet.read(content, self._algorithms))
        except KeysError as error:
            fault = error
        except (OSError, HTTPException, ValueError) as error:
            fault = KeysError(_reason(error))
        finally:
            if not answer.done():
                answer.set_exception(fault)


def _from_file(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return _bounded(file.read(SIZE_LIMIT + 1))


def _from_url(url: str) -> bytes:
    opener = OpenerDirector()
    # Only these: no redirect leads elsewhere. The authorities are looked up anew, for they change;
    # SSL_CERT_FILE names private ones.
    secure = HTTPSHandler(context=ssl.create_default_context())
    for handler in (ProxyHandler(), secure, HTTPErrorProcessor(), HTTPDefaultErrorHandler()):
        opener.add_handler(handler)
    content = b""
    with opener.open(url, timeout=_PATIENCE) as reply:
        end = monotonic() + _PATIENCE
        while chunk := reply.read1(SIZE_LIMIT):
            content = _bounded(content + chunk)
            if monotonic() > end:
                raise KeysError("the answer comes too slowly")
    return content


def _reason(error: Exception) -> str:
    """Return what went wrong, without the place: it may hold a secret."""
    if isinstance(error, HTTPError):
        error.close()
        return f"the answer was {error.code}"
    reason = error.reason if isinstance(error, URLError) else error
    return type(reason).__name__


def _bounded(content: bytes) -> bytes:
    if len(content) > SIZE_LIMIT:
        raise KeysError("there is more than a megabyte")
    return content
