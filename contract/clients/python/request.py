"""Requests: sends one and reads its reply, whatever it is; reads the clocks for the time left."""

import re
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from json import loads

import httpx

from .client import AuthenticatedClient, Client
from .json_values import as_mapping

ServiceClient = Client | AuthenticatedClient
Clocks = tuple[float, float]
Query = dict[str, str | int]
TIMEOUT = 15.0  # seconds to connect, to send, to wait for a part of the reply; the service replies within 5
MAX_DURATION = 30.0  # seconds from the request to the end of the body: some bodies never end
MAX_REPLY = 32 * 2**20  # bytes; the service's are smaller
MAX_RETRY_AFTER = 300.0  # seconds


@dataclass(frozen=True)
class Request:
    """A request; `content` is JSON."""

    method: str
    path: str
    content: bytes | None = None
    key: str = ""
    query: Query | None = None


@dataclass(frozen=True)
class Reply:
    """A reply: `code` is `OK`, an error's `errorCode`, or `NO_REPLY` if it is not from the service."""

    code: str
    content: object  # the JSON of a success, the session of an error
    now: datetime  # of the service's clock
    asked: Clocks
    retry_after: float
    # A proxy with a lower limit has refused the body, which the service did not get.
    too_large: bool = False


def ask(client: ServiceClient, request: Request, token: str | None) -> Reply:
    """Send a request and return its reply; after any failure one with `NO_REPLY`."""
    headers = {"content-type": "application/json"} if request.content is not None else {}
    headers |= {"idempotency-key": request.key} if request.key else {}
    headers |= {} if token is None else {"authorization": f"Bearer {token}"}
    asked = read_clocks()
    # Failures of the network, of TLS, of a content encoding, of a client that was closed.
    with suppress(Exception):
        http = client.get_httpx_client()
        timeout = http.timeout if http.timeout.read else httpx.Timeout(TIMEOUT)
        latest = time.monotonic() + MAX_DURATION
        with http.stream(
            request.method,
            request.path,
            params=request.query,
            content=request.content,
            headers=headers,
            timeout=timeout,
        ) as response:
            body = b"".join(_limited(response.iter_bytes(), latest))
        return _parse_reply(response, body, asked)
    return Reply("NO_REPLY", None, datetime.now(UTC), asked, 0)


def read_clocks() -> Clocks:
    """Read two clocks, in seconds: one that runs during sleep if there is one, and the device's date."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME), time.time()
    return time.monotonic(), time.time()


def since(clocks: Clocks) -> float:
    """Return the seconds since the clocks were read, never too few: the date may be set."""
    return max(now - at for now, at in zip(read_clocks(), clocks, strict=True))


def _limited(parts: Iterable[bytes], latest: float) -> Iterator[bytes]:
    """Yield the parts of a body; raises an exception if it is too long or too slow."""
    size = 0
    for part in parts:
        size += len(part)
        if size > MAX_REPLY or time.monotonic() > latest:
            raise TimeoutError
        yield part


def _parse_reply(response: httpx.Response, body: bytes, asked: Clocks) -> Reply:
    """Read a reply; only JSON of the contract's shape counts as the service's."""
    date = _parse_date(response.headers.get("date")) or datetime.now(UTC)
    # A date has whole seconds.
    now = _parse_timestamp(response.headers.get("session-now")) or date + timedelta(seconds=1)
    retry_after = _parse_retry_after(response.headers.get("retry-after", ""), date)
    code, content = "UNAUTHENTICATED" if response.status_code == 401 else "NO_REPLY", None
    with suppress(Exception):
        parsed = as_mapping(loads(body))
        if response.status_code in (200, 201):
            code, content = "OK", parsed
        elif parsed["statusCode"] == response.status_code:
            code, content = str(parsed["errorCode"]), parsed.get("session")
    too_large = code == "NO_REPLY" and response.status_code == 413
    return Reply(code, content, now, asked, retry_after, too_large)


def _parse_retry_after(value: str, now: datetime) -> float:
    """Return the seconds of Retry-After (RFC 9110, 10.2.3), at most MAX_RETRY_AFTER; 0 if there are none."""
    if re.fullmatch("[0-9]+", value):
        return min(float(value), MAX_RETRY_AFTER)
    date = _parse_date(value)
    seconds = (date - now).total_seconds() if date else 0.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


def _parse_date(value: str | None) -> datetime | None:
    """Parse an HTTP date; None for anything else."""
    with suppress(Exception):
        date = parsedate_to_datetime(value or "")
        return date if date.tzinfo else date.replace(tzinfo=UTC)
    return None


def _parse_timestamp(value: str | None) -> datetime | None:
    """Parse a timestamp of the contract; None for anything else."""
    with suppress(Exception):
        return datetime.strptime(value or "", "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    return None
