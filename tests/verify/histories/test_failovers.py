"""Tests of failovers of Redis, by Sentinels: behind HAProxy, and with the Sentinels in REDIS_URL."""

import asyncio
from collections.abc import Callable

import pytest
from redis import Redis

from tests.conftest import Urls
from tests.support.service import free_port, running
from tests.support.waiting import eventually
from tests.verify.histories.cluster import Cluster
from tests.verify.histories.redis_group import RedisGroup, redis_group
from tests.verify.histories.test_histories import check_history

FAULTS: list[Callable[[RedisGroup], None]] = [RedisGroup.kill, RedisGroup.fail_over, RedisGroup.freeze]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_sentinels(fault: Callable[[RedisGroup], None]) -> None:
    """Under a failover with Sentinels no answer is lost, no request fails, and staleness is bounded."""
    with redis_group() as group:
        _check(group, fault, group.url)


def test_an_instance_without_requests_notices(migrated: Urls) -> None:
    """An instance that sends nothing to Redis stops using the former primary, and then uses the new one."""
    with redis_group() as group, running(migrated, REDIS_URL=group.url) as service:
        group.fail_over()
        eventually(lambda: "Redis failed, reads go to PostgreSQL: FailoverError" in service.log.read_text())
        eventually(lambda: "circuit breaker closed" in service.log.read_text())
        session_id = service.start()["id"]
        with Redis(port=group.primary()) as primary:
            eventually(lambda: primary.exists(f"session:{session_id}"))


def test_a_start_without_sentinels(migrated: Urls) -> None:
    """A service whose Sentinels are out of reach serves without the cache."""
    url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{free_port()}/cache"
    with running(migrated, REDIS_URL=url) as service:
        session_id = service.start()["id"]
        assert service.read(session_id).json()["version"] == 1
        assert service.client.get("/health").json()["status"] == "degraded"


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
