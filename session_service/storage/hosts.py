"""Connects to the primary out of several hosts, all of which are tried at the same time.

libpq and psycopg try one host after the other. A frozen one then hides for two seconds that another one was
promoted.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

RETRY_INTERVAL = 0.15  # seconds between two attempts on a host, while the first one on another host goes on

Connection = TypeVar("Connection", bound=AsyncConnection[Any])


def split(conninfo: str) -> list[str]:
    """Return the URL of each host if a primary is wanted, else the given one: the order of hosts counts."""
    given = conninfo_to_dict(conninfo)
    hosts = str(given.get("host") or "").split(",")
    ports = str(given.get("port") or "").split(",")
    if given.get("target_session_attrs") not in ("read-write", "primary") or "hostaddr" in given:
        return [conninfo]
    ports = ports * len(hosts) if len(ports) == 1 else ports
    if len(ports) != len(hosts):
        return [conninfo]
    return [
        make_conninfo("", **given | {"host": host or None, "port": port or None})
        for host, port in zip(hosts, ports, strict=True)
    ]


async def connect_first(urls: list[str], connect: Callable[[str], Awaitable[Connection]]) -> Connection:
    """Return the first connection to any of the hosts; close the others.

    If there is none, raise OperationalError: a timeout only if no host has refused.
    """
    pending = {*urls}
    tasks = {asyncio.create_task(_connect(url, connect, pending)) for url in urls}
    winner, errors, running = None, [], tasks
    try:
        while running and winner is None:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            winner = next((task for task in done if task.exception() is None), None)
            errors += [error for task in done if (error := task.exception())]
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks - {winner}, return_exceptions=True):
            if isinstance(result, AsyncConnection):
                await result.close()
    if winner is None:
        raise min(errors, key=lambda error: isinstance(error, psycopg.errors.ConnectionTimeout))
    return winner.result()


async def _connect(
    url: str, connect: Callable[[str], Awaitable[Connection]], pending: set[str]
) -> Connection:
    """Connect to a host; try again as long as the first attempt on another one is pending."""
    while True:
        try:
            return await connect(url)
        except psycopg.OperationalError as error:
            pending.discard(url)
            if pending:
                await asyncio.sleep(RETRY_INTERVAL)
            if not pending:
                raise error from None
