"""Supervisor: keeps a number of worker processes on one listening socket and replaces them without a gap.

A worker's standard input is a socket to the supervisor. A byte from the worker means ready. At end of file
the worker shuts down, so that no worker outlives its supervisor.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Coroutine
from contextlib import ExitStack
from typing import Any, TypeVar

from attrs import field, frozen

from session_service import files
from session_service.server import admin
from session_service.server.worker_metrics import WorkerMetrics
from session_service.settings import Settings

STOP_TIMEOUT = 9.0  # seconds for a worker to stop: more than the graceful timeout of its server
HANDOVER_DELAY = 0.4  # seconds in which one worker accepts waiting connections while the others stop
MIN_UPTIME = 10.0  # seconds: a worker that ends sooner has failed to start
MAX_FAILURES = 5  # failed starts in a row before the supervisor gives up
RETRY_INTERVAL = 1.0  # seconds between attempts to start a worker

T = TypeVar("T")

_log = logging.getLogger(__name__)


@frozen(eq=False)
class Worker:
    """A worker process and the supervisor's end of its standard input."""

    process: Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    started: float = field(factory=time.monotonic)

    async def ready(self) -> bool:
        """Wait until the worker is ready; return False if it ended before."""
        return bool(await self.reader.read(1))

    async def stop(self) -> None:
        """Shut the worker down gracefully; kill it after `STOP_TIMEOUT`."""
        self.writer.close()
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


class Supervisor:
    """Runs the workers of one listening socket. A worker that is stopping no longer counts."""

    def __init__(self, listener: socket.socket, count: int) -> None:
        self.metrics = WorkerMetrics()
        self._listener = listener
        self._count = count
        self._workers: list[Worker] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._metrics_tasks: set[asyncio.Task[None]] = set()
        self._serving = False
        self._failures = 0
        self._renewal = asyncio.Event()
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def run(self) -> str:
        """Keep the workers running until SIGINT or SIGTERM; return the reason for giving up, or ""."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._finish, "")
        loop.add_signal_handler(signal.SIGHUP, self._renewal.set)
        main = self._spawn(self._main())
        reason = await self._over
        main.cancel()
        await self._stop_all()
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
        """Replace the workers one after the other (rolling restart)."""
        for old in list(self._workers):
            new = await self._start()
            if not await new.ready():
                _log.error("a new worker did not start, those of before go on")
                return
            # The old worker may have died meanwhile, and have been replaced.
            if len(self._workers) > self._count:
                self._stop(old if old in self._workers else new)

    async def _watch(self, worker: Worker) -> None:
        """Replace the worker when it ends without having been stopped."""
        status = await worker.process.wait()
        if worker not in self._workers:
            return
        self._workers.remove(worker)
        if len(self._workers) >= self._count:
            return
        _log.warning("worker %d ended with %d", worker.process.pid, status)
        self._failures = self._failures + 1 if time.monotonic() - worker.started < MIN_UPTIME else 0
        if not self._serving:
            self._finish("the first worker did not start")
        elif self._failures == MAX_FAILURES:
            self._finish(f"{MAX_FAILURES} workers in a row ended within {MIN_UPTIME:.0f} s of their start")
        else:
            await self._start()

    def _start(self) -> asyncio.Future[Worker]:
        """Start a worker; a cancelled caller does not cancel the start."""
        return asyncio.shield(self._spawn(self._launch()))

    async def _launch(self) -> Worker:
        """Return a new worker; retry after an OSError (such as no memory) while other workers serve."""
        while True:
            try:
                return await self._try_to_launch()
            except OSError as error:
                if not self._workers:
                    raise
                _log.warning("a worker could not be started yet: %s", error)
            await asyncio.sleep(RETRY_INTERVAL)

    async def _try_to_launch(self) -> Worker:
        number = self._listener.fileno()
        ours, theirs = socket.socketpair()
        our_metrics, their_metrics = socket.socketpair()
        passed = [number, their_metrics.fileno()]
        # -P and PYTHONPATH: the package of this process, whatever the current folder has.
        numbers = map(str, (*passed, 0 if self._serving else self._count))
        command = [sys.executable, "-P", "-m", "session_service", "--worker", *numbers]
        path = os.pathsep.join(filter(None, [str(files.PACKAGE.parent), os.environ.get("PYTHONPATH")]))
        with theirs, their_metrics, ExitStack() as stack:
            stack.callback(ours.close)
            stack.callback(our_metrics.close)
            process = await asyncio.create_subprocess_exec(
                *command, stdin=theirs.fileno(), pass_fds=passed, env=os.environ | {"PYTHONPATH": path}
            )
            stack.pop_all()
        self._metrics_tasks.add(task := asyncio.create_task(self.metrics.attach(our_metrics)))
        task.add_done_callback(self._metrics_tasks.discard)
        worker = Worker(process, *await asyncio.open_connection(sock=ours))
        self._workers.append(worker)
        self._spawn(self._watch(worker))
        return worker

    def _stop(self, worker: Worker) -> None:
        self._workers.remove(worker)
        self._spawn(worker.stop())

    async def _stop_all(self) -> None:
        """Stop all workers, one of them later, so that it accepts the connections that are still waiting."""
        self._count = 0
        if self._workers[1:]:
            for worker in self._workers[1:]:
                self._stop(worker)
            await asyncio.sleep(HANDOVER_DELAY)
        self._listener.close()
        while self._tasks:
            for worker in list(self._workers):
                self._stop(worker)
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


def supervise(settings: Settings, listener: socket.socket, count: int) -> None:
    """Run `count` workers on the socket until shutdown; exit with 1 if they do not start."""

    async def run() -> str:
        supervisor = Supervisor(listener, count)
        admin.publish(settings, supervisor.metrics.collect, asyncio.get_running_loop())
        return await supervisor.run()

    if reason := asyncio.run(run()):
        sys.exit(f"session-service: gave up: {reason}")
