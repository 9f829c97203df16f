"""The dispatcher of one endpoint: takes events from the feed, sends them, and repeats those that fail.

Its state is in the database (sql/schema/0015_webhooks.sql). A delivery is deleted after the endpoint has
received it, so that each event is sent at least once, whenever this process ends.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import orjson
from attrs import frozen

from session_service.sessions.errors import ServiceUnavailableError
from session_service.storage import queries
from session_service.storage.connection import reason
from session_service.storage.pool import ConnectionPool
from session_service.storage.webhook_rows import DueDelivery
from session_service.webhooks.endpoints import Endpoint
from session_service.webhooks.sender import CONCURRENCY, Reply, Sender, SendError

INTERVAL = 0.5  # seconds between two looks at the feed, and at the deliveries that are due
BATCH_SIZE = 64  # deliveries that are listed in one statement: more than are in flight
MAX_DELIVERIES = 1000  # of an endpoint that wait; beyond that events stay in the feed
FIRST_DELAY = 5  # seconds from a first failed attempt to the next; it doubles with each further one
MAX_DELAY = 600  # seconds from any failed attempt to the next, without a Retry-After
MAX_RETRY_AFTER = 3600  # seconds of a Retry-After that are honoured
GIVE_UP_AFTER = 86_400  # seconds after the first failed attempt: the next one that fails is the last
DRAIN_TIMEOUT = 8.0  # seconds for posts in flight when the process stops: as for requests of the service

_log = logging.getLogger(__name__)
_random = random.SystemRandom()


@frozen
class Failure:
    """A failed attempt: its reason, the seconds of its Retry-After, and whether it was 410."""

    reason: str
    retry_after: int = 0
    gone: bool = False


def retry_delay(attempts: int, retry_after: int) -> int:
    """Return the seconds after so many failed attempts: exponential backoff with jitter."""
    longest = min(FIRST_DELAY * 2 ** min(attempts - 1, 20), MAX_DELAY)
    return max(round(_random.uniform(longest / 2, longest)), min(retry_after, MAX_RETRY_AFTER))


class Dispatcher:
    """Sends the events of the feed to one endpoint, those of a session one after the other."""

    def __init__(self, endpoint: Endpoint, pool: ConnectionPool, sender: Sender) -> None:
        self._endpoint = endpoint
        self._pool = pool
        self._sender = sender
        # By session: the event of an erased session, too, comes after one that is on its way.
        self._in_flight: dict[UUID, asyncio.Task[None]] = {}
        self._failures = 0
        self._look_at = 0.0
        self._due: deque[DueDelivery] = deque()
        self._fault = ""

    async def run(self) -> None:
        """Send events until cancelled; posts in flight then have DRAIN_TIMEOUT."""
        try:
            while True:
                try:
                    await self._round()
                    self._fault = ""
                except Exception as error:  # noqa: BLE001 - the next round may succeed
                    self._report(error)
                if self._in_flight:
                    waiting = self._in_flight.values()
                    await asyncio.wait(waiting, timeout=INTERVAL, return_when=asyncio.FIRST_COMPLETED)
                else:
                    await asyncio.sleep(INTERVAL)
        finally:
            await self._drain()

    async def _round(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._look_at:
            more = await self._accept()
            self._look_at = 0.0 if more else now + INTERVAL
            # A delivery that was listed may be gone since.
            self._due.clear()
        if not self._due and len(self._in_flight) < self._limit():
            await self._list()
        while self._due and len(self._in_flight) < self._limit():
            delivery = self._due.popleft()
            self._in_flight[delivery.session_id] = asyncio.create_task(self._deliver(delivery))

    async def _list(self) -> None:
        """List deliveries that are due, one of each session of which none is in flight."""
        # Those that end during the query are still in its snapshot.
        taken = set(self._in_flight)
        due = await queries.list_due_deliveries(self._pool, webhook=self._endpoint.name, count=BATCH_SIZE)
        for delivery in due:
            if delivery.session_id not in taken:
                taken.add(delivery.session_id)
                self._due.append(delivery)

    def _limit(self) -> int:
        """Return the number of posts at the same time: one to an endpoint that has failed again and again."""
        return 1 if self._failures >= CONCURRENCY else CONCURRENCY

    async def _accept(self) -> bool:
        """Take events from the feed; return whether there are more for which there is room."""
        name = self._endpoint.name
        more = False
        for found in await queries.accept_webhook_events(self._pool, name=name, bound=MAX_DELIVERIES):
            more = found.more
            if found.missed:
                _log.error(
                    "webhook %s: up to %d events are gone from the feed (EVENTS_DAYS), it goes on from the "
                    "oldest",
                    name,
                    found.missed,
                )
        return more

    async def _deliver(self, delivery: DueDelivery) -> None:
        try:
            failure = None if delivery.message is None else await self._send(delivery)
            await _until_stored(lambda: self._record(delivery, failure))
        except Exception as error:  # noqa: BLE001 - the delivery is still due
            self._report(error)
            # Without a record it would be sent again in the next round.
            await asyncio.sleep(FIRST_DELAY)
        finally:
            del self._in_flight[delivery.session_id]

    async def _send(self, delivery: DueDelivery) -> Failure | None:
        """Post the event; return why that failed, or None."""
        message_id = f"{delivery.session_id}_{delivery.version}"
        try:
            reply = await self._sender.post(message_id, orjson.dumps(delivery.message), delivery.trace_id)
        except SendError as error:
            return Failure(str(error))
        return _judge(reply)

    async def _record(self, delivery: DueDelivery, failure: Failure | None) -> None:
        name, place = self._endpoint.name, {"webhook": self._endpoint.name, "position": delivery.position}
        if failure is None:
            await queries.finish_delivery(self._pool, **place)
            if self._failures:
                _log.info("webhook %s: received an event again", name)
            self._failures = 0
        elif failure.gone:
            if await queries.disable_webhook(self._pool, name=name, digest=self._endpoint.digest):
                _log.error("webhook %s: disabled, it has answered 410; change its URL, or --enable it", name)
        elif delivery.failing_seconds >= GIVE_UP_AFTER:
            await queries.finish_delivery(self._pool, **place)
            event = (delivery.version, delivery.session_id, failure.reason)
            _log.error("webhook %s: gave up the event of version %d of session %s: %s", name, *event)
        else:
            seconds = retry_delay(delivery.attempts + 1, failure.retry_after)
            await queries.postpone_delivery(self._pool, **place, seconds=seconds)
            if not self._failures:
                _log.warning("webhook %s: %s; it is tried again for a day", name, failure.reason)
            self._failures += 1

    async def _drain(self) -> None:
        """Wait for posts in flight and their records; those that take too long are sent again later."""
        if tasks := set(self._in_flight.values()):
            _, late = await asyncio.wait(tasks, timeout=DRAIN_TIMEOUT)
            for task in late:
                task.cancel()
            await asyncio.wait(tasks)

    def _report(self, error: Exception) -> None:
        """Log an error, but not again in each round while it lasts."""
        fault = reason(error)
        if fault != self._fault:
            expected = isinstance(error, ServiceUnavailableError)
            _log.error("webhook %s: %s", self._endpoint.name, fault, exc_info=None if expected else error)
        self._fault = fault


def _judge(reply: Reply) -> Failure | None:
    """Return the failure of a response: any status but 2xx, and so a redirect, too."""
    if 200 <= reply.status <= 299:
        return None
    return Failure(f"status {reply.status}", reply.retry_after, gone=reply.status == 410)


async def _until_stored(record: Callable[[], Awaitable[Any]]) -> None:
    """Repeat the record while PostgreSQL is away, so that the event is not sent again for that."""
    while True:
        try:
            await record()
        except ServiceUnavailableError:
            await asyncio.sleep(INTERVAL)
        else:
            return
