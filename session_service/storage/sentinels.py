"""Redis Sentinels: they name the primary of a group of Redis servers."""

from collections.abc import Callable

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from session_service.store_urls import SentinelUrl

TIMEOUT = 0.3  # seconds for each Sentinel


class Sentinels:
    """The Sentinels of a URL.

    One primary at a time is in use, with all connections of a client. redis-py's own pool would ask for each
    new connection: after a failover, some of the connections would lead to the former primary.
    """

    def __init__(self, url: SentinelUrl) -> None:
        self._name = url.name
        pool = redis.Redis.from_url(url.url).connection_pool
        # TLS as for the primary, whose user, password and database the Sentinels do not have.
        options = {name: value for name, value in pool.connection_kwargs.items() if name.startswith("ssl_")}
        if issubclass(pool.connection_class, redis.SSLConnection):
            options["ssl"] = True
        connect: Callable[..., Sentinel] = Sentinel
        self._sentinel = connect(
            url.sentinels,
            sentinel_kwargs={
                **options,
                **url.credentials,
                "protocol": 2,
                "socket_timeout": TIMEOUT,
                "socket_connect_timeout": TIMEOUT,
                "retry": Retry(NoBackoff(), 0),
            },
        )
        self._primary: tuple[str, int] | None = None

    async def locate(self, client: redis.Redis) -> bool:
        """Let all connections of the client lead to the primary; return whether the Sentinels name one."""
        found = await self._ask()
        if found and found != self._primary:
            # A pool's connections keep their address when they are closed, and so do those in use.
            pool, self._primary = client.connection_pool, found
            options = {**pool.connection_kwargs, "host": found[0], "port": found[1]}
            client.connection_pool = redis.ConnectionPool(
                pool.connection_class, max_connections=pool.max_connections, **options
            )
        return found is not None

    async def has_moved(self) -> bool:
        """Return whether the Sentinels name another primary than the one in use."""
        found = await self._ask()
        return found is not None and found != self._primary

    async def close(self) -> None:
        """Close all connections."""
        await self._sentinel.aclose()

    async def _ask(self) -> tuple[str, int] | None:
        """Return the host and port of the primary; None if no Sentinel names one that is up."""
        try:
            host, port = await self._sentinel.discover_master(self._name)
        except (RedisError, OSError):
            return None
        return str(host), int(port)
