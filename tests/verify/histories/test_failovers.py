"""Tests of failovers of Redis, by Sentinels: behind HAProxy, and with the Sentinels in REDIS_URL."""

import asyncio
from collections.abc import Callable

import pytest

from tests.verify.histories.cluster import Cluster
from tests.verify.histories.redis_group import RedisGroup, redis_group
from tests.verify.histories.test_histories import check_history

FAULTS: list[Callable[[RedisGroup], None]] = [RedisGroup.kill, RedisGroup.fail_over, RedisGroup.freeze]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_sentinels(fault: Callable[[RedisGroup], None]) -> None:
    """Under a failover with Sentinels no answer is lost, no request fails, and staleness is bounded."""
    with redis_group() as group:
        _check(group, fault, group.url)


@pytest.mark.needs("haproxy")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_haproxy(fault: Callable[[RedisGroup], None]) -> None:
    """Under a failover behind HAProxy the same holds."""
    with redis_group() as group:
        _check(group, fault, group.haproxy())


def _check(group: RedisGroup, fault: Callable[[RedisGroup], None], url: str) -> None:
    async def fail(_: Cluster) -> None:
        await asyncio.sleep(1)
        await asyncio.to_thread(fault, group)
        await asyncio.sleep(2)

    fail.__name__ = fault.__name__
    check_history(fail, redis_url=url)
