"""The supervisor: it keeps so many worker processes on one listening socket, and renews them without a gap.

A worker's standard input is a socket to the supervisor: a byte from it says that the worker serves; its end
tells the worker to end, so that none outlives its supervisor.
"""

import asyncio
import logging
import signal
import socket
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Coroutine
from contextlib import ExitStack
from typing import Any, TypeVar

from attrs import field, frozen

PATIENCE = 9.0  # seconds for a worker that was told to end: longer than its servers give to their clients
HANDOVER = 0.4  # seconds in which one worker serves what waits while the others stop
EARLY = 10.0  # seconds: a worker that ends sooner has failed to start
FAILURES = 5
PAUSE = 1.0  # seconds between attempts to start one

T = TypeVar("T")

_log = logging.getLogger(__name__)


@frozen(eq=False)
class Worker:
    """A process that serves, and the supervisor's end of its standard input."""

    process: Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    started: float = field(factory=time.monotonic)

    async def ready(self) -> bool:
        """Wait until the worker serves; False if it ended before."""
        return bool(await self.reader.read(1))

    async def end(self) -> None:
        """Tell the worker to end, and wait until it has."""
        self.writer.close()
        try:
            async with asyncio.timeout(PATIENCE):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


class Supervisor:
    """The workers of one socket; those that were told to end are not counted any more."""

    def __init__(self, listener: socket.socket, count: int) -> None:
        self._listener = listener
        self._count = count
        self._workers: list[Worker] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._serving = False
        self._failures = 0
        self._renewal = asyncio.Event()
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def run(self) -> str:
        """Keep the workers until SIGINT or SIGTERM; return why it gave up, or nothing."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._finish, "")
        loop.add_signal_handler(signal.SIGHUP, self._renewal.set)
        main = self._spawn(self._main())
        reason = await self._over
        main.cancel()
        await self._end_all()
        return reason

    async def _main(self) -> None:
        self._serving = await (await self._start()).ready()
        if self._serving:
            await asyncio.gather(*(self._start() for _ in range(self._count - 1)))
        while True:
            await self._renewal.wait()
            self._renewal.clear()
            await self._renew()

    async def _renew(self) -> None:
        """Put a new worker into the place of each, one after the other."""
        for old in list(self._workers):
            new = await self._start()
            if not await new.ready():
                _log.error("session-service: a new worker did not start, those of before go on")
                return
            # Another may have taken the place of an old one that died meanwhile.
            if len(self._workers) > self._count:
                self._retire(old if old in self._workers else new)

    async def _watch(self, worker: Worker) -> None:
        """Replace the worker when it ends untold."""
        status = await worker.process.wait()
        if worker not in self._workers:
            return
        self._workers.remove(worker)
        if len(self._workers) >= self._count:
            return
        _log.warning("session-service: worker %d ended with %d", worker.process.pid, status)
        self._failures = self._failures + 1 if time.monotonic() - worker.started < EARLY else 0
        if not self._serving:
            self._finish("the first worker did not start")
        elif self._failures == FAILURES:
            self._finish(f"{FAILURES} workers in a row ended within {EARLY:.0f} s of their start")
        else:
            await self._start()

    def _start(self) -> asyncio.Future[Worker]:
        """Start a worker, to the end even if whoever wants it is cancelled."""
        return asyncio.shield(self._spawn(self._launch()))

    async def _launch(self) -> Worker:
        """Return a new worker; while others serve, the system may have no room for one for a time."""
        while True:
            try:
                return await self._try_to_launch()
            except OSError as error:
                if not self._workers:
                    raise
                _log.warning("session-service: a worker could not be started yet: %s", error)
            await asyncio.sleep(PAUSE)

    async def _try_to_launch(self) -> Worker:
        number = self._listener.fileno()
        command = [sys.executable, "-m", "session_service", "--worker", str(number)]
        ours, theirs = socket.socketpair()
        with theirs, ExitStack() as stack:
            stack.callback(ours.close)
            process = await asyncio.create_subprocess_exec(*command, stdin=theirs.fileno(), pass_fds=[number])
            stack.pop_all()
        worker = Worker(process, *await asyncio.open_connection(sock=ours))
        self._workers.append(worker)
        self._spawn(self._watch(worker))
        return worker

    def _retire(self, worker: Worker) -> None:
        self._workers.remove(worker)
        self._spawn(worker.end())

    async def _end_all(self) -> None:
        """Let one worker serve what waits while the others stop, then let it stop, too."""
        self._count = 0
        if self._workers[1:]:
            for worker in self._workers[1:]:
                self._retire(worker)
            await asyncio.sleep(HANDOVER)
        self._listener.close()
        while self._tasks:
            for worker in list(self._workers):
                self._retire(worker)
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            self._finish(f"a worker could not be started: {task.exception()}")

    def _finish(self, reason: str) -> None:
        if not self._over.done():
            self._over.set_result(reason)


def supervise(listener: socket.socket, count: int) -> None:
    """Run so many workers on the socket until told to stop; exit with 1 if they do not start."""

    async def run() -> str:
        return await Supervisor(listener, count).run()

    if reason := asyncio.run(run()):
        sys.exit(f"session-service: gave up: {reason}")
