"""Clients that send requests to worker processes, with a short pause after each."""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from attrs import define, field

from session_service.server.connections import DRAIN_TICK, DRAIN_TICKS
from tests.support.waiting import LIMIT, eventually


@define
class Load:
    """Clients with a short pause after each request; half of them open a connection for each.

    A stopping worker closes connections that are idle for a while, as any server may (RFC 9112, 9.6): a
    connection that a busy machine has left idle for so long is no failure.
    """

    url: str
    requests: int = 0
    responses: int = 0
    failures: list[str] = field(factory=list)
    refused: int = 0
    reset: int = 0  # new connections that ended before a response began
    _done: threading.Event = field(factory=threading.Event)
    _lock: threading.Lock = field(factory=threading.Lock)

    @contextmanager
    def running(self, clients: int = 6) -> Iterator["Load"]:
        """Send requests until the block ends."""
        threads = [
            threading.Thread(target=self._run_client, args=(number % 2 == 0,)) for number in range(clients)
        ]
        for thread in threads:
            thread.start()
        try:
            self._await_more()
            yield self
            self._await_more()
        finally:
            self._done.set()
            for thread in threads:
                thread.join()

    def _await_more(self) -> None:
        """Wait until the clients have completed many more requests, successful or not."""
        before = self.requests
        eventually(lambda: self.requests > before + 100)

    def _run_client(self, keep_alive: bool) -> None:  # noqa: FBT001 - one of two kinds of client
        url = urlsplit(self.url)
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=LIMIT)
        used = time.monotonic()
        while not self._done.is_set():
            is_new = connection.sock is None
            with self._lock:
                self.requests += 1
            begin = time.monotonic() if is_new else used
            sent = 0.0
            try:
                connection.request("GET", "/health")
                sent = time.monotonic()
                self._receive(connection)
            except (OSError, http.client.HTTPException) as error:
                self._record_error(error, is_new=is_new, idle_seconds=(sent or time.monotonic()) - begin)
                connection.close()
                time.sleep(0.02)
            used = time.monotonic()
            if not keep_alive:
                connection.close()
            # Without a pause new workers would get too little of the processor to start.
            self._done.wait(0.005)
        connection.close()

    def _record_error(self, error: Exception, *, is_new: bool, idle_seconds: float) -> None:
        may_be_closed = idle_seconds > DRAIN_TICKS * DRAIN_TICK
        with self._lock:
            if isinstance(error, ConnectionRefusedError):
                self.refused += 1
            elif isinstance(error, ConnectionError) and may_be_closed:
                return
            elif isinstance(error, ConnectionResetError) and is_new:
                self.reset += 1
            else:
                self.failures.append(repr(error))

    def _receive(self, connection: http.client.HTTPConnection) -> None:
        response = connection.getresponse()
        body = response.read()
        with self._lock:
            self.responses += 1
            if response.status != 200 or not body.endswith(b"}"):
                self.failures.append(f"{response.status} {body!r}")
