"""Tests of connections to the primary out of several hosts."""

import asyncio
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from session_service.storage import hosts
from tests.support.waiting import LIMIT

HOSTS = "postgresql://u@a:1,b:2/d"


def test_a_silent_host_does_not_delay_another_that_is_promoted() -> None:
    """While a silent host is tried, another one that is promoted meanwhile is found."""
    refusals: list[str] = []
    cancelled: list[str] = []
    connection: AsyncConnection[Any] = AsyncConnection.__new__(AsyncConnection)

    async def connect(url: str) -> AsyncConnection[Any]:
        if url == "silent":
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.append(url)
        if len(refusals) < 3:
            refusals.append(url)
            raise psycopg.OperationalError("session is read-only")
        return connection

    async def run() -> None:
        async with asyncio.timeout(LIMIT):
            assert await hosts.connect_first(["silent", "standby"], connect) is connection

    asyncio.run(run())
    assert cancelled == ["silent"]


def test_a_refusal_counts_more_than_a_timeout() -> None:
    """If no host takes the connection, the error is a timeout only if none has refused."""

    async def connect(url: str) -> AsyncConnection[Any]:
        if url == "silent":
            raise psycopg.errors.ConnectionTimeout(url)
        raise psycopg.OperationalError(url)

    with pytest.raises(psycopg.OperationalError, match="standby"):
        asyncio.run(hosts.connect_first(["standby", "silent"], connect))
    with pytest.raises(psycopg.errors.ConnectionTimeout):
        asyncio.run(hosts.connect_first(["silent"], connect))


def test_only_hosts_for_a_primary_are_tried_at_once() -> None:
    """Hosts are tried at the same time if a primary is wanted; else their order counts."""
    assert len(hosts.split(f"{HOSTS}?target_session_attrs=read-write")) == 2
    assert len(hosts.split(f"{HOSTS}?target_session_attrs=primary")) == 2
    assert hosts.split(HOSTS) == [HOSTS]
