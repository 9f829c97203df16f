"""Tests of the failover of PostgreSQL: it loses no acknowledged write, and needs no operator."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.waiting import LIMIT
from tests.verify.failover.deployment import FAULTS, Deployment, deployment, kill_node
from tests.verify.failover.patroni_cluster import ENVIRONMENT, SETTINGS
from tests.verify.histories.client import Shared
from tests.verify.histories.faults import trial

SAVES = 150  # acknowledged saves of a history, at least

pytestmark = [pytest.mark.needs("etcd"), pytest.mark.needs(str(ENVIRONMENT / "bin" / "patroni"))]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_failover(fault: Callable[[Deployment], Awaitable[None]]) -> None:
    """After a failover the service saves again, no acknowledged answer is lost, and no version goes back."""
    assert _violations(fault, SETTINGS) == []


def test_failover_without_synchronous_mode() -> None:
    """Without synchronous_mode the same checks find what a failover loses."""
    assert _violations(kill_node, SETTINGS | {"synchronous_mode": False}) != []


def _violations(fault: Callable[[Deployment], Awaitable[None]], settings: dict[str, Any]) -> list[str]:
    """Return the violations in a history with the fault."""

    async def run() -> list[str]:
        async with asyncio.timeout(5 * LIMIT), deployment(settings) as one:

            def is_over(shared: Shared) -> bool:
                saves = [one for one in shared.operations if one.kind == "save" and one.outcome == "ok"]
                return len(saves) >= SAVES and one.injected[fault.__name__] > 0

            _, verdict = await trial(one, fault, is_over, is_strict=True)
            return verdict.violations

    return asyncio.run(run())
