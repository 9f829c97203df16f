"""Tests of the failover of PostgreSQL: it loses no acknowledged write, and needs no operator."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.support.waiting import LIMIT
from tests.verify.failover.deployment import FAULTS, Deployment, deployment
from tests.verify.histories.client import Shared
from tests.verify.histories.faults import trial

SAVES = 150  # acknowledged saves of a history, at least


@pytest.mark.needs("etcd")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_failover(fault: Callable[[Deployment], Awaitable[None]]) -> None:
    """After a failover the service saves again, no acknowledged answer is lost, and no version goes back."""

    async def run() -> None:
        async with asyncio.timeout(5 * LIMIT), deployment() as one:

            def is_over(shared: Shared) -> bool:
                saves = [one for one in shared.operations if one.kind == "save" and one.outcome == "ok"]
                return len(saves) >= SAVES and one.injected[fault.__name__] > 0

            _, verdict = await trial(one, fault, is_over, is_strict=True)
            assert verdict.violations == []

    asyncio.run(run())
