"""The batcher: queue, batches, keys, errors, cancellation, timeout."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from session_service.sessions.errors import ServiceUnavailableError
from session_service.traffic.batching import QUEUE_SIZE, QUEUE_TIMEOUT, Batcher
from tests.support import clock


class ManualBatcher:
    """A batcher whose batches end when the test calls `finish`."""

    def __init__(self, **given: Any) -> None:
        self.batches: list[list[int]] = []
        self.ends: list[asyncio.Event] = []
        options: dict[str, Any] = {
            "lane": "test",
            "concurrency": 1,
            "max_batch_size": 3,
            "retry_singly_on": (ZeroDivisionError,),
            **given,
        }
        self.batcher: Batcher[int, float] = Batcher(self._process, **options)

    async def _process(self, items: list[int]) -> list[float]:
        self.batches.append(items)
        self.ends.append(asyncio.Event())
        await self.ends[-1].wait()
        if 13 in items:
            raise KeyError(13)
        return [1 / item for item in items]

    async def call(self, *items: int, key: object = None) -> list["asyncio.Task[float]"]:
        """Start a call for each item, in this order."""
        calls = [asyncio.ensure_future(self.batcher(item, key)) for item in items]
        await _run_ready_tasks()
        return calls

    async def finish(self) -> None:
        """End the batches in flight."""
        for end in self.ends:
            end.set()
        await _run_ready_tasks()


async def _run_ready_tasks() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def _run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    clock.run(test())


def test_an_idle_batcher_processes_a_call_immediately() -> None:
    """A call starts a batch before its first await if the batcher is idle."""

    async def test() -> None:
        batcher = ManualBatcher()
        call = batcher.batcher(2)
        call.send(None)
        assert batcher.batches == [[2]]
        call.close()

    _run(test)


def test_queued_calls_form_a_batch_in_fifo_order() -> None:
    """Calls behind a batch form the next batches, in FIFO order, up to the maximum batch size."""

    async def test() -> None:
        batcher = ManualBatcher()
        calls = await batcher.call(1, 2, 3, 4, 5, 6)
        assert batcher.batches == [[1]]
        for _ in range(3):
            await batcher.finish()
        assert batcher.batches == [[1], [2, 3, 4], [5, 6]]
        assert [await call for call in calls] == [1 / item for item in range(1, 7)]

    _run(test)


def test_concurrency_bounds_the_batches_in_flight() -> None:
    """With a concurrency of two, two batches are in flight and never more."""

    async def test() -> None:
        batcher = ManualBatcher(concurrency=2)
        await batcher.call(1, 2, 3, 4, 5, 6, 7, 8)
        assert batcher.batches == [[1], [2]]
        batcher.ends[0].set()
        await _run_ready_tasks()
        assert batcher.batches == [[1], [2], [3, 4, 5]]

    _run(test)


def test_calls_with_the_same_key_keep_their_order() -> None:
    """Of the calls with one key, one is in flight at a time, in FIFO order."""

    async def test() -> None:
        batcher = ManualBatcher(concurrency=3)
        calls = await batcher.call(1, 2, 3, key="session") + await batcher.call(4, key="another")
        assert batcher.batches == [[1], [4]]
        for _ in range(4):
            await batcher.finish()
        assert batcher.batches == [[1], [4], [2], [3]]
        assert [await call for call in calls] == [1, 1 / 2, 1 / 3, 1 / 4]

    _run(test)


def test_a_batch_without_effect_is_retried_singly() -> None:
    """After an error without effect, each item is retried alone, and only the invalid one fails."""

    async def test() -> None:
        batcher = ManualBatcher()
        calls = await batcher.call(1, 2, 0, 4)
        for _ in range(6):
            await batcher.finish()
        assert batcher.batches == [[1], [2, 0, 4], [2], [0], [4]]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [float, float, ZeroDivisionError, float]

    _run(test)


def test_a_batch_with_unknown_outcome_is_not_retried() -> None:
    """After any other error, all calls of the batch fail and none is retried."""

    async def test() -> None:
        batcher = ManualBatcher()
        calls = await batcher.call(1, 2, 13, 4, 5)
        for _ in range(3):
            await batcher.finish()
        assert batcher.batches == [[1], [2, 13, 4], [5]]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [float, KeyError, KeyError, KeyError, float]

    _run(test)


@pytest.mark.parametrize("cancelled", [0, 1, 2, 3])
def test_cancellation_of_a_call_affects_no_other_call(cancelled: int) -> None:
    """A call that is cancelled alone, in a batch or in the queue does not affect the other calls."""

    async def test() -> None:
        batcher = ManualBatcher(max_batch_size=2)
        calls = await batcher.call(1, 2, 3, 4)
        if cancelled in (1, 2):
            await batcher.finish()
        calls[cancelled].cancel()
        await _run_ready_tasks()
        for _ in range(3):
            await batcher.finish()
        results: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
        expected: list[Any] = [1, 1 / 2, 1 / 3, 1 / 4]
        results[cancelled] = expected[cancelled] = None
        assert results == expected
        assert await _after(batcher) == 1 / 5

    async def _after(batcher: ManualBatcher) -> float:
        (call,) = await batcher.call(5)
        await batcher.finish()
        return await call

    _run(test)


def test_a_full_queue_rejects_immediately() -> None:
    """A call beyond the queue size is rejected immediately as not applied; queued calls are processed."""

    async def test() -> None:
        batcher = ManualBatcher(max_batch_size=QUEUE_SIZE)
        items = list(range(100, 102 + QUEUE_SIZE))
        calls = await batcher.call(*items)
        assert [call.done() for call in calls] == [*[False] * (1 + QUEUE_SIZE), True]
        for _ in range(2):
            await batcher.finish()
        assert batcher.batches == [items[:1], items[1:-1]]
        error = (await asyncio.gather(*calls, return_exceptions=True))[-1]
        assert isinstance(error, ServiceUnavailableError)
        assert error.outcome == "not_applied"

    _run(test)


def test_a_queued_call_times_out_and_is_not_processed() -> None:
    """A call that is queued behind a hanging batch times out and is never processed."""

    async def test() -> None:
        batcher = ManualBatcher()
        calls = await batcher.call(1, 2)
        with pytest.raises(ServiceUnavailableError):
            await calls[1]
        assert asyncio.get_running_loop().time() == QUEUE_TIMEOUT
        await batcher.finish()
        assert batcher.batches == [[1]]

    _run(test)


def test_finished_calls_leave_no_state() -> None:
    """The batcher keeps no key of processed, failed, rejected or cancelled calls."""

    async def test() -> None:
        batcher = ManualBatcher(concurrency=2)
        calls = [*await batcher.call(1, 13, 0, 4, 5, key="session"), *await batcher.call(6, 0, 13)]
        calls[3].cancel()
        for _ in range(9):
            await batcher.finish()
        await asyncio.gather(*calls, return_exceptions=True)
        assert not batcher.batcher._queues  # noqa: SLF001 - a leak is visible nowhere else
        assert not batcher.batcher._ready  # noqa: SLF001
        assert (batcher.batcher._queued, batcher.batcher._free) == (0, 2)  # noqa: SLF001

    _run(test)
